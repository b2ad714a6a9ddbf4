#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| runtime_core::fuzz::state(text));
