//! libFuzzer's inputs are documents: most mutations change values, few change bytes.

use std::sync::OnceLock;

use libfuzzer_sys::fuzzer_mutate;

use crate::json::{Random, change};

/// The words of the dictionary, `"word"` a line.
fn words() -> &'static [&'static str] {
    static WORDS: OnceLock<Vec<&str>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let lines = include_str!("../config.dict").lines();
        lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).collect()
    })
}

/// Changes `data[..size]` and returns the new size.
pub(crate) fn mutate(data: &mut [u8], size: usize, max: usize, seed: u32) -> usize {
    let mut random = Random(seed.into());
    if random.below(8) != 0
        && let Ok(mut document) = serde_json::from_slice(&data[..size])
    {
        for _ in 0..1 + random.below(4) {
            change(&mut document, words(), &mut random);
        }
        let text = document.to_string();
        if text.len() <= max {
            data[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
    }
    fuzzer_mutate(data, size, max)
}
