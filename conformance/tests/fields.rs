//! docs/fields.md has a row for every field of the specification, and every test that it names exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One row: the field, the words in backticks of the tests' column, those of the last one.
struct Row {
    field: String,
    tests: Vec<String>,
    texts: Vec<String>,
}

fn rows() -> Vec<Row> {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let page = fs::read_to_string(project().join("docs/fields.md")).expect("docs/fields.md");
    let rows: Vec<Row> = page
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix('|')?.split(" | ").collect();
            let [field, tests, note] = cells[..] else { panic!("not three columns: {line}") };
            (field != "field").then(|| Row { field: field.replace('`', ""), tests: quoted(tests), texts: quoted(note) })
        })
        .collect();
    assert!(rows.len() > 150, "the page was not understood");
    rows
}

/// `a/{b,c}/{d,e}` is four paths.
fn expand(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let (inner, after) = rest.split_once('}').expect("a closing brace");
    inner.split(',').flat_map(|one| expand(&format!("{before}{one}{after}"))).collect()
}

/// The pointer of every property that a schema knows, with `*` for items and keys. A schema of another platform is not among
/// the files: its section is one property.
fn properties(root: &str) -> BTreeSet<String> {
    let folder = project().join("runtime-core/tests/schema");
    let load = |file: &str| -> Option<Value> { serde_json::from_slice(&fs::read(folder.join(file)).ok()?).ok() };
    let mut found = BTreeSet::new();
    let mut open = vec![(root.to_owned(), load(root).expect("the schema"), String::new())];
    while let Some((file, node, path)) = open.pop() {
        if let Some((other, pointer)) = node["$ref"].as_str().and_then(|r| r.split_once('#')) {
            let other = if other.is_empty() { &file } else { other };
            match load(other) {
                Some(schema) => open.push((other.to_owned(), schema.pointer(pointer).expect(pointer).clone(), path)),
                None => _ = found.insert(path),
            }
            continue;
        }
        let fields = node["properties"].as_object().into_iter().flatten();
        let mut below: Vec<(String, &Value)> = fields.map(|(name, rule)| (format!("{path}/{name}"), rule)).collect();
        let keys = node["patternProperties"].as_object().into_iter().flatten().map(|(_, rule)| rule);
        let items = ["items", "additionalProperties"].map(|key| &node[key]).into_iter().filter(|rule| rule.is_object());
        below.extend(keys.chain(items).map(|rule| (format!("{path}/*"), rule)));
        let ways = ["anyOf", "oneOf", "allOf"].into_iter().flat_map(|key| node[key].as_array().into_iter().flatten());
        below.extend(ways.map(|rule| (path.clone(), rule)));
        open.extend(below.into_iter().map(|(path, rule)| (file.clone(), rule.clone(), path)));
        if !path.is_empty() {
            found.insert(path);
        }
    }
    found
}

#[test]
fn every_field_has_a_row_and_no_row_is_stale() {
    let rows = rows();
    for (schema, prefix) in [("config-schema.json", ""), ("features-schema.json", "features ")] {
        let known = properties(schema);
        assert!(known.len() > 40, "{schema} was not understood");
        let named = rows.iter().filter_map(|row| row.field.strip_prefix(prefix)).filter(|f| f.starts_with('/'));
        let written: Vec<String> = named.flat_map(expand).collect();
        let twice: Vec<_> = written.iter().filter(|f| written.iter().filter(|o| o == f).count() > 1).collect();
        assert!(twice.is_empty(), "more than one row: {twice:?}");
        let stale: Vec<_> = written.iter().filter(|f| !known.contains(*f)).collect();
        assert!(stale.is_empty(), "{schema} knows no {stale:?}");
        // What holds others is shown by them.
        let shown = |path: &String| {
            written.iter().any(|w| w == path || w.starts_with(&format!("{path}/")) || *path == format!("{w}/*"))
        };
        let missing: Vec<_> = known.iter().filter(|path| !shown(path)).collect();
        assert!(missing.is_empty(), "no row for {missing:?}");
    }
}

#[test]
fn every_named_test_exists() {
    let list = Command::new(env!("CARGO_BIN_EXE_conformance")).arg("--list").output().expect("the list of cases");
    let list = String::from_utf8(list.stdout).expect("text");
    let cases: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let core = project().join("runtime-core");
    let source = |file: PathBuf| fs::read_to_string(file).unwrap_or_default();
    // `room::tests::name` is in src/room.rs, src/room/mod.rs or src/room/tests.rs, `file::name` in tests/file.rs.
    let has_test = |test: &str| {
        let (room, name) = test.rsplit_once("::").unwrap_or_default();
        let path = room.strip_suffix("::tests").unwrap_or(room).replace("::", "/");
        let files = [
            core.join(format!("src/{path}.rs")),
            core.join(format!("src/{path}/mod.rs")),
            core.join(format!("src/{path}/tests.rs")),
            core.join(format!("tests/{path}.rs")),
            project().join(format!("runtime-cli/tests/{path}.rs")),
        ];
        // At the margin, or in a module of tests.
        let heads = [format!("#[test]\nfn {name}()"), format!("#[test]\n    fn {name}()")];
        files.into_iter().any(|file| heads.iter().any(|head| source(file.clone()).contains(head)))
    };
    for row in rows() {
        assert!(!row.tests.is_empty(), "{}: no test", row.field);
        let named = row.tests.iter().chain(row.texts.iter().filter(|t| t.contains("::")));
        for test in named {
            let exists = if test.contains("::") { has_test(test) } else { cases.contains(test.as_str()) };
            assert!(exists, "{}: there is no test {test}", row.field);
        }
    }
}

/// A text that refuses has a space in it; it is one that a test compares.
#[test]
fn every_refusal_is_one_that_is_tested() {
    let files = ["src/spec/tests.rs", "tests/golden.rs", "src/intel_rdt.rs", "src/chroot/mod.rs"];
    let sources: String =
        files.iter().map(|file| fs::read_to_string(project().join("runtime-core").join(file)).expect(file)).collect();
    for row in rows() {
        for text in row.texts.iter().filter(|text| text.contains(' ')) {
            assert!(sources.contains(text.as_str()), "{}: no test compares {text:?}", row.field);
        }
    }
}
