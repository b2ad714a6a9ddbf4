//! Every test that docs/engine-contract.md names exists, and no row is without one.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_named_test_exists() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = Command::new(env!("CARGO_BIN_EXE_conformance")).arg("--list").output().expect("the list of cases");
    let list = String::from_utf8(list.stdout).expect("text");
    let cases: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let exists = |test: &str| match (test.split_once("::"), test.strip_suffix('*')) {
        (Some((room, _)), _) => {
            let name = test.rsplit_once("::").expect("a test's name").1;
            let source = fs::read_to_string(project.join(format!("runtime-cli/src/{room}.rs"))).unwrap_or_default();
            source.contains(&format!("#[test]\n    fn {name}()"))
        }
        (None, Some(start)) => cases.iter().any(|case| case.starts_with(start)),
        (None, None) => cases.contains(&test),
    };
    let page = fs::read_to_string(project.join("docs/engine-contract.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    let mut count = 0;
    for (what, tests) in rows.skip(1) {
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{what}: no test");
        let missing: Vec<_> = tests.iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "{what}: there is no test {missing:?}");
        count += 1;
    }
    assert!(count > 50, "the page was not understood");
}
