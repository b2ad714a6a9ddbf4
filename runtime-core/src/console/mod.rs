//! The container's terminal: a pseudo-terminal of its own devpts.

pub(crate) mod apply;
pub mod relay;

use std::fmt;

use crate::plan::FdIndex;
use crate::sys::Winsize;

/// The terminal, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleStep {
    /// The socket that gets the master, `--console-socket`. `None`: the parent gets it.
    pub socket: Option<FdIndex>,
    /// `consoleSize`.
    pub size: Option<Winsize>,
    /// Whose it is, inside the container.
    pub uid: u32,
    /// Bind it onto /dev/console: for the container's first process only.
    pub device: bool,
}

impl fmt::Display for ConsoleStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open a terminal")?;
        if let Some(size) = self.size {
            write!(f, " of {} rows and {} columns", size.rows, size.columns)?;
        }
        write!(f, " for uid {}", self.uid)?;
        if self.device { write!(f, " and put it at /dev/console") } else { Ok(()) }
    }
}
