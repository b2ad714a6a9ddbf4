//! What a container shall be: `config.json`, parsed once, typed and validated.
//!
//! JSON ends here. After this room nobody sees an option string, an `Option<bool>` or a string that might hold a NUL
//! byte: [`Spec`] is what the rest of the library decides by. Every refusal names the JSON pointer of the value and
//! the reason (`/mounts/3/options/1: ...`).
//!
//! Source: the OCI runtime specification 1.3, `config.md` and `config-linux.md`.

mod types;

pub use types::*;
