//! What the fuzz targets (`runtime-core/fuzz`) can't reach from outside: the readers of bytes that are not JSON of a
//! user. Compiled for tests and fuzzing alone.

use crate::cgroup::systemd;
use crate::child::Message;
use crate::launch::{describe, late_cause};
use crate::namespace;
use crate::plan::Step;
use crate::seccomp::Program;
use crate::state::Record;

/// Any bytes as `state.json` and as `seccomp.bpf`: read and written again as they were, or refused.
pub fn state(bytes: &[u8]) {
    if let Ok(record) = Record::from_slice(bytes) {
        let again = serde_json::to_vec(&record).expect("a record is JSON");
        assert_eq!(Record::from_slice(&again).expect("its own text"), record);
    }
    if let Ok(program) = Program::from_bytes(bytes) {
        assert_eq!(program.to_bytes(), bytes);
    }
}

/// Any bytes as a message of the child whose steps these are: decoded and told on one line, or no message.
pub fn message(bytes: &[u8], steps: &[Step]) {
    let Some((message, printed)) = Message::decode(bytes) else { return };
    assert_eq!(Message::decode(&message.encode()), Some((message, &b""[..])));
    if let Message::Failed { step, failure } = message {
        // The parent looks the step up; the steps after `start` are told by `late_cause`.
        if let Some(step) = steps.get(step as usize) {
            let text = describe(step, failure, printed).to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        }
        let text = late_cause(failure.errno, failure.detail, printed);
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
    }
}

/// Any bytes as what a message bus sends, and as a text that systemd's driver reads.
pub fn bus(bytes: &[u8]) {
    systemd::any_reply(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        systemd::any_text(text);
    }
}

/// Any bytes as what the kernel answers about network devices.
pub fn netlink(bytes: &[u8]) {
    namespace::any_answer(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Failure;
    use crate::sys::Errno;

    #[test]
    fn every_failure_of_every_kind_of_step_can_be_told() {
        let steps = [Step::DieWithParent, Step::ResetSignals, Step::Umask(0), Step::SessionKeyring(c"id".to_owned())];
        for errno in [i32::MIN, -1, 0, 1, 38, 4095, i32::MAX] {
            for detail in [0, 1, 2, 255, 256, 0x1000, 0x1000 + 127, 0x1000 + 128, 0x1000 + 255, u32::MAX] {
                for step in 0..steps.len() as u32 + 1 {
                    let failed = Message::Failed { step, failure: Failure::new(Errno(errno), detail) }.encode();
                    message(&failed, &steps);
                    message(&[&failed[..], b"\xff\n\x1b\0"].concat(), &steps);
                }
            }
        }
    }

    #[test]
    fn answers_that_are_cut_off_are_none() {
        // A link, lo, with a wrong length and without; an error of the least code.
        let link = [&[32, 0, 0, 0, 16, 0, 0, 0][..], &[0; 12], &[3, 0, 0, 0, 1, 0, 0, 0]].concat();
        let error = [&[20, 0, 0, 0, 2, 0, 0, 0][..], &[0; 8], &i32::MIN.to_ne_bytes()].concat();
        // A reply without a body, one whose fields are beyond its end, one with an endless body.
        let reply = [&b"l\x02\0\x01\0\0\0\0\x07\0\0\0\x08\0\0\0"[..], b"\x05\x01u\0\x01\0\0\0"].concat();
        for whole in [link, error, reply] {
            for end in 0..=whole.len() {
                netlink(&whole[..end]);
                bus(&whole[..end]);
            }
        }
        for text in ["unix:path=/a;unix:abstract=b", "[1, 2]", "@as []", "{'a': <(1, 2.5)>}", "'\\n'"] {
            bus(text.as_bytes());
        }
    }

    #[test]
    fn damaged_states_are_refused() {
        for text in
            ["", "{}", "null", "[]", "{\"version\":1}", "{\"version\":1e99}", "\u{0}", "{\"init\":{\"pid\":-1}}"]
        {
            assert!(Record::from_slice(text.as_bytes()).is_err(), "{text}");
            state(text.as_bytes());
        }
    }
}
