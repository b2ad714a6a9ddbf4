//! Hooks (`config.md`, *POSIX-platform Hooks*): programs that the engine wants to be run at points of the lifecycle.
//!
//! Those of the runtime's namespaces are run by the parent ([`run()`]), those of the container's by the child (`apply`).

pub(crate) mod apply;
mod run;

use std::ffi::CString;
use std::fmt;

pub use run::{StateOnStdin, run};

use crate::spec::Hook;
use crate::sys::CStringArray;

/// How much of a failed hook's output goes into the error, in bytes.
pub(crate) const OUTPUT_SHOWN: usize = 1024;

/// What a hook printed, as an error tells it: on one line.
pub(crate) fn quoted(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    format!("output: {:?}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// One hook that the child runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookStep {
    /// `createContainer` or `startContainer`.
    pub point: &'static str,
    /// Its place in the list, from 0.
    pub index: usize,
    /// In the namespaces of the point.
    pub path: CString,
    /// The arguments.
    pub argv: CStringArray,
    /// The whole environment.
    pub envp: CStringArray,
    /// Seconds.
    pub timeout: Option<u32>,
    /// The state document up to the pid, which is known only after the clone.
    pub state_head: String,
    /// What follows the pid.
    pub state_tail: String,
}

impl HookStep {
    /// A hook of the configuration.
    #[must_use]
    pub fn new(point: &'static str, index: usize, hook: &Hook, state: &(String, String)) -> Self {
        HookStep {
            point,
            index,
            path: hook.path.clone(),
            argv: CStringArray::new(hook.args.clone()),
            envp: CStringArray::new(hook.env.clone()),
            timeout: hook.timeout,
            state_head: state.0.clone(),
            state_tail: state.1.clone(),
        }
    }
}

impl fmt::Display for HookStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} hook #{} {}", self.point, self.index, self.path.to_string_lossy())
    }
}
