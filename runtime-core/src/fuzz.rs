//! What the fuzz targets (`runtime-core/fuzz`) can't reach from outside: the readers of bytes that are not JSON of a
//! user. Compiled for tests and fuzzing alone.

use crate::child::Message;
use crate::launch::{describe, late_cause};
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
    fn damaged_states_are_refused() {
        for text in
            ["", "{}", "null", "[]", "{\"version\":1}", "{\"version\":1e99}", "\u{0}", "{\"init\":{\"pid\":-1}}"]
        {
            assert!(Record::from_slice(text.as_bytes()).is_err(), "{text}");
            state(text.as_bytes());
        }
    }
}
