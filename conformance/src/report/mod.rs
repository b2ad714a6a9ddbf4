//! The verdicts as TAP, JUnit, Markdown, a self-contained page, and as JSON, from which several runs are made one report.

mod page;

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::frame::{Case, Status, Verdict};

/// What happened: a row for each case, a column for each runtime and setting.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// A runtime where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    /// Name and version.
    pub runtime: String,
    /// What the cgroup hierarchy was, and the like.
    pub setting: String,
}

/// A case with its verdicts, one for each column; none where it did not run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub suite: String,
    /// The words before the first `/` are the section.
    pub name: String,
    pub checks: String,
    pub cells: Vec<Option<Verdict>>,
}

/// The statuses in the order in which they are counted.
const STATUSES: [Status; 4] = [Status::Pass, Status::Fail, Status::Known, Status::Skip];

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

impl Row {
    fn path(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// The section, and the name within it.
    fn split(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }
}

impl Report {
    /// The report of one run: `verdicts[case][runtime]`.
    pub(crate) fn new(cases: &[&Case], runtimes: &[String], setting: &str, verdicts: Vec<Vec<Verdict>>) -> Report {
        let columns =
            runtimes.iter().map(|r| Column { runtime: r.clone(), setting: setting.to_owned() }).collect::<Vec<_>>();
        let row = |(c, row): (&&Case, Vec<Verdict>)| Row {
            suite: c.suite.to_owned(),
            name: c.name.clone(),
            checks: c.checks.to_owned(),
            cells: row.into_iter().map(Some).collect(),
        };
        let mut report = Report { columns, rows: cases.iter().zip(verdicts).map(row).collect() };
        report.sort();
        report
    }

    /// One report of several: the same runtime in the same setting is one column. Of two verdicts the later one stays.
    pub(crate) fn merge(reports: Vec<Report>) -> Report {
        let mut all = Report::default();
        let mut index: HashMap<String, usize> = HashMap::new();
        for report in reports {
            let mut place = Vec::new();
            for column in report.columns {
                let at = all.columns.iter().position(|c| *c == column).unwrap_or_else(|| {
                    all.columns.push(column);
                    all.columns.len() - 1
                });
                place.push(at);
            }
            for row in report.rows {
                let path = row.path();
                let at = *index.entry(path).or_insert_with(|| {
                    all.rows.push(Row { cells: Vec::new(), suite: row.suite, name: row.name, checks: row.checks });
                    all.rows.len() - 1
                });
                let cells = &mut all.rows[at].cells;
                for (column, cell) in place.iter().zip(row.cells) {
                    if cells.len() <= *column {
                        cells.resize(*column + 1, None);
                    }
                    if cell.is_some() {
                        cells[*column] = cell;
                    }
                }
            }
        }
        for row in &mut all.rows {
            row.cells.resize(all.columns.len(), None);
        }
        all.sort();
        all
    }

    /// Brings what belongs to one suite, and in it to one section, together, in the order of the first rows.
    fn sort(&mut self) {
        let (mut suites, mut sections) = (HashMap::new(), HashMap::new());
        for (i, row) in self.rows.iter().enumerate() {
            suites.entry(row.suite.clone()).or_insert(i);
            sections.entry((row.suite.clone(), row.split().0.to_owned())).or_insert(i);
        }
        self.rows.sort_by_key(|r| (suites[&r.suite], sections[&(r.suite.clone(), r.split().0.to_owned())]));
    }

    /// The suites in the order of their first rows.
    fn suites(&self) -> Vec<&str> {
        let mut suites: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !suites.contains(&row.suite.as_str()) {
                suites.push(&row.suite);
            }
        }
        suites
    }

    /// Number of verdicts of `status` in a column, in all suites or in one.
    pub(crate) fn count(&self, column: usize, suite: Option<&str>, status: Status) -> usize {
        let rows = self.rows.iter().filter(|r| suite.is_none_or(|s| r.suite == s));
        rows.filter(|r| r.cells[column].as_ref().is_some_and(|v| v.status == status)).count()
    }

    /// `N pass, N fail, N known, N skip` of a column.
    pub(crate) fn counts(&self, column: usize) -> String {
        let n = |status| self.count(column, None, status);
        format!(
            "{} pass, {} fail, {} known, {} skip",
            n(Status::Pass),
            n(Status::Fail),
            n(Status::Known),
            n(Status::Skip)
        )
    }

    /// The settings, each once; of a report with one setting the columns need not tell it.
    fn settings(&self) -> Vec<&str> {
        let mut settings: Vec<&str> = self.columns.iter().map(|c| c.setting.as_str()).collect();
        settings.sort_unstable();
        settings.dedup();
        settings
    }

    /// What heads a column in text.
    fn heading(&self, column: &Column) -> String {
        if self.settings().len() > 1 {
            format!("{} ({})", column.runtime, column.setting)
        } else {
            column.runtime.clone()
        }
    }

    /// TAP 14 of the first column.
    pub(crate) fn tap(&self) -> String {
        let ran: Vec<(&Row, &Verdict)> =
            self.rows.iter().filter_map(|r| Some((r, r.cells.first()?.as_ref()?))).collect();
        let mut s = format!("TAP version 14\n1..{}\n", ran.len());
        for (i, (row, v)) in ran.into_iter().enumerate() {
            let ok = if matches!(v.status, Status::Pass | Status::Skip) { "ok" } else { "not ok" };
            let reason = v.reason.replace(['\n', '#'], " ");
            let directive = match v.status {
                Status::Skip => format!(" # SKIP {reason}"),
                Status::Known => format!(" # TODO {reason}"),
                _ => String::new(),
            };
            let _ = writeln!(s, "{ok} {} - {}{directive}", i + 1, row.path());
            if v.status == Status::Fail {
                // JSON strings are YAML strings too.
                let quoted = |text: &str| serde_json::Value::from(text).to_string();
                let _ = writeln!(s, "  ---\n  message: {}\n  checks: {}", quoted(&v.reason), quoted(&row.checks));
                s.push_str("  evidence: |\n");
                for line in v.evidence.lines() {
                    let _ = writeln!(s, "    {line}");
                }
                s.push_str("  ...\n");
            }
        }
        s
    }

    /// JUnit XML of all columns, a test suite for each suite and column.
    pub(crate) fn junit(&self) -> String {
        let mut s = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for (c, column) in self.columns.iter().enumerate() {
            for suite in self.suites() {
                let rows: Vec<(&Row, &Verdict)> = self
                    .rows
                    .iter()
                    .filter(|r| r.suite == suite)
                    .filter_map(|r| Some((r, r.cells[c].as_ref()?)))
                    .collect();
                if rows.is_empty() {
                    continue;
                }
                let n = |status| self.count(c, Some(suite), status);
                let _ = writeln!(
                    s,
                    " <testsuite name=\"{} ({})\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
                    escape(suite),
                    escape(&self.heading(column)),
                    rows.len(),
                    n(Status::Fail),
                    n(Status::Skip) + n(Status::Known)
                );
                for (row, v) in rows {
                    let _ = write!(
                        s,
                        "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                        escape(suite),
                        escape(&row.name),
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

    /// The numbers by suite, the matrix, then every failure with its evidence, in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|c| cell(&self.heading(c))).collect();
        let rule = "---|".repeat(headings.len());
        let mut s = format!("# Conformance\n\n{}\n\n", self.settings().join("; "));
        let _ =
            writeln!(s, "Passed, failed, known to fail, skipped:\n\n| suite | {} |\n|---|{rule}", headings.join(" | "));
        for suite in self.suites() {
            let numbers =
                (0..headings.len()).map(|c| STATUSES.map(|st| self.count(c, Some(suite), st).to_string()).join(" / "));
            let _ = writeln!(s, "| {suite} | {} |", numbers.collect::<Vec<_>>().join(" | "));
        }
        let mut suite = "";
        for row in &self.rows {
            if row.suite != suite {
                suite = &row.suite;
                let _ = writeln!(s, "\n## {suite}\n\n| case | checks | {} |\n|---|---|{rule}", headings.join(" | "));
            }
            let cells = row.cells.iter().map(|v| match v {
                None => String::new(),
                Some(v) if v.status == Status::Pass => "pass".to_owned(),
                Some(v) => format!("{}: {}", word(v.status), cell(&v.reason)),
            });
            let cells = cells.collect::<Vec<_>>().join(" | ");
            let _ = writeln!(s, "| {} | {} | {cells} |", cell(&row.name), cell(&row.checks));
        }
        for row in &self.rows {
            for (v, heading) in row.cells.iter().zip(&headings) {
                if let Some(v) = v.as_ref().filter(|v| v.status == Status::Fail) {
                    let _ = write!(s, "\n### {} under {heading}\n\n{}\n", row.path(), cell(&v.reason));
                    let _ = writeln!(s, "\n```\n{}\n```", v.evidence.replace("```", "'''"));
                }
            }
        }
        s
    }

    /// Writes `conformance.md`, `conformance.html` and `conformance.json` into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("conformance.md"), self.markdown())?;
        fs::write(dir.join("conformance.html"), page::html(self))?;
        fs::write(dir.join("conformance.json"), serde_json::to_vec(self)?)
    }

    /// Reads what [`Report::write`] wrote: the file, or its directory.
    pub(crate) fn read(path: &Path) -> io::Result<Report> {
        let file = if path.is_dir() { path.join("conformance.json") } else { path.to_owned() };
        let named = |e: &dyn std::fmt::Display| io::Error::other(format!("{}: {e}", file.display()));
        serde_json::from_slice(&fs::read(&file).map_err(|e| named(&e))?).map_err(|e| named(&e))
    }
}

/// A text as a table cell of Markdown.
fn cell(s: &str) -> String {
    let one: String = s.replace(['\n', '\r'], " ").replace('|', "\\|");
    let short: String = one.chars().take(300).collect();
    if short.len() < one.len() { format!("{short}...") } else { short }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Column, Report, Row, page};
    use crate::frame::{Status, Verdict};

    fn report(runtime: &str, setting: &str, rows: &[(&str, &str, Status)]) -> Report {
        let verdict = |status| Verdict { status, reason: "why".into(), evidence: "<e>".into(), time: Duration::ZERO };
        Report {
            columns: vec![Column { runtime: runtime.into(), setting: setting.into() }],
            rows: rows
                .iter()
                .map(|(suite, name, status)| Row {
                    suite: (*suite).into(),
                    name: (*name).into(),
                    checks: "a | b".into(),
                    cells: vec![Some(verdict(*status))],
                })
                .collect(),
        }
    }

    #[test]
    fn runs_become_columns_and_rows_of_one_report() {
        let merged = Report::merge(vec![
            report("a 1", "v1", &[("s", "x/1", Status::Pass), ("s", "z/1", Status::Pass), ("s", "x/2", Status::Fail)]),
            report("a 1", "v2", &[("s", "x/2", Status::Skip), ("s", "x/3", Status::Pass)]),
            report("a 1", "v1", &[("t", "y", Status::Known), ("s", "x/2", Status::Pass)]),
        ]);
        assert_eq!(merged.columns.len(), 2);
        let rows: Vec<(String, Vec<Option<Status>>)> = merged
            .rows
            .iter()
            .map(|r| (r.path(), r.cells.iter().map(|c| c.as_ref().map(|v| v.status)).collect()))
            .collect();
        let want = [
            ("s/x/1", [Some(Status::Pass), None]),
            ("s/x/2", [Some(Status::Pass), Some(Status::Skip)]),
            ("s/x/3", [None, Some(Status::Pass)]),
            ("s/z/1", [Some(Status::Pass), None]),
            ("t/y", [Some(Status::Known), None]),
        ];
        assert_eq!(rows, want.map(|(p, c)| (p.to_owned(), c.to_vec())));
        assert_eq!(merged.counts(0), "3 pass, 0 fail, 1 known, 0 skip");
        assert_eq!(merged.counts(1), "1 pass, 0 fail, 0 known, 1 skip");
        let text = merged.markdown();
        assert!(text.contains("| s | 3 / 0 / 0 / 0 | 1 / 0 / 0 / 1 |"), "{text}");
        assert!(text.contains("| x/3 | a \\| b |  | pass |"), "{text}");
        assert!(merged.tap().starts_with("TAP version 14\n1..4\n"), "{}", merged.tap());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let before = report("a 1", "v1", &[("s", "x", Status::Fail)]);
        let text = serde_json::to_string(&before).expect("write");
        let after: Report = serde_json::from_str(&text).expect("read");
        assert_eq!(after.junit(), before.junit());
        let page = page::html(&after);
        assert!(page.contains("&lt;e&gt;") && !page.contains("<e>"), "{page}");
    }
}
