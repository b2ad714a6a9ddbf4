//! The Test Anything Protocol, read: what a validation program printed, and what that means.

use serde_json::Value;

use crate::ctx::{Outcome, Stop, fail, skip};

/// One test point.
#[derive(Debug, Default, PartialEq, Eq)]
struct Point {
    ok: bool,
    text: String,
    /// The directive TODO: it may fail.
    todo: bool,
    /// The directive SKIP, with its reason.
    skip: Option<String>,
    /// What its details tell of the failure.
    error: Option<String>,
}

impl Point {
    fn bad(&self) -> bool {
        !self.ok && !self.todo && self.skip.is_none()
    }
}

/// What one program printed. Programs of runtime-tools may print several streams one after the other, each with a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tap {
    points: Vec<Point>,
    /// The sum of the plans.
    planned: Option<usize>,
    /// Why a plan of no test points was made.
    skip_all: Option<String>,
    bail: Option<String>,
    /// Errors in details that belong to no test point.
    loose: Vec<String>,
}

/// Splits `text` at its directive (`# SKIP reason`, `# TODO reason`); the name in upper case.
fn directive(text: &str) -> (&str, Option<(String, &str)>) {
    for (at, _) in text.match_indices('#') {
        let rest = text[at + 1..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_uppercase();
        let detached = at == 0 || text[..at].ends_with(char::is_whitespace);
        if detached && matches!(name.as_str(), "TODO" | "SKIP" | "SKIPPED") {
            return (text[..at].trim_end(), Some((name, rest[end..].trim().trim_start_matches(':').trim_start())));
        }
    }
    (text.trim_end(), None)
}

/// What details tell of a failure.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// The value of `error`, in JSON or simple YAML: of the test point before.
    Error(String),
    /// The test points that failed in the stream that is the value of `stdout`, which a container wrote: runtime-tools
    /// prints it before the test point that sums it up.
    Inside(String),
}

fn told(block: &str) -> Option<Told> {
    if let Ok(details) = serde_json::from_str::<Value>(block) {
        if let Some(error) = details["error"].as_str() {
            return Some(Told::Error(error.to_owned()));
        }
        let inside = parse(details["stdout"].as_str().unwrap_or_default());
        let bad: Vec<&str> = inside.points.iter().filter(|p| p.bad()).map(|p| p.text.as_str()).collect();
        return (!bad.is_empty()).then(|| Told::Inside(bad.join(", ")));
    }
    let value = block.lines().find_map(|l| l.trim_start().strip_prefix("error:"))?.trim();
    Some(Told::Error(value.trim_matches(['"', '\'']).to_owned()))
}

/// Reads what a program printed. What is no TAP is passed over, as the protocol wants it.
pub(crate) fn parse(text: &str) -> Tap {
    let mut tap = Tap::default();
    let mut block: Option<String> = None;
    // Details are of the last test point of the same stream.
    let (mut of_point, mut inside) = (false, None);
    for line in text.lines() {
        if let Some(lines) = &mut block {
            if line.trim() != "..." {
                lines.push_str(line);
                lines.push('\n');
                continue;
            }
            match (told(lines), tap.points.last_mut().filter(|_| of_point)) {
                (Some(Told::Inside(text)), _) => inside = Some(text),
                (Some(Told::Error(text)), Some(point)) => point.error = Some(text),
                (Some(Told::Error(text)), None) => tap.loose.push(text),
                (None, _) => {}
            }
            block = None;
            continue;
        }
        let (ok, rest) = match (line.strip_prefix("ok"), line.strip_prefix("not ok")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => {
                if line.trim() == "---" && line.starts_with(' ') {
                    block = Some(String::new());
                } else if line.starts_with("TAP version") {
                    of_point = false;
                } else if let Some(why) = line.strip_prefix("Bail out!") {
                    tap.bail = Some(why.trim().to_owned());
                } else if let Some(rest) = line.strip_prefix("1..") {
                    let (count, directive) = directive(rest);
                    if let Ok(count) = count.parse::<usize>() {
                        tap.planned = Some(tap.planned.unwrap_or(0) + count);
                    }
                    if let Some((_, why)) = directive {
                        tap.skip_all = Some(why.to_owned());
                    }
                }
                continue;
            }
        };
        if !rest.is_empty() && !rest.starts_with(' ') {
            continue;
        }
        let rest = rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let (text, directive) = directive(rest);
        let mut point = Point { ok, text: text.strip_prefix("- ").unwrap_or(text).to_owned(), ..Point::default() };
        match directive {
            Some((name, _)) if name == "TODO" => point.todo = true,
            Some((_, why)) => point.skip = Some(why.to_owned()),
            None => {}
        }
        point.error = inside.take();
        tap.points.push(point);
        of_point = true;
    }
    tap
}

/// One line of at most 300 characters.
fn line(text: &str) -> String {
    let one = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = one.chars().take(300).collect();
    if short.len() < one.len() { format!("{short}...") } else { short }
}

/// What it means for the runtime. `quiet` is for the programs that print no test point where all is well.
pub(crate) fn judge(tap: &Tap, status: i32, stderr: &str, quiet: bool) -> Outcome {
    if let Some(why) = &tap.bail {
        return fail(format!("bail out: {}", line(why)));
    }
    let bad: Vec<&Point> = tap.points.iter().filter(|p| p.bad()).collect();
    if !bad.is_empty() {
        let mut texts: Vec<String> = Vec::new();
        for p in &bad {
            let text = match &p.error {
                Some(e) if !e.is_empty() => format!("{} ({})", line(&p.text), line(e)),
                _ => line(&p.text),
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        return fail(format!("{} of {} test points: {}", bad.len(), tap.points.len(), texts.join("; ")));
    }
    if status != 0 {
        return fail(format!("exit status {status}: {}", line(stderr)));
    }
    if let Some(error) = tap.loose.first() {
        return fail(line(error));
    }
    if let Some(planned) = tap.planned.filter(|n| *n != tap.points.len()) {
        return fail(format!("{} test points where {planned} were planned", tap.points.len()));
    }
    if let Some(why) = &tap.skip_all {
        return skip(line(why));
    }
    match tap.points.first() {
        None if quiet => Ok(()),
        None => fail("no test point"),
        Some(_) if tap.planned.is_none() => fail("no plan: the program ended early"),
        Some(first) => match &first.skip {
            Some(why) if tap.points.iter().all(|p| p.skip.is_some()) => Err(Stop::Skip(line(why))),
            _ => Ok(()),
        },
    }
}

/// The stream as evidence: all test points, with the details of those that failed.
pub(crate) fn excerpt(text: &str) -> String {
    let mut s = String::new();
    let (mut block, mut kept): (Option<String>, bool) = (None, true);
    for line in text.lines() {
        match &mut block {
            Some(lines) if line.trim() != "..." => {
                lines.push_str(line);
                lines.push('\n');
            }
            Some(lines) => {
                if kept || told(lines).is_some() {
                    details(lines, &mut s);
                }
                block = None;
            }
            None if line.trim() == "---" && line.starts_with(' ') => block = Some(String::new()),
            None => {
                if line.starts_with("ok") || line.starts_with("not ok") {
                    kept = line.starts_with("not ok");
                }
                s.push_str(line);
                s.push('\n');
            }
        }
    }
    s
}

/// Details a line each, and streams in them as evidence of their own.
fn details(block: &str, to: &mut String) {
    let Ok(Value::Object(all)) = serde_json::from_str(block) else {
        to.push_str(block);
        return;
    };
    for (name, value) in all {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = if text.starts_with("TAP version") { bad_only(&excerpt(&text)) } else { text };
        if text.contains('\n') {
            to.push_str(&format!("    {name}:\n"));
            for line in text.lines() {
                to.push_str(&format!("      {line}\n"));
            }
        } else {
            to.push_str(&format!("    {name}: {text}\n"));
        }
    }
}

/// Without the test points that hold: of a stream inside a container there are hundreds.
fn bad_only(text: &str) -> String {
    text.lines().filter(|l| !l.starts_with("ok")).map(|l| format!("{l}\n")).collect()
}

/// The number of test points, for a report.
pub(crate) fn count(tap: &Tap) -> usize {
    tap.points.len()
}

#[cfg(test)]
mod tests {
    use super::{excerpt, judge, parse};
    use crate::ctx::Stop;

    /// `pass`, or what was wrong, or why it was skipped.
    fn verdict(text: &str, status: i32, stderr: &str, quiet: bool) -> String {
        match judge(&parse(text), status, stderr, quiet) {
            Ok(()) => "pass".into(),
            Err(Stop::Fail(why)) => format!("fail: {why}"),
            Err(Stop::Skip(why)) => format!("skip: {why}"),
        }
    }

    #[test]
    fn points_and_plan() {
        assert_eq!(verdict("TAP version 13\n1..2\nok 1 - a\nok 2 - b\n", 0, "", false), "pass");
        assert_eq!(verdict("TAP version 13\nok 1 - a\nok 2 - b\n1..2\n", 0, "", false), "pass");
        assert_eq!(
            verdict("TAP version 13\nok 1 - a\n1..2\n", 0, "", false),
            "fail: 1 test points where 2 were planned"
        );
        assert_eq!(verdict("TAP version 13\nok 1 - a\n", 0, "", false), "fail: no plan: the program ended early");
        assert_eq!(verdict("okay\nok 1\n1..1\n", 0, "", false), "pass");
        assert_eq!(verdict("ok 1 - a\nBail out! no disk\n", 0, "", false), "fail: bail out: no disk");
    }

    #[test]
    fn a_failure_tells_the_point_and_its_error() {
        let text = "TAP version 13\nok 1 - created\nnot ok 2 - `kill` says so\n  ---\n  {\n    \"error\": \"exit status 1\",\n    \
                    \"reference\": \"section kill\"\n  }\n  ...\n# seen: nothing\n1..2\n";
        assert_eq!(verdict(text, 0, "", false), "fail: 1 of 2 test points: `kill` says so (exit status 1)");
        let yaml = "not ok 1 - a\n  ---\n  message: x\n  error: 'it is not'\n  ...\nnot ok 2 - b\nnot ok 3 - b\n1..3\n";
        assert_eq!(verdict(yaml, 1, "", false), "fail: 3 of 3 test points: a (it is not); b");
        let inside = "TAP version 13\n  ---\n  {\"stderr\": \"\", \"stdout\": \"TAP version 13\\nok 1 - a\\nnot ok 2 - b\\n\"}\n  ...\n\
                      not ok 1 - all of it\n1..1\n";
        assert_eq!(verdict(inside, 0, "", false), "fail: 1 of 1 test points: all of it (b)");
        // What looks like a test point in details is none.
        let quoted = "ok 1 - a\n  ---\n  stdout: |\nnot ok 1 - inner\n  ...\n1..1\n";
        assert_eq!(verdict(quoted, 0, "", false), "pass");
    }

    #[test]
    fn directives() {
        assert_eq!(verdict("not ok 1 - later # TODO\n1..1\n", 0, "", false), "pass");
        assert_eq!(verdict("ok 1 # SKIP no such thing\n1..1\n", 0, "", false), "skip: no such thing");
        assert_eq!(verdict("ok 1 # skipped: no such thing\n1..1\n", 0, "", false), "skip: no such thing");
        assert_eq!(verdict("ok 1 # SKIP no such thing\nok 2 - a\n1..2\n", 0, "", false), "pass");
        assert_eq!(verdict("1..0 # SKIP not here\n", 0, "", false), "skip: not here");
        let text = "not ok 1 - issue#7 #skip8\n1..1\n";
        assert_eq!(verdict(text, 0, "", false), "fail: 1 of 1 test points: issue#7 #skip8");
    }

    #[test]
    fn several_streams() {
        let two = "TAP version 13\nok 1 - a\n1..1\nTAP version 13\n  ---\n  {\"error\": \"lost\"}\n  ...\n1..0\n";
        assert_eq!(verdict(two, 0, "", false), "fail: lost");
        assert_eq!(verdict("TAP version 13\nok 1 - a\n1..1\nTAP version 13\nok 1 - a\n1..1\n", 0, "", false), "pass");
    }

    #[test]
    fn evidence_has_the_details_of_failures() {
        let text = "TAP version 13\nok 1 - a\n  ---\n  {\"reference\": \"x\"}\n  ...\nnot ok 2 - b\n  ---\n  {\"error\": \"two\\nlines\", \"level\": \"MUST\"}\n  \
                    ...\n# seen\n  ---\n  {\"stdout\": \"TAP version 13\\nok 1 - c\\nnot ok 2 - d\\n\"}\n  ...\nnot ok 3 - e\n1..3\n";
        let want = "TAP version 13\nok 1 - a\nnot ok 2 - b\n    error:\n      two\n      lines\n    level: MUST\n# seen\n    stdout:\n      \
                    TAP version 13\n      not ok 2 - d\nnot ok 3 - e\n1..3\n";
        assert_eq!(excerpt(text), want);
    }

    #[test]
    fn programs_that_say_nothing() {
        assert_eq!(verdict("TAP version 13\n1..0\n", 0, "", true), "pass");
        assert_eq!(verdict("TAP version 13\n1..0\n", 0, "", false), "fail: no test point");
        assert_eq!(
            verdict("", 1, "create failed\nexit status 1\n", true),
            "fail: exit status 1: create failed exit status 1"
        );
        let loose = "TAP version 13\n  ---\n  {\n    \"error\": \"hooks were not called\"\n  }\n  ...\n1..0\n";
        assert_eq!(verdict(loose, 0, "", true), "fail: hooks were not called");
    }
}
