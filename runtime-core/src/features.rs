//! What this runtime supports (`features.md`).
