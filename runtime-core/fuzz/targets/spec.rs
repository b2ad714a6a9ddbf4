#![no_main]

#[path = "../common/json.rs"]
mod json;
#[path = "../../tests/machine/mod.rs"]
mod machine;
#[path = "../common/mutate.rs"]
mod mutate;
#[path = "../common/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max: usize, seed: u32| {
    mutate::mutate(data, size, max, seed)
});

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    properties::spec(text);
});
