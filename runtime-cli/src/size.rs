//! Sizes and times as Go programs write them, and so the people who call runc.

use std::time::Duration;

/// Bytes: `64M`, `64mb`, `64MiB`, `1.5g`, `4096`, `4096b`; the factor is 1024 (docker/go-units, `RAMInBytes`).
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').map_or(0, |at| at + 1);
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    // Rust would also read `inf` and `1e3`.
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let suffix = suffix.to_ascii_lowercase();
    let factor = match suffix.as_bytes() {
        [] | [b'b'] => 1,
        [unit] | [unit, b'b'] | [unit, b'i', b'b'] => {
            let power = b"kmgtpe".iter().position(|known| known == unit)? as u32 + 1;
            1_i64 << (10 * power)
        }
        _ => return None,
    };
    match number.parse::<i64>() {
        Ok(number) => number.checked_mul(factor),
        // The largest number that a float can hold and an i64 too.
        Err(_) => number.parse().ok().map(|n: f64| n * factor as f64).filter(|n| *n < 9.2e18).map(|n| n as i64),
    }
}

/// A time that is not negative: `5s`, `100ms`, `1m30s`, `1.5h` (Go's `time.ParseDuration`).
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += value.parse::<f64>().ok()? * factor;
        if after.is_empty() {
            // Go counts nanoseconds in an i64.
            return Duration::try_from_secs_f64(seconds).ok().filter(|time| time.as_nanos() <= i64::MAX as u128);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text, expect| assert_eq!(bytes(text), expect, "{text:?}");
        check("0", Some(0));
        check("4096", Some(4096));
        check("4096b", Some(4096));
        check("64M", Some(64 << 20));
        check("64 MiB", Some(64 << 20));
        check("64mb", Some(64 << 20));
        check("1.5g", Some(3 << 29));
        check("9223372036854775807", Some(i64::MAX));
        for wrong in ["", "M", "12x", "-5", "1e3", "inf", "64Mi", "64bb", "1.2.3", "9999999999999999999", "9e", "8e b"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn durations() {
        let check =
            |text, expect: Option<u64>| assert_eq!(duration(text), expect.map(Duration::from_millis), "{text:?}");
        check("5s", Some(5000));
        check("2562047h", Some(2_562_047 * 3_600_000));
        check("2562048h", None);
        check("4000000000000000h", None);
        check("100ms", Some(100));
        check("1m30s", Some(90_000));
        check("1.5h", Some(5_400_000));
        check("0", Some(0));
        check("0s", Some(0));
        for wrong in ["", "5", "-5s", "s", "5x", "5s5", "1..5s"] {
            check(wrong, None);
        }
    }
}
