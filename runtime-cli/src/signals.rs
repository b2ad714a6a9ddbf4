//! Signals by name and number, as `kill` takes them.

use runtime_core::{Error, ErrorKind, Result};

/// The names of signal(7) for all architectures but MIPS, Alpha and SPARC, without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Other names for the same.
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// `9`, `KILL`, `SIGKILL`, `kill`; and the real-time signals as kill(1) writes them: `RTMIN+3`, `RTMAX-1`.
pub(crate) fn number(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().position(|known| *known == name).map(|index| index as i32 + 1);
    let alias = || ALIASES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let real_time = || {
        // 34 is the first that the C libraries leave to programs.
        let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => 34,
            (_, Some("")) => 64,
            (Some(offset), _) => 34 + i32::from(offset.strip_prefix('+')?.parse::<u8>().ok()?),
            (_, Some(offset)) => 64 - i32::from(offset.strip_prefix('-')?.parse::<u8>().ok()?),
            _ => return None,
        };
        (34..=64).contains(&number).then_some(number)
    };
    named
        .or_else(alias)
        .or_else(real_time)
        .ok_or_else(|| Error::new(ErrorKind::InvalidSpec, format!("unknown signal {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let check = |text, expect| assert_eq!(number(text).ok(), expect, "{text}");
        check("9", Some(9));
        check("0", Some(0));
        check("KILL", Some(libc::SIGKILL));
        check("SIGKILL", Some(libc::SIGKILL));
        check("sigterm", Some(libc::SIGTERM));
        check("SIGSYS", Some(libc::SIGSYS));
        check("SIGWINCH", Some(libc::SIGWINCH));
        check("IOT", Some(libc::SIGABRT));
        check("RTMIN", Some(34));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("RTMIN+31", None);
        check("RTMIN+2147483647", None);
        check("RTMAX--2147483648", None);
        check("RTMIN3", None);
        check("SIGSIGKILL", None);
        check("FOO", None);
        check("", None);
        assert_eq!(number("FOO").unwrap_err().to_string(), "unknown signal \"FOO\"");
    }
}
