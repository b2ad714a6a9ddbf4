//! The frame itself, with made-up runtimes: scripts whose faults are known.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that is removed with its content.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("conformance-frame-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a scratch directory");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the harness with a script as the runtime. None, with a note, where namespaces cannot be made.
fn conduct(dir: &Path, script: &str, args: &[&str]) -> Option<Output> {
    conduct_with(dir, script, args, &[])
}

/// The same, with these variables in its environment.
fn conduct_with(dir: &Path, script: &str, args: &[&str], env: &[(&str, &str)]) -> Option<Output> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: the harness makes namespaces and needs root");
        return None;
    }
    let runtime = dir.join("runtime");
    fs::write(&runtime, format!("#!/bin/sh\n{script}\n")).expect("write the script");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("make it executable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.arg("--runtime").arg(&runtime).args(args).env_remove("CI").envs(env.iter().copied());
    Some(command.output().expect("run the harness"))
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn a_hang_is_a_failure_that_says_where_and_leaves_nothing() {
    let dir = Scratch::new("hang");
    // The child ignores what it can and has left the process group: only the end of its pid namespace reaches it.
    let mark = format!("30.{:07}", std::process::id());
    let script = format!("[ $1 = --version ] && exit; trap '' TERM INT HUP; setsid sleep {mark} & wait; sleep {mark}");
    let Some(out) =
        conduct(&dir.0, &script, &["--timeout", "1", "--filter", "cli/version/unusable-root,cli/list/none"])
    else {
        return;
    };
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out).contains("hang: no end within 1s; the last command was: "), "{}", text(&out));
    assert!(text(&out).contains("list --format json"), "{}", text(&out));
    let left = fs::read_dir("/proc")
        .expect("read /proc")
        .flatten()
        .any(|e| fs::read(e.path().join("cmdline")).is_ok_and(|c| String::from_utf8_lossy(&c).contains(&mark)));
    assert!(!left, "a process of the hung case is still there");
}

#[test]
fn leftovers_are_failures() {
    let dir = Scratch::new("left");
    let list = "echo null";
    let checks = [
        ("setsid sleep 20 >/dev/null 2>&1 &", "left behind: processes"),
        ("mount -t tmpfs conformance-left ${0%/*}", "left behind: mounts"),
    ];
    for (fault, want) in checks {
        let Some(out) = conduct(&dir.0, &format!("{fault}\n{list}"), &["--filter", "cli/list/none"]) else { return };
        assert_eq!(out.status.code(), Some(1), "{}", text(&out));
        assert!(text(&out).contains(want), "{}", text(&out));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    assert!(!mounts.contains("conformance-left"), "the mount reached the host");
}

#[test]
fn results_are_written_and_counted() {
    let dir = Scratch::new("report");
    let path = |name: &str| dir.0.join(name).to_string_lossy().into_owned();
    let (tap, junit, report) = (path("tap"), path("junit"), path("report"));
    let args = ["--filter", "cli/list/none,cli/list/quiet", "--tap", &tap, "--junit", &junit, "--report", &report];
    let Some(out) = conduct(&dir.0, "echo 'null <&>'; exit 3", &args) else { return };
    assert_eq!(out.status.code(), Some(1));
    let read = |p: &str| fs::read_to_string(p).unwrap_or_else(|e| panic!("{p}: {e}"));
    let tap = read(&tap);
    assert!(tap.starts_with("TAP version 14\n1..2\n") && tap.contains("not ok 1 - cli/list/"), "{tap}");
    let junit = read(&junit);
    assert!(junit.contains("failures=\"2\"") && junit.contains("&lt;&amp;&gt;"), "{junit}");
    let page = read(&format!("{report}/conformance.html"));
    assert!(page.contains("class=\"FAIL\"") && !page.contains("http"), "{page}");
    assert!(read(&format!("{report}/conformance.md")).contains("| list/none |"));
    // Two reports of one runtime in one setting have one column.
    let merged = path("merged");
    let out = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(["--merge", &format!("{report},{report}/conformance.json"), "--report", &merged])
        .output()
        .expect("run the harness");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(read(&format!("{merged}/conformance.html")), page);
}

/// Sources of OCI runtime-tools, made up: a Go without a compiler builds programs that write the TAP of their own files.
#[test]
fn validation_programs_are_built_run_and_judged() {
    let dir = Scratch::new("tools");
    let path = |name: &str| dir.0.join(name);
    fs::create_dir_all(path("sources/cmd/runtimetest")).expect("make sources");
    // What is left of the containers is the runtime's to delete; this one only asks for a state.
    let ask = "$RUNTIME create --bundle /b id >&2; echo ok 1 - asked; echo 1..1";
    let programs = [
        ("hostname", "echo TAP version 13; echo ok 1 - same; echo 1..1"),
        ("state", "echo not ok 1 - told; echo '  ---'; echo '  {\"error\": \"none\"}'; echo '  ...'; echo 1..1"),
        ("process", "echo \"1..0 # SKIP another system\""),
        ("poststop", "echo 1..0"),
        ("kill", "echo ok 1 - a; echo it broke >&2; exit 3"),
        ("unheard_of", ask),
    ];
    for (name, text) in programs {
        fs::create_dir_all(path("sources/validation").join(name)).expect("make sources");
        fs::write(path("sources/validation").join(name).join("program"), format!("#!/bin/sh\n{text}\n"))
            .expect("write");
    }
    let go = "while [ \"$1\" != -o ]; do shift; done; out=$2; shift 2\n\
              for p; do name=${p##*/}; from=${GOPATH%%:*}/src/$p/program\n\
              [ ! -e \"$from\" ] || install -m 755 \"$from\" \"$out/$name\"; done";
    let bin = path("bin");
    fs::create_dir_all(&bin).expect("make bin");
    fs::write(bin.join("go"), format!("#!/bin/sh\n{go}\n")).expect("write go");
    fs::set_permissions(bin.join("go"), fs::Permissions::from_mode(0o755)).expect("make it executable");
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let sources = path("sources");
    let args = ["--runtime-tools", sources.to_str().unwrap_or_default(), "-v", "runtime-tools"];
    let script = "[ $3 != create ] || echo \"no bundle $5\" >&2; [ $3 != create ]";
    let Some(out) = conduct_with(&dir.0, script, &args, &[("PATH", &search)]) else { return };
    let text = text(&out);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{text}{errors}");
    for want in [
        "pass  runtime-tools/hostname ",
        "FAIL  runtime-tools/state (runtime ?) 1 of 1 test points: told (none)",
        "skip  runtime-tools/process (runtime ?) another system",
        "pass  runtime-tools/poststop ",
        "FAIL  runtime-tools/kill (runtime ?) exit status 3: it broke",
        "pass  runtime-tools/unheard_of ",
        "create --bundle /b id -> 1\n          no bundle /b",
        "skip  runtime-tools/start (runtime ?) these sources have no such program",
    ] {
        assert!(text.contains(want), "{want}:\n{text}{errors}");
    }
}

#[test]
fn skips_that_must_run_are_failures() {
    let dir = Scratch::new("skip");
    let filter = ["--filter", "cli/global/root-default"];
    let Some(out) = conduct(&dir.0, "echo other version 1", &filter) else { return };
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    let Some(out) = conduct(&dir.0, "echo other version 1", &[&filter[..], &["--must-run", "cli/*"]].concat()) else {
        return;
    };
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("skipped, but must run"), "{}", text(&out));
}
