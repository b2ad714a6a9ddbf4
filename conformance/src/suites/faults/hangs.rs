//! Circumstances in which runtimes were seen to hang, to spin, or to hit the wrong process.

use crate::frame::Case;

pub(crate) fn cases() -> Vec<Case> {
    Vec::new()
}
