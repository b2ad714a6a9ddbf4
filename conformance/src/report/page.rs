//! The report as a page without outside parts: numbers by suite, then the matrix; reasons and evidence unfold.

use std::fmt::Write;

use super::{Report, Row, STATUSES, escape, word};
use crate::frame::{Status, Verdict};

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let mut s = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>Conformance</title>\n\
         <style>\n{}</style>\n<header>\n<h1>Conformance</h1>\n<p>{} cases of {} suites, {} columns. {}</p>\n</header>\n",
        include_str!("page.css"),
        report.rows.len(),
        report.suites().len(),
        report.columns.len(),
        escape(&report.settings().join("; "))
    );
    summary(report, &mut s);
    controls(&mut s);
    for suite in report.suites() {
        matrix(report, suite, &mut s);
    }
    let _ = write!(
        s,
        "<p id=\"none\" hidden>No case is left.</p>\n<script>\n{}</script>\n</html>\n",
        include_str!("page.js")
    );
    s
}

/// The heads of the columns.
fn heads(report: &Report, s: &mut String) {
    let several = report.settings().len() > 1;
    for column in &report.columns {
        let (name, version) = column.runtime.split_once(' ').unwrap_or((&column.runtime, ""));
        let _ = write!(s, "<th scope=\"col\">{} <small>{}</small>", escape(name), escape(version));
        if several {
            let _ = write!(s, "<br><small>{}</small>", escape(&column.setting));
        }
        s.push_str("</th>");
    }
}

/// Numbers by suite and column.
fn summary(report: &Report, s: &mut String) {
    s.push_str("<table class=\"summary\">\n<thead><tr><th scope=\"col\">suite</th>");
    heads(report, s);
    s.push_str("</tr></thead>\n<tbody>\n");
    let suites = report.suites();
    let lines = suites.iter().map(|name| (format!("<a href=\"#{0}\">{0}</a>", escape(name)), Some(*name)));
    for (title, suite) in lines.chain([("all".to_owned(), None)]) {
        let _ = write!(s, "<tr><th scope=\"row\">{title}</th>");
        for column in 0..report.columns.len() {
            numbers(STATUSES.map(|status| report.count(column, suite, status)), s);
        }
        s.push_str("</tr>\n");
    }
    s.push_str("</tbody>\n</table>\n");
}

/// A cell of the summary: what passed of what was tried, a bar, and the rest in words.
fn numbers(counts: [usize; 4], s: &mut String) {
    let total: usize = counts.iter().sum();
    if total == 0 {
        s.push_str("<td class=\"not-run\">not run</td>");
        return;
    }
    let [pass, _, _, skip] = counts;
    let _ = write!(s, "<td><b>{pass}</b> of {}<div class=\"bar\">", total - skip);
    for (n, status) in counts.into_iter().zip(STATUSES) {
        if n > 0 {
            let _ = write!(s, "<i class=\"{}\" style=\"flex:{n}\"></i>", word(status));
        }
    }
    s.push_str("</div><small>");
    let rest = counts.into_iter().zip(STATUSES).skip(1).filter(|(n, _)| *n > 0);
    let words = rest.map(|(n, status)| {
        format!("<span class=\"text {0}\">{n} {1}</span>", word(status), word(status).to_lowercase())
    });
    s.push_str(&words.collect::<Vec<_>>().join(", "));
    s.push_str("</small></td>");
}

fn controls(s: &mut String) {
    s.push_str("<form id=\"filter\">\n<input type=\"search\" placeholder=\"case or section\" aria-label=\"filter\">\n");
    for status in STATUSES {
        let w = word(status);
        let _ = writeln!(
            s,
            "<label><input type=\"checkbox\" value=\"{w}\" checked><span class=\"mark {w}\">{}</span></label>",
            w.to_lowercase()
        );
    }
    s.push_str(
        "<label><input type=\"checkbox\" value=\"differ\">only where columns differ</label>\n<output></output>\n</form>\n",
    );
}

/// A suite's cases by section.
fn matrix(report: &Report, suite: &str, s: &mut String) {
    let _ = write!(
        s,
        "<section id=\"{0}\">\n<h2>{0}</h2>\n<table class=\"matrix\">\n<thead><tr><th scope=\"col\">case</th>\
         <th scope=\"col\">checks</th>",
        escape(suite)
    );
    heads(report, s);
    s.push_str("</tr></thead>\n");
    let mut section = None;
    for row in report.rows.iter().filter(|r| r.suite == suite) {
        let (here, rest) = row.split();
        if section != Some(here) {
            if section.is_some() {
                s.push_str("</tbody>\n");
            }
            s.push_str("<tbody>\n");
            if !here.is_empty() {
                let width = 2 + report.columns.len();
                let _ = writeln!(
                    s,
                    "<tr class=\"group\"><th colspan=\"{width}\" scope=\"rowgroup\">{}</th></tr>",
                    escape(here)
                );
            }
            section = Some(here);
        }
        case(row, rest, s);
    }
    s.push_str("</tbody>\n</table>\n</section>\n");
}

fn case(row: &Row, name: &str, s: &mut String) {
    let mut seen: Vec<&str> = row.cells.iter().flatten().map(|v| word(v.status)).collect();
    seen.sort_unstable();
    seen.dedup();
    let _ = write!(
        s,
        "<tr data-has=\"{}\"{}><th scope=\"row\">{}</th><td>{}</td>",
        seen.join(" "),
        if seen.len() > 1 { " data-differ" } else { "" },
        escape(name),
        escape(&row.checks)
    );
    for v in &row.cells {
        match v {
            Some(v) => verdict(v, s),
            None => s.push_str("<td></td>"),
        }
    }
    s.push_str("</tr>\n");
}

fn verdict(v: &Verdict, s: &mut String) {
    let (class, text) = (word(v.status), word(v.status).to_lowercase());
    let time = format!("{:.2} s", v.time.as_secs_f64());
    if v.reason.is_empty() && v.evidence.is_empty() {
        let _ = write!(s, "<td><span class=\"mark {class}\" title=\"{time}\">{text}</span></td>");
        return;
    }
    let _ = write!(
        s,
        "<td><details><summary class=\"mark {class}\" title=\"{time}\">{text}</summary><div><p>{}</p>",
        escape(if v.status == Status::Pass && v.reason.is_empty() { "passed" } else { &v.reason })
    );
    if !v.evidence.is_empty() {
        let _ = write!(s, "<pre>{}</pre>", escape(&v.evidence));
    }
    s.push_str("</div></details></td>");
}
