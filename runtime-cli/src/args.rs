//! The command line, as Go's `flag` package and urfave/cli read it for runc: tables in, values out.
//!
//! Why no clap: engines pass long options with a single dash (go-runc's restore: `-no-subreaper`), rely on the texts of
//! Go's parser (podman looks for `flag needs an argument`), and write `--flag=false` for booleans; clap 4.6 can do the
//! last only. Rewriting the arguments for it, and its errors afterwards, would take as much code as this file. And it costs:
//! with the same tables clap took 49 us from the first instruction of `main` to the end of parsing a `create` (this
//! file: 4 us) and 330 KiB of the static release binary (this file: 18 KiB), four times a container.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A boolean: `--flag`, `--flag=true`, `--flag=false`.
    Nothing,
    /// Any value: `--flag value`, `--flag=value`.
    Value,
    /// A number of at least 0.
    Number,
    /// One of the named words, or nothing at all.
    Maybe(&'static [&'static str]),
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The long name, then the short one if it has any.
    pub(crate) names: &'static [&'static str],
    pub(crate) takes: Takes,
    /// One line of help.
    pub(crate) help: &'static str,
}

/// A flag, for the tables.
pub(crate) const fn flag(names: &'static [&'static str], takes: Takes, help: &'static str) -> Flag {
    Flag { names, takes, help }
}

/// The flag that every command has.
const HELP: Flag = flag(&["help", "h"], Takes::Nothing, "show help");

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Anywhere before `--`.
    Anywhere,
    /// Only before the first argument that is none: what follows belongs to somebody else.
    First,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Parsed {
    /// Every flag that was given, by its long name, in the order of the command line.
    flags: Vec<(&'static str, OsString)>,
    /// What is not a flag.
    pub(crate) arguments: Vec<OsString>,
}

impl Parsed {
    /// The values of a flag that may be repeated.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| value.as_os_str())
    }

    /// The value of a flag: the last one counts.
    pub(crate) fn value(&self, name: &str) -> Option<&OsStr> {
        self.all(name).last()
    }

    /// The value of a flag as text. An empty value is the same as none, as in runc.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
    }

    /// The value of a flag as a path. An empty value is the same as none.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).filter(|value| !value.is_empty()).map(|value| Path::new(value).to_owned())
    }

    /// The value of a number; 0 when absent.
    pub(crate) fn number(&self, name: &str) -> u32 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether a boolean was given, and as what.
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.value(name).and_then(boolean)
    }

    /// Whether a boolean is set.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.boolean(name) == Some(true)
    }

    /// An argument by its position.
    pub(crate) fn argument(&self, index: usize) -> Option<&OsStr> {
        self.arguments.get(index).map(OsString::as_os_str)
    }
}

/// Go's `strconv.ParseBool`.
pub(crate) fn boolean(value: &OsStr) -> Option<bool> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

/// Reads `arguments` by the table `flags`. An error is the text that runc prints after `Incorrect Usage`.
pub(crate) fn parse(flags: &'static [Flag], arguments: &[OsString], order: Order) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            break;
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            parsed.arguments.push(argument.clone());
            match order {
                Order::Anywhere => continue,
                Order::First => break,
            }
        }
        let body = if bytes[1] == b'-' { &bytes[2..] } else { &bytes[1..] };
        if matches!(body[0], b'-' | b'=') {
            return Err(format!("bad flag syntax: {}", argument.to_string_lossy()));
        }
        let (name, attached) = match body.iter().position(|byte| *byte == b'=') {
            Some(at) => (&body[..at], Some(OsString::from_vec(body[at + 1..].to_vec()))),
            None => (body, None),
        };
        let known = flags.iter().chain([&HELP]).find(|flag| flag.names.iter().any(|n| n.as_bytes() == name));
        let name = String::from_utf8_lossy(name);
        let Some(flag) = known else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match (flag.takes, attached) {
            (_, Some(value)) => value,
            (Takes::Nothing, None) => "true".into(),
            (Takes::Maybe(words), None) => {
                let mut ahead = rest.clone();
                match ahead.next().filter(|next| words.iter().any(|word| word.as_bytes() == next.as_bytes())) {
                    Some(word) => {
                        rest = ahead;
                        word.clone()
                    }
                    None => "true".into(),
                }
            }
            (Takes::Value | Takes::Number, None) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(format!("flag needs an argument: -{name}")),
            },
        };
        let text = value.to_string_lossy();
        match flag.takes {
            Takes::Nothing if boolean(&value).is_none() => {
                return Err(format!("invalid boolean value {text:?} for -{name}: parse error"));
            }
            Takes::Number if text.parse::<u32>().is_err() => {
                return Err(format!("invalid value {text:?} for flag -{name}: parse error"));
            }
            Takes::Maybe(words) if boolean(&value).is_none() && !words.iter().any(|word| *word == text) => {
                return Err(format!("invalid value {text:?} for flag -{name}: parse error"));
            }
            _ => parsed.flags.push((flag.names[0], value)),
        }
    }
    parsed.arguments.extend(rest.cloned());
    Ok(parsed)
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// At least.
    pub(crate) min: usize,
    /// At most.
    pub(crate) max: usize,
}

impl Count {
    /// What runc says to a wrong number of arguments of `command`; `program` is the name it was started by.
    pub(crate) fn check(self, program: &str, command: &str, count: usize) -> Result<(), String> {
        let (word, number) = match self {
            Count { min, max } if min == max && count != min => ("exactly", min),
            Count { min, .. } if count < min => ("a minimum of", min),
            Count { max, .. } if count > max => ("a maximum of", max),
            _ => return Ok(()),
        };
        Err(format!("{program}: {command:?} requires {word} {number} argument(s)"))
    }
}

/// The `OPTIONS` of a help text: a line a flag.
pub(crate) fn options(flags: &[Flag]) -> String {
    let label = |flag: &Flag| {
        let value = match flag.takes {
            Takes::Nothing => "",
            Takes::Value | Takes::Number => " value",
            Takes::Maybe(_) => "[=value]",
        };
        let dashes = |name: &&str| format!("{}{name}{value}", if name.len() == 1 { "-" } else { "--" });
        flag.names.iter().map(dashes).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<_> = flags.iter().chain([&HELP]).map(|flag| (label(flag), flag.help)).collect();
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    rows.iter().map(|(label, help)| format!("   {label:width$}  {help}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        flag(&["bundle", "b"], Takes::Value, "a path"),
        flag(&["no-pivot"], Takes::Nothing, "a boolean"),
        flag(&["preserve-fds"], Takes::Number, "a number"),
        flag(&["rootless"], Takes::Maybe(&["true", "false", "auto"]), "a boolean or a word"),
    ];

    /// Flags with their values, and arguments.
    type Found<'a> = (&'a [(&'static str, &'a str)], &'a [&'a str]);

    fn check(order: Order, line: &str, expect: Result<Found<'_>, &str>) {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let expect = expect.map(|(flags, arguments)| Parsed {
            flags: flags.iter().map(|(name, value)| (*name, OsString::from(value))).collect(),
            arguments: arguments.iter().map(OsString::from).collect(),
        });
        assert_eq!(parse(FLAGS, &arguments, order), expect.map_err(String::from), "{line}");
    }

    #[test]
    fn every_way_to_write_a_flag() {
        let bundle: &[(&str, &str)] = &[("bundle", "/b")];
        for line in ["--bundle /b x", "--bundle=/b x", "-bundle /b x", "-bundle=/b x", "-b /b x", "-b=/b x", "--b /b x"]
        {
            check(Order::Anywhere, line, Ok((bundle, &["x"])));
        }
        let anywhere = |line, flags, arguments| check(Order::Anywhere, line, Ok((flags, arguments)));
        anywhere("-no-pivot x", &[("no-pivot", "true")], &["x"]);
        anywhere("--no-pivot=false x", &[("no-pivot", "false")], &["x"]);
        anywhere("--no-pivot true", &[("no-pivot", "true")], &["true"]);
        anywhere("x --no-pivot", &[("no-pivot", "true")], &["x"]);
        anywhere("x -- --no-pivot", &[], &["x", "--no-pivot"]);
        anywhere("x --", &[], &["x"]);
        anywhere("-", &[], &["-"]);
        anywhere("-b - x", &[("bundle", "-")], &["x"]);
        anywhere("-b -- x", &[("bundle", "--")], &["x"]);
        anywhere("-b= x", &[("bundle", "")], &["x"]);
        anywhere("-b a=b", &[("bundle", "a=b")], &[]);
        anywhere("-b=a=b", &[("bundle", "a=b")], &[]);
        anywhere("--preserve-fds 2", &[("preserve-fds", "2")], &[]);
        anywhere("--rootless x", &[("rootless", "true")], &["x"]);
        anywhere("--rootless=auto x", &[("rootless", "auto")], &["x"]);
        anywhere("--rootless false x", &[("rootless", "false")], &["x"]);
        anywhere("--rootless -b x", &[("rootless", "true"), ("bundle", "x")], &[]);
        anywhere("-h", &[("help", "true")], &[]);
    }

    #[test]
    fn what_follows_the_id_is_not_ours() {
        let first = |line, flags, arguments| check(Order::First, line, Ok((flags, arguments)));
        first("-no-pivot x sh -c --no-pivot", &[("no-pivot", "true")], &["x", "sh", "-c", "--no-pivot"]);
        first("x --no-such-flag", &[], &["x", "--no-such-flag"]);
        first("x -- sh", &[], &["x", "--", "sh"]);
        first("-- x -b", &[], &["x", "-b"]);
    }

    #[test]
    fn refusals_have_the_texts_of_go() {
        let refuse = |line, text| check(Order::Anywhere, line, Err(text));
        refuse("--foo x", "flag provided but not defined: -foo");
        refuse("-foo=1 x", "flag provided but not defined: -foo");
        refuse("x --foo", "flag provided but not defined: -foo");
        refuse("--bundle", "flag needs an argument: -bundle");
        refuse("-b", "flag needs an argument: -b");
        refuse("---b x", "bad flag syntax: ---b");
        refuse("--=", "bad flag syntax: --=");
        refuse("-=x", "bad flag syntax: -=x");
        refuse("--no-pivot=maybe", "invalid boolean value \"maybe\" for -no-pivot: parse error");
        refuse("--preserve-fds abc", "invalid value \"abc\" for flag -preserve-fds: parse error");
        refuse("--preserve-fds -1", "invalid value \"-1\" for flag -preserve-fds: parse error");
        refuse("--rootless=foo", "invalid value \"foo\" for flag -rootless: parse error");
    }

    #[test]
    fn the_last_value_counts() {
        let parsed = parse(FLAGS, &["-b", "x", "-b", "y", "-b="].map(OsString::from), Order::Anywhere).unwrap();
        assert_eq!(parsed.all("bundle").collect::<Vec<_>>(), ["x", "y", ""]);
        assert_eq!(parsed.value("bundle"), Some(OsStr::new("")));
        assert_eq!(parsed.path("bundle"), None);
    }

    #[test]
    fn counts() {
        let check = |min, max, count, expect: Result<(), &str>| {
            assert_eq!(Count { min, max }.check("runc", "x", count), expect.map_err(String::from));
        };
        check(1, 1, 1, Ok(()));
        check(1, 1, 0, Err("runc: \"x\" requires exactly 1 argument(s)"));
        check(0, 0, 2, Err("runc: \"x\" requires exactly 0 argument(s)"));
        check(1, 2, 0, Err("runc: \"x\" requires a minimum of 1 argument(s)"));
        check(1, 2, 3, Err("runc: \"x\" requires a maximum of 2 argument(s)"));
        check(1, usize::MAX, 9, Ok(()));
    }
}
