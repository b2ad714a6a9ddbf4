//! What is read, and what is refused and how.

use std::path::Path;

use super::*;

const BUNDLE: &str = "/bundle";

/// The files that real engines wrote, `(name, text)`, with an absolute path for the placeholder of the engine's directory.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .expect("tests/fixtures")
        .map(|entry| entry.expect("tests/fixtures").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap().replace("\"WORK/", "\"/WORK/");
            (path.file_name().unwrap().to_str().unwrap().to_owned(), text.into_bytes())
        })
        .collect();
    all.sort();
    assert!(all.len() > 50);
    all
}

#[test]
fn every_fixture_loads_without_a_warning() {
    for (name, text) in fixtures() {
        let warnings = if name.ends_with(".process.json") {
            Process::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}")).1
        } else {
            Spec::from_slice(&text, Path::new(BUNDLE)).unwrap_or_else(|e| panic!("{name}: {e}")).1
        };
        assert_eq!(warnings, [""; 0], "{name}");
    }
}

#[test]
fn the_examples_load() {
    for rootless in [None, Some(Ids { uid: 1000, gid: 100 })] {
        for cgroup_namespace in [false, true] {
            let text = example(rootless, cgroup_namespace);
            let (spec, warnings) = Spec::from_slice(text.as_bytes(), Path::new(BUNDLE)).unwrap();
            assert_eq!(warnings, [""; 0]);
            let linux = spec.linux;
            assert_eq!(linux.namespaces.cgroup == Namespace::New, cgroup_namespace);
            assert_eq!(linux.namespaces.network == Namespace::New, rootless.is_none());
            assert_eq!(linux.namespaces.user == Namespace::New, rootless.is_some());
            let mapping = |outside| rootless.map(|_| IdMapping { inside: 0, outside, size: 1 }).into_iter().collect();
            let [uids, gids]: [Vec<_>; 2] = [mapping(1000), mapping(100)];
            assert_eq!((linux.uid_mappings, linux.gid_mappings), (uids, gids));
        }
    }
}
