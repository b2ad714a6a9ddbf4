//! The verdicts as TAP, JUnit, Markdown and a self-contained page.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::frame::{Case, Status, Verdict};

/// A finished run: `verdicts[case][runtime]`.
pub(crate) struct Report<'a> {
    pub cases: &'a [&'a Case],
    /// What heads each runtime's column.
    pub runtimes: &'a [String],
    pub verdicts: &'a [Vec<Verdict>],
    /// What the cgroup hierarchy was, and the like.
    pub setting: String,
}

/// How a status is written.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Skip => "skip",
        Status::Known => "known",
    }
}

fn escape(s: &str) -> String {
    // XML 1.0 has no way to write other control characters.
    s.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect::<String>()
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Number of verdicts of `status` for runtime `r`.
pub(crate) fn count(verdicts: &[Vec<Verdict>], r: usize, status: Status) -> usize {
    verdicts.iter().filter(|row| row[r].status == status).count()
}

impl Report<'_> {
    fn rows(&self) -> impl Iterator<Item = (&Case, &Vec<Verdict>)> {
        self.cases.iter().copied().zip(self.verdicts)
    }

    /// TAP 14 of the first runtime.
    pub(crate) fn tap(&self) -> String {
        let mut s = format!("TAP version 14\n1..{}\n", self.cases.len());
        for (i, (case, row)) in self.rows().enumerate() {
            let v = &row[0];
            let ok = if matches!(v.status, Status::Pass | Status::Skip) { "ok" } else { "not ok" };
            let reason = v.reason.replace(['\n', '#'], " ");
            let directive = match v.status {
                Status::Skip => format!(" # SKIP {reason}"),
                Status::Known => format!(" # TODO {reason}"),
                _ => String::new(),
            };
            let _ = writeln!(s, "{ok} {} - {}{directive}", i + 1, case.path());
            if v.status == Status::Fail {
                let _ = writeln!(s, "  ---\n  message: {:?}\n  checks: {:?}\n  evidence: |", v.reason, case.checks);
                for line in v.evidence.lines() {
                    let _ = writeln!(s, "    {line}");
                }
                s.push_str("  ...\n");
            }
        }
        s
    }

    /// JUnit XML of all runtimes, a test suite for each suite and runtime.
    pub(crate) fn junit(&self) -> String {
        let mut s = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        let mut suites: Vec<&str> = self.cases.iter().map(|c| c.suite).collect();
        suites.dedup();
        for (r, runtime) in self.runtimes.iter().enumerate() {
            for suite in &suites {
                let rows: Vec<_> = self.rows().filter(|(c, _)| c.suite == *suite).map(|(c, v)| (c, &v[r])).collect();
                let n = |status| rows.iter().filter(|(_, v)| v.status == status).count();
                let _ = writeln!(
                    s,
                    " <testsuite name=\"{} ({})\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
                    escape(suite),
                    escape(runtime),
                    rows.len(),
                    n(Status::Fail),
                    n(Status::Skip) + n(Status::Known)
                );
                for (case, v) in rows {
                    let _ = write!(
                        s,
                        "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                        escape(suite),
                        escape(&case.name),
                        v.time.as_secs_f64()
                    );
                    let (reason, evidence) = (escape(&v.reason), escape(&v.evidence));
                    let _ = match v.status {
                        Status::Pass => writeln!(s, "/>"),
                        Status::Fail => {
                            writeln!(s, "><failure message=\"{reason}\">{evidence}</failure></testcase>")
                        }
                        Status::Skip => writeln!(s, "><skipped message=\"{reason}\"/></testcase>"),
                        Status::Known => writeln!(s, "><skipped message=\"known: {reason}\"/></testcase>"),
                    };
                }
                s.push_str(" </testsuite>\n");
            }
        }
        s.push_str("</testsuites>\n");
        s
    }

    /// The matrix in Markdown, then every failure with its evidence.
    pub(crate) fn markdown(&self) -> String {
        let mut s = format!("# Conformance\n\n{}\n\n", self.setting);
        s.push_str("| runtime | pass | fail | known | skip |\n|---|---|---|---|---|\n");
        for (r, runtime) in self.runtimes.iter().enumerate() {
            let n = |status| count(self.verdicts, r, status);
            let _ = writeln!(
                s,
                "| {runtime} | {} | {} | {} | {} |",
                n(Status::Pass),
                n(Status::Fail),
                n(Status::Known),
                n(Status::Skip)
            );
        }
        let mut suite = "";
        for (case, row) in self.rows() {
            if case.suite != suite {
                suite = case.suite;
                let _ = writeln!(s, "\n## {suite}\n\n| case | checks | {} |", self.runtimes.join(" | "));
                let _ = writeln!(s, "|---|---|{}", "---|".repeat(self.runtimes.len()));
            }
            let cells: Vec<_> = row
                .iter()
                .map(|v| match v.status {
                    Status::Pass => "pass".to_owned(),
                    status => format!("{}: {}", word(status), cell(&v.reason)),
                })
                .collect();
            let _ = writeln!(s, "| {} | {} | {} |", case.name, cell(case.checks), cells.join(" | "));
        }
        for (case, row) in self.rows() {
            for (v, runtime) in row.iter().zip(self.runtimes) {
                if v.status == Status::Fail {
                    let _ = write!(s, "\n### {} under {runtime}\n\n{}\n", case.path(), cell(&v.reason));
                    let _ = writeln!(s, "\n```\n{}\n```", v.evidence.replace("```", "'''"));
                }
            }
        }
        s
    }

    /// The matrix as a page without outside parts; reasons and evidence unfold.
    pub(crate) fn html(&self) -> String {
        let mut s = String::from(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Conformance</title>\n<style>\n\
             body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222}\n\
             table{border-collapse:collapse;margin:1em 0}\n\
             th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}\n\
             thead th{position:sticky;top:0;background:#eee}\n\
             .pass{background:#d9f2d9}.FAIL{background:#f7c6c6}.skip{background:#eee}.known{background:#fdeebf}\n\
             .group th{background:#f6f6f6}\n\
             pre{white-space:pre-wrap;max-width:60em;margin:.3em 0;font-size:12px}\n\
             small{color:#666}\n</style>\n<h1>Conformance</h1>\n",
        );
        let _ = writeln!(s, "<p>{}</p>\n<table><thead><tr><th>case</th><th>checks</th>", escape(&self.setting));
        for (r, runtime) in self.runtimes.iter().enumerate() {
            let n = |status| count(self.verdicts, r, status);
            let _ = writeln!(
                s,
                "<th>{}<br><small>{} pass, {} fail, {} known, {} skip</small></th>",
                escape(runtime),
                n(Status::Pass),
                n(Status::Fail),
                n(Status::Known),
                n(Status::Skip)
            );
        }
        s.push_str("</tr></thead><tbody>\n");
        let mut group = String::new();
        for (case, row) in self.rows() {
            let (section, rest) = case.name.split_once('/').unwrap_or(("", &case.name));
            let here = format!("{} {section}", case.suite);
            if here != group {
                let _ = writeln!(
                    s,
                    "<tr class=\"group\"><th colspan=\"{}\">{}</th></tr>",
                    2 + self.runtimes.len(),
                    escape(&here)
                );
                group = here;
            }
            let _ =
                write!(s, "<tr><td title=\"{:?}\">{}</td><td>{}</td>", row[0].time, escape(rest), escape(case.checks));
            for v in row {
                let w = word(v.status);
                let _ = write!(s, "<td class=\"{w}\">");
                if v.reason.is_empty() {
                    s.push_str(w);
                } else {
                    let _ = write!(s, "<details><summary>{w}</summary>{}", escape(&v.reason));
                    if !v.evidence.is_empty() {
                        let _ = write!(s, "<pre>{}</pre>", escape(&v.evidence));
                    }
                    s.push_str("</details>");
                }
                s.push_str("</td>");
            }
            s.push_str("</tr>\n");
        }
        s.push_str("</tbody></table></html>\n");
        s
    }

    /// Writes `conformance.md` and `conformance.html` into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("conformance.md"), self.markdown())?;
        fs::write(dir.join("conformance.html"), self.html())
    }
}

/// A text as a table cell of Markdown.
fn cell(s: &str) -> String {
    let one: String = s.replace(['\n', '\r'], " ").replace('|', "\\|");
    let short: String = one.chars().take(300).collect();
    if short.len() < one.len() { format!("{short}...") } else { short }
}
