//! What the rooms may not do, read off their sources.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            // Tests may do as they like, and comments may speak of anything.
            let code = text.split("#[cfg(test)]\nmod").next().unwrap();
            let code: String = code.lines().map(|l| l.split("//").next().unwrap().to_owned() + "\n").collect();
            (name, code)
        })
        .collect()
}

/// The files whose code runs between clone and execve.
fn runs_in_the_child(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap();
    let allocates_before_the_clone = ["sys/exec.rs", "sys/errno.rs", "sys/bpf.rs", "sys/reexec.rs"].contains(&name);
    let child = name.starts_with("child/") || name.starts_with("sys/") || file == "apply.rs";
    (child || ["chroot/in_root.rs", "chroot/copy_up.rs"].contains(&name)) && !allocates_before_the_clone
}

fn offences(forbidden: &[&str], applies: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, code) in sources().iter().filter(|(name, _)| applies(name)) {
        for (number, line) in code.lines().enumerate() {
            found.extend(
                forbidden
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|w| format!("{name}:{}: {w} in {:?}", number + 1, line.trim())),
            );
        }
    }
    found
}

#[test]
fn nothing_that_allocates_formats_or_panics_is_in_the_childs_files() {
    let children: Vec<_> = sources().into_iter().map(|(name, _)| name).filter(|n| runs_in_the_child(n)).collect();
    assert!(children.len() > 15, "the child's files were not found: {children:?}");
    let forbidden = [
        " String",
        "<String",
        "(String",
        "Vec<",
        "Vec::",
        "vec![",
        "format!",
        "write!",
        "print",
        "Box<",
        "Box::",
        "Rc<",
        "Arc<",
        "HashMap",
        "BTreeMap",
        ".to_owned()",
        ".to_string()",
        ".to_vec()",
        ".collect",
        ".clone()",
        ".into_owned()",
        "CString::new",
        "std::fs",
        "std::io",
        "std::env",
        "std::thread",
        "Mutex",
        "OnceLock",
        "panic!",
        "unwrap()",
        "expect(",
        "unreachable!",
        "todo!",
        "assert_eq!",
    ];
    let found = offences(&forbidden, runs_in_the_child);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let found = offences(&["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe_code"], |name| {
        !name.starts_with("sys/")
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_plan_has_no_effects() {
    let pure = |name: &str| {
        name.starts_with("plan/")
            || ["chroot/mod.rs", "namespace/mod.rs", "process/mod.rs", "hook/mod.rs", "console/mod.rs"].contains(&name)
            || name == "user_mapping/mod.rs"
            || ["mod.rs", "properties.rs", "gvariant.rs"].iter().any(|file| name == format!("cgroup/systemd/{file}"))
            || name.starts_with("seccomp/") && name != "seccomp/tests.rs"
    };
    let found =
        offences(&["std::fs", "std::io", "std::env", "std::process", "std::net", "sys::open", "libc::open"], pure);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn json_ends_at_spec_and_state() {
    let knows_json = |name: &str| {
        ["spec/", "cgroup/", "seccomp/tests"].iter().any(|room| name.starts_with(room))
            // What they write is JSON by contract: the state, the features, and the documents for hooks and agents.
            || ["state.rs", "container/mod.rs", "bundle.rs", "features.rs", "plan/script.rs", "launch/from_outside.rs", "fuzz.rs"].contains(&name)
    };
    let found = offences(&["serde_json", "oci_spec"], |name| !knows_json(name));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What else reads them is to be listed by `features` where it changes what is done.
#[test]
fn annotations_are_read_in_few_places() {
    let readers: Vec<_> = sources()
        .into_iter()
        .filter(|(name, code)| !name.ends_with("tests.rs") && code.contains(".annotations"))
        .map(|(name, _)| name)
        .collect();
    // The state's document; the properties of a unit.
    assert_eq!(readers, ["container/create.rs", "container/mod.rs", "plan/script.rs"]);
}

#[test]
fn the_library_neither_prints_nor_reads_the_environment() {
    let words = ["std::env", "env::var", "print!", "println!", "dbg!", "io::stdout", "io::stderr"];
    let found = offences(&words, |name| !name.ends_with("tests.rs"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
