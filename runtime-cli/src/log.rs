//! Where messages go and how they look: logrus's formats, which containerd, podman and conmon read.
//!
//! - The log file is shared by all invocations for one container, or by all builds of a BuildKit: it is opened for
//!   appending, and a record is one write of one whole line.
//! - podman parses the whole file as one record: nothing is written before it is known whether the command succeeds,
//!   a failing command writes exactly one record, and only `--debug` adds others.
//! - An error goes to the log and, when that is a file, also to standard error, bare: conmon shows what it read there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::Location;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// How bad it is. containerd keeps the last record whose level is exactly `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// The log of one invocation.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// `--log`; none: standard error.
    file: Option<File>,
    format: Format,
    debug: bool,
}

impl Log {
    /// Opens the log. It is created at once: an engine that finds none reports just that, and not the error.
    pub(crate) fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Self, String> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o644).custom_flags(libc::O_SYNC);
            options.open(path).map_err(|error| {
                let errno = runtime_core::sys::Errno::from(error);
                format!("open {}: {errno}", path.display())
            })
        };
        Ok(Log { file: path.map(open).transpose()?, format, debug })
    }

    /// Whether there is a log beside standard error.
    pub(crate) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whether `--debug` was given.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug
    }

    /// With `--debug` only.
    #[track_caller]
    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.write(Level::Debug, message, Location::caller());
        }
    }

    /// What did not keep the command from succeeding. Only for a command that did succeed.
    #[track_caller]
    pub(crate) fn warning(&self, message: &str) {
        self.write(Level::Warning, message, Location::caller());
    }

    /// Why the command failed: the last thing that an invocation says.
    #[track_caller]
    pub(crate) fn error(&self, message: &str) {
        self.write(Level::Error, message, Location::caller());
        if self.file.is_some() {
            let _ = std::io::stderr().write_all(format!("{message}\n").as_bytes());
        }
    }

    fn write(&self, level: Level, message: &str, location: &Location<'_>) {
        let time = seconds(SystemTime::now());
        let location = self.debug.then(|| format!("{}:{}", location.file(), location.line()));
        let line = line(self.format, level, message, &time, location.as_deref());
        // A log that can't be written must not fail the command, and there is nowhere left to say so.
        let _ = match &self.file {
            Some(file) => { file }.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
}

/// One record, with its line feed. `location` is the place in the source, with `--debug`.
fn line(format: Format, level: Level, message: &str, time: &str, location: Option<&str>) -> String {
    let level = level.name();
    match format {
        Format::Json => {
            let location = location
                .map_or(String::new(), |at| format!("\"file\":{},\"func\":\"{}\",", json(at), env!("CARGO_BIN_NAME")));
            format!("{{{location}\"level\":\"{level}\",\"msg\":{},\"time\":\"{time}\"}}\n", json(message))
        }
        Format::Text => {
            let location =
                location.map_or(String::new(), |at| format!(" func={} file={}", env!("CARGO_BIN_NAME"), quoted(at)));
            format!("time=\"{time}\" level={level} msg={}{location}\n", quoted(message))
        }
    }
}

/// A JSON string.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// logrus quotes a value unless it is made of harmless characters.
fn quoted(text: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    if !text.is_empty() && text.bytes().all(harmless) { text.to_owned() } else { json(text) }
}

/// A time in UTC, to the second (RFC 3339): containerd refuses to read a log with any other.
fn seconds(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = runtime_core::rfc3339(since_epoch);
    text.split('.').next().unwrap_or_default().to_owned() + "Z"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_have_no_fraction() {
        assert_eq!(seconds(UNIX_EPOCH + Duration::new(1_795_320_035, 7)), "2026-11-22T04:00:35Z");
    }

    #[test]
    fn lines() {
        let check = |format, level, message, location: Option<&str>, expect: &str| {
            assert_eq!(line(format, level, message, "2026-11-22T04:00:35Z", location), expect);
        };
        let text = r#"time="2026-11-22T04:00:35Z""#;
        check(
            Format::Text,
            Level::Error,
            "container does not exist",
            None,
            &format!("{text} level=error msg=\"container does not exist\"\n"),
        );
        check(Format::Text, Level::Warning, "word", None, &format!("{text} level=warning msg=word\n"));
        check(
            Format::Text,
            Level::Error,
            "exec: \"foo\": no\n",
            None,
            &format!("{text} level=error msg=\"exec: \\\"foo\\\": no\\n\"\n"),
        );
        check(
            Format::Text,
            Level::Debug,
            "a b",
            Some("src/main.rs:7"),
            &format!("{text} level=debug msg=\"a b\" func=orlop file=\"src/main.rs:7\"\n"),
        );
        check(
            Format::Json,
            Level::Error,
            "exec: \"foo\": executable file not found in $PATH",
            None,
            "{\"level\":\"error\",\"msg\":\"exec: \\\"foo\\\": executable file not found in $PATH\",\
             \"time\":\"2026-11-22T04:00:35Z\"}\n",
        );
        check(
            Format::Json,
            Level::Error,
            "x",
            Some("src/main.rs:7"),
            "{\"file\":\"src/main.rs:7\",\"func\":\"orlop\",\"level\":\"error\",\"msg\":\"x\",\
             \"time\":\"2026-11-22T04:00:35Z\"}\n",
        );
    }
}
