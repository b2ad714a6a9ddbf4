//! The effects, in this machine's hierarchies.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::spec::{DeviceRule, Linux};

/// Every layout that this machine can stand for. The v2 hierarchy of a hybrid machine is as good as a pure one.
fn layouts() -> Vec<(&'static str, Layout)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: cgroups can be made by root only");
        return Vec::new();
    }
    let layout = Layout::probe().unwrap();
    let mut layouts = Vec::new();
    if layout.unified.is_some() {
        layouts.push(("v2", Layout { v1: Vec::new(), ..layout.clone() }));
    }
    if !layout.v1.is_empty() {
        layouts.push(("v1", Layout { unified: None, ..layout.clone() }));
        if layout.unified.is_some() {
            layouts.push(("hybrid", layout));
        }
    }
    layouts
}

/// A cgroup that is gone, with all in it, at the end of the test.
struct Guard(Created);

impl Drop for Guard {
    fn drop(&mut self) {
        let record = &self.0.record;
        let removed = record.kill_all(libc::SIGKILL).and_then(|()| record.remove());
        if !std::thread::panicking() {
            removed.unwrap();
            for path in record.dirs.iter().map(|dir| &dir.path).chain(&record.parents) {
                assert!(!path.exists(), "{}", path.display());
            }
        }
    }
}

/// A shell that runs what it is told.
struct Shell(Child);

impl Shell {
    fn new() -> Self {
        let shell = Command::new("sh").stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        Shell(shell.unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Runs the commands and returns the status of the last one.
    fn finish(mut self, commands: &str) -> Option<i32> {
        self.0.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(test: &str) -> String {
    format!("/orlop-{test}-{}/a/b", std::process::id())
}

fn linux(path: String) -> Linux {
    Linux { cgroups_path: Some(path), ..Linux::default() }
}

fn made(linux: &Linux, layout: &Layout) -> Guard {
    Guard(create(&plan(linux, "id", layout, Options::default()).unwrap()).unwrap())
}

#[test]
fn a_cgroup_lives_and_dies() {
    for (name, layout) in layouts() {
        let linux = linux(path("life"));
        let group = made(&linux, &layout);
        let record = &group.0.record;
        assert_eq!(group.0.unified.is_some(), name != "v1");
        assert_eq!(record.parents.len(), 2 * record.dirs.len(), "{name}");
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(&serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(record.pids().unwrap().is_empty());

        let shell = Shell::new();
        record.place(shell.pid(), false).unwrap();
        assert_eq!(record.pids().unwrap(), [shell.pid()], "{name}");
        let memberships = fs::read_to_string(format!("/proc/{}/cgroup", shell.pid())).unwrap();
        let inside = memberships.lines().filter(|line| line.ends_with(&path("life"))).count();
        assert_eq!(inside, record.dirs.len(), "{name}: {memberships}");

        let again = create(&plan(&linux, "id", &layout, Options::default()).unwrap()).unwrap_err();
        assert_eq!(again.to_string(), "container's cgroup is not empty: 1 process(es) found");

        record.freeze().unwrap();
        assert!(record.is_frozen().unwrap(), "{name}");
        record.thaw().unwrap();
        assert!(!record.is_frozen().unwrap(), "{name}");
        assert_eq!(record.oom_kill_count().unwrap(), 0);
    }
}

#[test]
fn a_frozen_container_is_killed_with_its_groups() {
    for (name, layout) in layouts() {
        let group = made(&linux(path("frozen")), &layout);
        let record = &group.0.record;
        let inner: Vec<PathBuf> = record.dirs.iter().map(|dir| dir.path.join("inner/most")).collect();
        let (outside, inside) = (Shell::new(), Shell::new());
        record.place(outside.pid(), false).unwrap();
        for (dir, path) in record.dirs.iter().zip(&inner) {
            fs::create_dir_all(path).unwrap();
            if dir.has("cpuset") {
                for file in
                    ["inner/cpuset.cpus", "inner/cpuset.mems", "inner/most/cpuset.cpus", "inner/most/cpuset.mems"]
                {
                    let value = fs::read_to_string(dir.path.join(Path::new(file).file_name().unwrap())).unwrap();
                    fs::write(dir.path.join(file), value).unwrap();
                }
            }
            fs::write(path.join("cgroup.procs"), inside.pid().to_string()).unwrap();
            if dir.has("freezer") {
                fs::write(path.join("freezer.state"), "FROZEN").unwrap();
            }
        }
        let mut expect = [outside.pid(), inside.pid()];
        expect.sort_unstable();
        assert_eq!(record.pids().unwrap(), expect, "{name}");
        record.freeze().unwrap();
        // A signal other than SIGKILL leaves it frozen.
        record.kill_all(libc::SIGTERM).unwrap();
        assert!(record.is_frozen().unwrap(), "{name}");
        record.kill_all(libc::SIGKILL).unwrap();
        record.remove().unwrap();
        record.remove().unwrap();
    }
}

#[test]
fn device_rules_are_obeyed() {
    let rules = |allow: &[(u32, u32, bool)]| {
        let mut rules = vec![DeviceRule {
            allow: false,
            kind: None,
            major: None,
            minor: None,
            read: true,
            write: true,
            mknod: true,
        }];
        rules.extend(allow.iter().map(|(major, minor, write)| DeviceRule {
            allow: true,
            kind: Some(crate::spec::DeviceKind::Char),
            major: Some(*major),
            minor: Some(*minor),
            read: true,
            write: *write,
            mknod: false,
        }));
        rules
    };
    // Commands, what they answer without a rule for /dev/kmsg (1:11), with a read-only one, with one for both.
    let cases = [
        (": < /dev/kmsg", [2, 0, 0]),
        (": >> /dev/kmsg", [2, 2, 0]),
        (": <> /dev/kmsg", [2, 2, 0]),
        (": > /dev/null", [0, 0, 0]),
        (": <> /dev/full", [0, 0, 0]),
    ];
    for (name, layout) in layouts() {
        for (index, allow) in [&[][..], &[(1, 11, false)], &[(1, 11, true)]].into_iter().enumerate() {
            let mut linux = linux(path("devices"));
            linux.resources.devices = rules(allow);
            let group = made(&linux, &layout);
            for (command, status) in cases {
                let shell = Shell::new();
                group.0.record.place(shell.pid(), false).unwrap();
                assert_eq!(shell.finish(command), Some(status[index]), "{name}: {command} with {allow:?}");
            }
        }
    }
}

#[test]
fn nothing_is_left_of_a_failure() {
    for (name, layout) in layouts() {
        let linux = linux(path("failure"));
        let mut cgroup = plan(&linux, "id", &layout, Options::default()).unwrap();
        let dir = cgroup.dirs.len() - 1;
        cgroup.writes.push(Write {
            dir,
            file: "cgroup.procs".into(),
            value: Value::Text("x".into()),
            pointer: "/some/value".into(),
            on_failure: OnFailure::Fail,
        });
        let expect =
            format!("write \"x\" to {}/cgroup.procs: invalid argument (/some/value)", cgroup.dirs[dir].path.display());
        assert_eq!(create(&cgroup).unwrap_err().to_string(), expect, "{name}");
        for dir in &cgroup.dirs {
            assert!(!dir.path.ancestors().nth(2).unwrap().exists(), "{name}: {dir:?}");
        }
    }
}

#[test]
fn a_frozen_or_busy_cgroup_is_told() {
    for (name, layout) in layouts() {
        let linux = linux(path("told"));
        let group = made(&linux, &layout);
        group.0.record.freeze().unwrap();
        let error = create(&plan(&linux, "id", &layout, Options::default()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "container's cgroup unexpectedly frozen", "{name}");
        group.0.record.thaw().unwrap();
    }
}
