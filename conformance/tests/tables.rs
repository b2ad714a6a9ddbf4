//! docs/security-cases.md, docs/reliability-cases.md and docs/threat-model.md name cases that exist, and the first two each
//! case of their suite; the environment is read where docs/threat-model.md says, and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cases() -> BTreeSet<String> {
    let list = Command::new(env!("CARGO_BIN_EXE_conformance")).arg("--list").output().expect("the list of cases");
    let list = String::from_utf8(list.stdout).expect("text");
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The words in backticks of a page's tables that are names of cases.
fn named(page: &str, cases: &BTreeSet<String>) -> Vec<String> {
    let suites: BTreeSet<&str> = cases.iter().filter_map(|case| case.split('/').next()).collect();
    let page = fs::read_to_string(project().join("docs").join(page)).expect(page);
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    words.filter(|word| word.split_once('/').is_some_and(|(suite, _)| suites.contains(suite))).collect()
}

/// Whether the name, which may end in `*`, is that of the case.
fn covers(name: &str, case: &str) -> bool {
    name.strip_suffix('*').map_or(name == case, |start| case.starts_with(start))
}

#[test]
fn every_named_case_exists() {
    let cases = cases();
    for page in ["security-cases.md", "reliability-cases.md", "threat-model.md"] {
        let named = named(page, &cases);
        assert!(named.len() > 20, "{page} was not understood");
        let stale: Vec<_> = named.iter().filter(|name| !cases.iter().any(|case| covers(name, case))).collect();
        assert!(stale.is_empty(), "{page}: there is no case {stale:?}");
    }
}

#[test]
fn every_row_has_a_case() {
    let cases = cases();
    for page in ["security-cases.md", "reliability-cases.md"] {
        let text = fs::read_to_string(project().join("docs").join(page)).expect(page);
        for row in text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| cases |")) {
            let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            let is_case = |word: &str| cases.iter().any(|case| covers(word, case));
            assert!(column.split('`').skip(1).step_by(2).any(is_case), "{page}: no case in {row}");
        }
    }
}

#[test]
fn every_case_has_a_row() {
    let cases = cases();
    for (page, suite) in [("security-cases.md", "security/"), ("reliability-cases.md", "faults/")] {
        let named = named(page, &cases);
        let ours = cases.iter().filter(|case| case.starts_with(suite));
        let missing: Vec<_> = ours.filter(|case| !named.iter().any(|name| covers(name, case))).collect();
        assert!(missing.is_empty(), "{page} has no row for {missing:?}");
    }
}

/// Files of Rust below `dir`, without tests.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_environment_is_read_in_these_files_alone() {
    let mut files = Vec::new();
    sources(&project().join("runtime-core/src"), &mut files);
    sources(&project().join("runtime-cli/src"), &mut files);
    assert!(files.len() > 60, "the sources were not found");
    let reads = |text: &str| ["env::var", "env::vars", "getenv("].iter().any(|call| text.contains(call));
    let mut readers: Vec<String> = files
        .iter()
        .filter(|file| reads(&fs::read_to_string(file).expect("a source")))
        .map(|file| file.strip_prefix(project()).expect("below").display().to_string())
        .collect();
    readers.sort();
    let known = ["runtime-cli/src/commands/mod.rs", "runtime-cli/src/main.rs", "runtime-cli/src/notify.rs"];
    assert_eq!(readers, known);
}
