//! The one error type of the library.
//!
//! An error says what was tried, on what, and why it failed, each once, on one line:
//! `mount proc on /proc (nosuid,noexec,nodev): operation not permitted`.

use std::fmt;

use crate::sys::Errno;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. [`Error::kind`] is for programs, [`fmt::Display`] for people.
///
/// `Display` holds the whole chain of causes; [`std::error::Error::source`] is therefore always `None`.
#[derive(thiserror::Error)]
#[error("{}", OneLine(&.0.message))]
pub struct Error(Box<Inner>);

/// What is shown on one line, whatever names are in it: a file's name may hold a line feed, and a log that is read line by
/// line would take what follows for a line of its own. Control characters are shown escaped.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

        impl fmt::Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.split_inclusive(char::is_control).try_for_each(|part| {
                    let plain = part.trim_end_matches(char::is_control);
                    self.0.write_str(plain)?;
                    write!(self.0, "{}", part[plain.len()..].escape_default())
                })
            }
        }

        fmt::Write::write_fmt(&mut Escape(f), format_args!("{}", self.0))
    }
}

struct Inner {
    kind: ErrorKind,
    message: String,
    errno: Option<Errno>,
    operation: Option<String>,
    pointer: Option<String>,
}

/// What a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// `config.json`, a process document or an option does not hold what the specification says.
    InvalidSpec,
    /// The configuration asks for something that Orlop or this machine does not support.
    Unsupported,
    /// Not an id: letters, digits and `_+-.` only, not `.` or `..`.
    InvalidId,
    /// A container with this id exists.
    Exists,
    /// No container has this id.
    NotFound,
    /// The container's status does not allow the call.
    WrongStatus,
    /// The container's init process has ended.
    NotRunning,
    /// The program to execute does not exist, or it can't be executed.
    Program,
    /// A hook failed.
    Hook,
    /// Others could have written what would have to be believed.
    Untrusted,
    /// A wait came to its deadline.
    Timeout,
    /// A system call failed; see [`Error::errno`].
    System,
}

impl Error {
    /// An error with its whole text: operation, operand, cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), errno: None, operation: None, pointer: None }))
    }

    /// A system call failed: `what` names the operation and its operand.
    pub fn system(what: impl fmt::Display, errno: Errno) -> Self {
        let operation = what.to_string();
        Error::new(ErrorKind::System, format!("{operation}: {errno}")).with_errno(errno).with_operation(operation)
    }

    /// A value of the configuration is refused: its JSON pointer, and why.
    pub fn refused(pointer: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Error::new(ErrorKind::InvalidSpec, format!("{pointer}: {reason}")).with_pointer(pointer)
    }

    /// A value of the configuration can't be honoured here: its JSON pointer, and why.
    pub fn unsupported(pointer: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Unsupported, format!("{pointer}: {reason}")).with_pointer(pointer)
    }

    /// The same error, with what was being done put before its text.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error with an error number, where the text already tells it.
    #[must_use]
    pub fn with_errno(mut self, errno: Errno) -> Self {
        self.0.errno = Some(errno);
        self
    }

    /// The same error, which happened in this operation.
    #[must_use]
    pub(crate) fn with_operation(mut self, operation: impl Into<String>) -> Self {
        self.0.operation = Some(operation.into());
        self
    }

    /// The same error, for which this value of the configuration is to blame: a JSON pointer.
    #[must_use]
    pub(crate) fn with_pointer(mut self, pointer: impl fmt::Display) -> Self {
        self.0.pointer = Some(pointer.to_string());
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The kernel's error number, where the kernel was the one who refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// What was tried, and on what: the step of the plan that failed, as [`plan_bundle`](crate::plan_bundle) shows it, or the runtime's own
    /// operation. `None` where nothing was tried: a configuration was refused, or a status does not allow the call.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// The JSON pointer (RFC 6901) of the value of the configuration that was refused.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        self.0.pointer.as_deref()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}
