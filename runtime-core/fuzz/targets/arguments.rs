#![no_main]

#[path = "../../../runtime-cli/src/args.rs"]
#[allow(dead_code)]
mod args;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use args::{Flag, Order, Takes, flag};

const FLAGS: &[Flag] = &[
    flag(&["bundle", "b"], Takes::Value, ""),
    flag(&["no-pivot"], Takes::Nothing, ""),
    flag(&["preserve-fds"], Takes::Number, ""),
    flag(&["rootless"], Takes::Maybe(&["true", "false", "auto"]), ""),
];

// A NUL byte parts the arguments, as in /proc/pid/cmdline.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let arguments: Vec<_> = bytes.split(|&b| b == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    for order in [Order::Anywhere, Order::First] {
        match args::parse(FLAGS, &arguments, order) {
            Ok(parsed) => {
                // What was accepted as a number or a boolean is one.
                parsed.number("preserve-fds");
                assert!(parsed.value("no-pivot").is_none() || parsed.boolean("no-pivot").is_some());
                assert!(parsed.arguments.len() <= arguments.len());
            }
            Err(text) => assert!(!text.is_empty()),
        }
    }
});
