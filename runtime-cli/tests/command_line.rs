//! What an engine sees of the program before any container is touched: usage errors beside those of the installed runc,
//! the log, exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");

/// A directory that goes when the test ends, whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn execute(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A record of the log without its time, and without the name under which the program was called.
fn without_time(line: &str, program: &str) -> String {
    let start = "time=\"2026-11-22T04:00:35Z".len();
    assert!(line.starts_with("time=\"20") && line.as_bytes()[start] == b'"', "{line}");
    line[start + 2..].replace(program, "PROGRAM")
}

/// Exit code, the first line on standard output, and standard error without the time.
fn outcome(program: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = execute(program, arguments);
    let first = text(&output.stdout).lines().next().unwrap_or_default().to_owned();
    let said = text(&output.stderr);
    let said = if said.is_empty() { said } else { without_time(&said, program) };
    (output.status.code().unwrap(), first, said)
}

fn installed_runc() -> Option<&'static str> {
    let found = Path::new("/usr/sbin/runc").exists().then_some("/usr/sbin/runc");
    if found.is_none() {
        eprintln!("SKIPPED: no runc at /usr/sbin/runc to compare with");
    }
    found
}

#[test]
fn usage_errors_are_runcs() {
    let Some(runc) = installed_runc() else { return };
    let scratch = Scratch::new("usage");
    let root = scratch.path("root");
    let check = |line: &str| {
        let arguments: Vec<&str> = ["--root", &root].into_iter().chain(line.split_whitespace()).collect();
        assert_eq!(outcome(ORLOP, &arguments), outcome(runc, &arguments), "{line}");
    };
    for line in [
        "--foo",
        "-foo state x",
        "--foo=1 state x",
        "--log",
        "--debug=maybe list",
        "--= state",
        "---debug state",
        "--log-format xml list",
        "state",
        "state a b",
        "state --x a",
        "state --version",
        "-- state",
        "start",
        "start a b",
        "kill",
        "kill a b c",
        "kill --foo a",
        "delete",
        "delete --force",
        "exec",
        "exec --tty",
        "exec --preserve-fds abc x y",
        "exec -it x sh",
        "exec --env",
        "create",
        "create a b",
        "create --bundle",
        "create x -- --bundle /nowhere",
        "run",
        "run -x y",
        "list x",
        "ps",
        "pause",
        "resume",
        "spec x",
        "features x",
        "restore --lsm-mount-context",
        // No usage errors, but nothing that needs a container either.
        "state none",
        "state none --",
        "state a/b",
        "start none",
        "kill none",
        "kill none FOO",
        "kill -all none KILL",
        "delete none",
        "delete --force none",
        "delete none --force",
        "delete -f=false none",
        "pause none",
        "resume none",
        "ps none",
        "ps none -ef",
        "exec none",
        "exec none sh",
        "exec -u abc none sh",
        "list",
        "list -q",
        "list --format json",
        "list --format=json -q",
        "list -f foo",
        "-debug=false state none",
    ] {
        check(line);
    }
}

#[test]
fn unknown_commands_are_runcs() {
    let Some(runc) = installed_runc() else { return };
    for line in ["bogus", "help bogus", "- state"] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (code, out, said) = outcome(runc, &arguments);
        // A line feed inside a message would be two lines in conmon's eyes.
        assert_eq!(outcome(ORLOP, &arguments), (code, out, said.replace("\\n\"", "\"")), "{line}");
    }
}

#[test]
fn help_is_no_failure() {
    let check = |line: &str, start: &str| {
        let (code, first, said) = {
            let output = execute(ORLOP, &line.split_whitespace().collect::<Vec<_>>());
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        };
        assert_eq!((code, said.as_str()), (Some(0), ""), "{line}");
        assert!(first.starts_with(start), "{line}: {first}");
    };
    for line in ["", "help", "h", "--help", "-h", "--help state"] {
        check(line, "NAME:\n   orlop - ");
    }
    for line in ["state --help", "state -h", "state x --help", "help state", "h state"] {
        check(line, "NAME:\n   orlop state - ");
    }
    check("--version", "orlop version ");
    check("-v state", "orlop version ");
    check("--root /nowhere/at/all --version", "orlop version ");
    check("features", "{\n");
}

#[test]
fn what_is_not_there_yet_says_so() {
    for command in ["checkpoint", "restore"] {
        for rest in [&["x"][..], &["--help"], &["--no-such-flag", "x"], &[]] {
            let arguments = [&[command], rest].concat();
            let message = format!("level=error msg=\"{command} is not supported yet\"\n");
            assert_eq!(outcome(ORLOP, &arguments), (1, String::new(), message), "{arguments:?}");
        }
    }
}

#[test]
fn a_program_called_runc_is_runc() {
    let scratch = Scratch::new("name");
    let runc = scratch.path("runc");
    std::os::unix::fs::symlink(ORLOP, &runc).unwrap();
    assert!(text(&execute(&runc, &["--version"]).stdout).starts_with("runc version "));
    assert!(text(&execute(&runc, &["--help"]).stdout).contains("/run/runc (root)"));
}

#[test]
fn log_and_standard_error() {
    let scratch = Scratch::new("log");
    let (log, root) = (scratch.path("log"), scratch.path("root"));
    let run = |flags: &[&str], rest: &[&str]| {
        let global = ["--root", &root, "--log", &log];
        let output = execute(ORLOP, &[&global, flags, rest].concat());
        let written = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        (output.status.code().unwrap(), text(&output.stderr), written)
    };
    // The log exists, also when all is well, and says nothing then.
    assert_eq!(run(&[], &["list"]), (0, String::new(), String::new()));

    let (code, said, written) = run(&["--log-format", "json"], &["state", "none"]);
    assert_eq!((code, said.as_str()), (1, "container does not exist\n"));
    let record: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(record["level"], "error");
    assert_eq!(record["msg"], "container does not exist");
    assert!(written.starts_with("{\"level\":\"error\",\"msg\":\"container does not exist\",\"time\":\"20"));
    assert!(written.ends_with("Z\"}\n") && written.lines().count() == 1);

    let (code, said, written) = run(&[], &["state", "none"]);
    assert_eq!((code, said.as_str()), (1, "container does not exist\n"));
    assert_eq!(without_time(&written, ORLOP), "level=error msg=\"container does not exist\"\n");

    // A usage error goes both ways, too; a command line that fails leaves one record.
    let (code, said, written) = run(&[], &["state"]);
    assert_eq!((code, said), (1, format!("{ORLOP}: \"state\" requires exactly 1 argument(s)\n")));
    assert_eq!(written.lines().count(), 1);

    let (code, _, written) = run(&["--debug", "--log-format=json"], &["state", "none"]);
    assert_eq!(code, 1);
    let last: serde_json::Value = serde_json::from_str(written.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert_eq!(last["func"], "orlop");
    assert!(last["file"].as_str().unwrap().contains("main.rs:"));

    // A log of others is added to.
    fs::write(&log, "before\n").unwrap();
    let (_, _, written) = run(&[], &["state", "none"]);
    assert!(written.starts_with("before\ntime="));

    let output = execute(ORLOP, &["--log", "/nowhere/log", "state", "none"]);
    assert_eq!(output.status.code(), Some(1));
    let said = without_time(&text(&output.stderr), ORLOP);
    assert_eq!(said, "level=error msg=\"open /nowhere/log: no such file or directory\"\n");
}

#[test]
fn spec_is_written_once() {
    let scratch = Scratch::new("spec");
    let bundle = scratch.path("bundle");
    fs::create_dir(&bundle).unwrap();
    assert_eq!(outcome(ORLOP, &["spec", "--bundle", &bundle]), (0, String::new(), String::new()));
    let written = fs::read(Path::new(&bundle).join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    let again = "level=error msg=\"File config.json exists. Remove it first\"\n".to_owned();
    assert_eq!(outcome(ORLOP, &["spec", "-b", &bundle]), (1, String::new(), again));
    let nowhere = scratch.path("nowhere");
    assert_eq!(outcome(ORLOP, &["spec", "-b", &nowhere]).0, 1);

    let rootless = scratch.path("rootless");
    fs::create_dir(&rootless).unwrap();
    assert_eq!(outcome(ORLOP, &["spec", "--rootless", "-b", &rootless]).0, 0);
}
