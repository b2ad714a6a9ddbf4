//! The fuzz target `arguments` (`runtime-core/fuzz`): this program, with libFuzzer's `main` in place of its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::args::{self, Flag, Order, Parsed, Takes};
use crate::commands::{self, COMMANDS};

// A NUL byte parts the arguments, as in /proc/pid/cmdline. The first byte says whose they are.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((whose, line)) = bytes.split_first() else { return };
    let command = COMMANDS.get(usize::from(*whose) % (COMMANDS.len() + 1));
    let (flags, order) = command.map_or((crate::GLOBAL, Order::First), |command| (command.flags, command.order));
    let arguments: Vec<_> = line.split(|byte| *byte == 0).map(|word| spell(flags, word)).collect();
    match args::parse(flags, &arguments, order) {
        Ok(parsed) => {
            check(flags, &parsed, &arguments);
            if let Some(command) = command
                && command.count.check("orlop", command.name, parsed.arguments.len()).is_ok()
                && let Err(error) = commands::read(command, &parsed)
            {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(text) => assert!(!text.is_empty()),
    }
});

/// A word whose first byte is a control character begins with a flag of the table: the fuzzer need not guess names.
fn spell(flags: &[Flag], word: &[u8]) -> OsString {
    let named = word.split_first().filter(|(first, _)| **first < b' ').and_then(|(first, rest)| {
        let names = flags.get(usize::from(*first) % flags.len().max(1))?.names;
        Some([b"--", names[0].as_bytes(), rest].concat())
    });
    OsString::from_vec(named.unwrap_or_else(|| word.to_vec()))
}

/// What was accepted is of the type of its flag, and nothing was made up.
fn check(flags: &[Flag], parsed: &Parsed, given: &[OsString]) {
    for flag in flags {
        let name = flag.names[0];
        for value in parsed.all(name) {
            let text = value.to_string_lossy();
            assert!(
                match flag.takes {
                    Takes::Nothing => args::boolean(value).is_some(),
                    Takes::Number => text.parse::<u32>().is_ok(),
                    Takes::Value => given.iter().any(|word| word.as_bytes().ends_with(value.as_bytes())),
                    Takes::Maybe(words) =>
                        args::boolean(value).is_some() || words.iter().any(|word| OsStr::new(word) == value),
                },
                "{name} {value:?}"
            );
        }
    }
    assert!(parsed.arguments.iter().all(|argument| given.contains(argument)));
    assert!(parsed.arguments.len() <= given.len());
}
