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

/// Makes it; nobody would have to clean up.
fn create(cgroup: &Cgroup) -> crate::Result<Created> {
    let created = super::create(cgroup, &mut |_| Ok(()))?;
    created.attach_devices(cgroup)?;
    Ok(created)
}

/// A cgroup that is gone, with all in it, at the end of the test.
struct Guard(Created);

impl Drop for Guard {
    fn drop(&mut self) {
        let record = &self.0.record;
        let removed = record.kill_all(libc::SIGKILL).and_then(|()| record.remove());
        if !std::thread::panicking() {
            removed.unwrap();
            for path in record.dirs.iter().map(|dir| &dir.path) {
                assert!(!path.exists(), "{}", path.display());
            }
            // Those that it shares with somebody stay.
            for path in &record.parents {
                assert!(!path.exists() || !processes::children(path).is_empty(), "{}", path.display());
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

#[test]
fn a_cgroup_below_a_frozen_one_is_told() {
    for (name, layout) in layouts() {
        let outer = made(&linux(path("outer")), &layout);
        outer.0.record.freeze().unwrap();
        let inner = linux(format!("{}/in/ner", path("outer")));
        let error = create(&plan(&inner, "id", &layout, Options::default()).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "container's cgroup unexpectedly frozen", "{name}");
        for dir in &outer.0.record.dirs {
            assert!(!dir.path.join("in").exists(), "{name}");
        }
        // Who is resumed below it still stands still.
        outer.0.record.thaw().unwrap();
        let inner = Guard(create(&plan(&inner, "id", &layout, Options::default()).unwrap()).unwrap());
        inner.0.record.freeze().unwrap();
        if name == "v1" {
            outer.0.record.freeze().unwrap();
            let error = inner.0.record.resume().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Timeout, "{error}");
            outer.0.record.thaw().unwrap();
        }
        inner.0.record.resume().unwrap();
        assert!(!inner.0.record.is_frozen().unwrap(), "{name}");
    }
}

#[test]
fn missing_parents_are_announced() {
    for (name, layout) in layouts() {
        let cgroup = plan(&linux(path("announced")), "id", &layout, Options::default()).unwrap();
        let mut announced = Vec::new();
        let created = super::create(&cgroup, &mut |parents| {
            assert!(parents.iter().all(|parent| !parent.exists()), "{name}");
            announced.push(parents.to_vec());
            Ok(())
        });
        let group = Guard(created.unwrap());
        assert_eq!(announced, std::slice::from_ref(&group.0.record.parents), "{name}");
        drop(group);
        let refused = super::create(&cgroup, &mut |_| Err(crate::Error::new(crate::ErrorKind::System, "no")));
        assert_eq!(refused.unwrap_err().to_string(), "no", "{name}");
        assert!(cgroup.dirs.iter().all(|dir| !dir.path.ancestors().nth(2).unwrap().exists()), "{name}");
    }
}

#[test]
fn a_fork_bomb_is_killed() {
    for (name, layout) in layouts() {
        let mut linux = linux(path("bomb"));
        let pids = layout.v1.iter().any(|hierarchy| hierarchy.controllers.iter().any(|c| c == "pids"));
        if pids {
            linux.resources.pids_limit = Some(200);
        }
        let group = made(&linux, &layout);
        let record = &group.0.record;
        let mut shell = Shell::new();
        record.place(shell.pid(), false).unwrap();
        // Each of them starts others as long as it lives, none of which any signal but SIGKILL ends. Where nothing limits
        // their number they only replace themselves.
        let bomb = if pids {
            "f() { trap '' TERM; while :; do f & : ; done; }; f\n"
        } else {
            "f() { trap '' TERM; f & exit; }; f & f & f & f & wait\n"
        };
        shell.0.stdin.take().unwrap().write_all(bomb.as_bytes()).unwrap();
        while record.pids().unwrap().len() < 3 {
            std::thread::yield_now();
        }
        record.kill_all(libc::SIGKILL).unwrap();
        let _ = shell.0.wait();
        record.remove().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn limits_can_be_changed() {
    use crate::spec::{Cpu, Memory, Resources};
    let Some((_, layout)) = layouts().into_iter().find(|(name, _)| *name == "v1") else {
        eprintln!("skipped: no v1 hierarchies here");
        return;
    };
    let group = made(&linux(path("update")), &layout);
    let record = &group.0.record;
    let read = |controller: &str, file: &str| {
        let value = fs::read_to_string(record.v1(controller).unwrap().path.join(file)).unwrap();
        value.trim().parse::<u64>().unwrap()
    };
    // Each pair is refused by the kernel in one of the two orders.
    for (limit, swap) in [(8 << 20, 16 << 20), (64 << 20, 128 << 20), (4 << 20, 4 << 20), (32 << 20, 32 << 20)] {
        let memory = Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() };
        let ignored = record.update(&Resources { memory, ..Resources::default() }, &|| Ok(Linux::default())).unwrap();
        assert_eq!(ignored, []);
        let is = (read("memory", "memory.limit_in_bytes"), read("memory", "memory.memsw.limit_in_bytes"));
        assert_eq!(is, (limit as u64, swap as u64));
    }
    for (quota, period, burst) in [(50_000, 100_000, 50_000), (5_000, 10_000, 1_000), (900_000, 1_000_000, 800_000)] {
        let cpu = Cpu { quota: Some(quota), period: Some(period), burst: Some(burst), ..Cpu::default() };
        record.update(&Resources { cpu, ..Resources::default() }, &|| Ok(Linux::default())).unwrap();
        let is = (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us"), read("cpu", "cpu.cfs_burst_us"));
        assert_eq!(is, (quota as u64, period, burst));
    }
    let cpu = Cpu { quota: Some(1), ..Cpu::default() };
    let error =
        record.update(&Resources { cpu, ..Resources::default() }, &|| Ok(Linux::default())).unwrap_err().to_string();
    let file = record.v1("cpu").unwrap().path.join("cpu.cfs_quota_us");
    let expect = format!("write \"1\" to {}: invalid argument (/linux/resources/cpu/quota)", file.display());
    assert_eq!(error, expect);
}

/// The v2 layout, and a directory for the test in it.
fn unified(test: &str) -> Option<(Layout, PathBuf)> {
    let Some((_, layout)) = layouts().into_iter().find(|(name, _)| *name == "v2") else {
        eprintln!("skipped: no v2 hierarchy here");
        return None;
    };
    let top = layout.unified.as_ref().unwrap().mount.join(format!("orlop-{test}-{}", std::process::id()));
    Some((layout, top))
}

#[test]
fn controllers_are_passed_down() {
    let Some((layout, top)) = unified("controllers") else { return };
    let wanted = layout.unified.as_ref().unwrap().controllers.join(" ");
    let group = made(&linux(path("controllers")), &layout);
    let dir = &group.0.record.dirs[0].path;
    assert!(dir.starts_with(&top));
    assert_eq!(fs::read_to_string(dir.join("cgroup.controllers")).unwrap().trim(), wanted);
    assert_eq!(fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap().trim(), "");
}

#[test]
fn a_controller_that_is_kept_above_is_told() {
    let Some((mut layout, top)) = unified("kept") else { return };
    let hierarchy = layout.unified.as_mut().unwrap();
    if hierarchy.controllers.iter().any(|name| name == "rdma") {
        eprintln!("skipped: the rdma controller is here");
        return;
    }
    // As where an ancestor has processes, so that the kernel refuses to enable anything for its children.
    hierarchy.controllers.push("rdma".into());
    let mut linux = linux(path("kept"));
    let limits = crate::spec::Rdma { hca_handles: Some(1), hca_objects: None };
    linux.resources.rdma.push(("mlx".into(), limits));
    let error = create(&plan(&linux, "id", &layout, Options::default()).unwrap()).unwrap_err().to_string();
    let expect = format!(
        "write \"mlx hca_handle=1\" to {}/a/b/rdma.max: the kernel has no such control file, \
         the cgroups above do not pass the rdma controller on (/linux/resources/rdma/mlx)",
        top.display()
    );
    assert_eq!(error, expect);
    assert!(!top.exists());
}

#[test]
fn a_threaded_parent_makes_a_threaded_cgroup() {
    let Some((layout, top)) = unified("threaded") else { return };
    fs::create_dir(&top).unwrap();
    fs::write(top.join("cgroup.type"), "threaded").unwrap();
    let created = plan(&linux(path("threaded")), "id", &layout, Options::default()).and_then(|cgroup| create(&cgroup));
    let group = created.map(Guard);
    let kind = match &group {
        Ok(group) => fs::read_to_string(group.0.record.dirs[0].path.join("cgroup.type")).unwrap(),
        Err(error) => error.to_string(),
    };
    drop(group);
    fs::remove_dir(&top).unwrap();
    assert_eq!(kind, "threaded\n");
}

#[test]
fn a_cgroup_is_delegated() {
    let Some((layout, _)) = unified("owner") else { return };
    let options = Options { owner: Some(12345), ..Options::default() };
    let group = Guard(create(&plan(&linux(path("owner")), "id", &layout, options).unwrap()).unwrap());
    let owner = |name: &str| fs::metadata(group.0.record.dirs[0].path.join(name)).unwrap().uid();
    use std::os::unix::fs::MetadataExt;
    assert_eq!([".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"].map(owner), [12345; 4]);
    assert_eq!(["cgroup.freeze", "cgroup.max.depth"].map(owner), [0; 2]);
}

#[test]
fn exec_follows_init_into_its_cgroup() {
    use std::os::fd::AsRawFd;
    let Some((layout, _)) = unified("follow") else { return };
    let group = made(&linux(path("follow")), &layout);
    let record = &group.0.record;
    let inner = record.dirs[0].path.join("init.scope");
    fs::create_dir(&inner).unwrap();
    let shell = Shell::new();
    record.below(&[("", "init.scope")]).unwrap().place(shell.pid(), false).unwrap();
    let opened = |fd: Option<std::os::fd::OwnedFd>| {
        let fd = fd.unwrap();
        fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
    };
    assert_eq!(opened(record.open_unified().unwrap()), record.dirs[0].path);
    assert_eq!(opened(record.beside(shell.pid()).unwrap().open_unified().unwrap()), inner);
    for bad in ["..", "a/../../b"] {
        assert_eq!(record.below(&[("", bad)]).unwrap_err().to_string(), format!("bad sub cgroup path: {bad}"));
    }
    let error = record.below(&[("cpu", "a")]).unwrap_err().to_string();
    assert_eq!(error, "unknown controller cpu in --cgroup flag");
}

#[test]
fn the_program_of_an_earlier_container_is_replaced() {
    let Some((layout, _)) = unified("replace") else { return };
    let mut strict = plan(&linux(path("replace")), "id", &layout, Options::default()).unwrap();
    strict.devices = Some(vec![BpfInsn::new(0xb4, 0, 0, 0, 0), BpfInsn::new(0x95, 0, 0, 0, 0)]);
    let group = Guard(create(&strict).unwrap());
    let status = |command: &str| {
        let shell = Shell::new();
        group.0.record.place(shell.pid(), false).unwrap();
        shell.finish(command)
    };
    assert_eq!(status(": < /dev/zero"), Some(2));
    let again = create(&plan(&linux(path("replace")), "id", &layout, Options::default()).unwrap()).unwrap();
    assert_eq!(again.record.parents, Vec::<PathBuf>::new());
    assert_eq!(status(": < /dev/zero"), Some(0));
}

#[test]
fn who_forks_is_frozen_and_killed() {
    for (name, layout) in layouts() {
        let group = made(&linux(path("forks")), &layout);
        let record = &group.0.record;
        let mut shells: Vec<_> = (0..3).map(|_| Shell::new()).collect();
        for shell in &mut shells {
            record.place(shell.pid(), false).unwrap();
            writeln!(shell.0.stdin.as_mut().unwrap(), "while :; do (:) & wait; done").unwrap();
        }
        for _ in 0..20 {
            record.freeze().unwrap();
            let pids = record.pids().unwrap();
            assert!(pids.len() >= shells.len(), "{name}");
            assert_eq!(record.pids().unwrap(), pids, "{name}");
            record.thaw().unwrap();
        }
        record.kill_all(libc::SIGKILL).unwrap();
        record.remove().unwrap();
        for shell in &mut shells {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&shell.0.wait().unwrap()), Some(libc::SIGKILL));
        }
    }
}

#[test]
fn who_holds_a_cgroup_is_told() {
    for (name, layout) in layouts() {
        let group = made(&linux(path("holds")), &layout);
        let record = &group.0.record;
        let shell = Shell::new();
        record.place(shell.pid(), false).unwrap();
        for dir in &record.dirs {
            let error = remove::remove_tree(&dir.path, dir.is_unified(), std::time::Instant::now()).unwrap_err();
            let expect = format!(
                "remove cgroup {}: device or resource busy after 10s, process {} is still in it",
                dir.path.display(),
                shell.pid()
            );
            assert_eq!(error.to_string(), expect, "{name}");
        }
    }
}

#[test]
fn rootless_does_without_what_it_may_not_make() {
    if layouts().is_empty() {
        return;
    }
    // sysfs refuses every mkdir(2) with EPERM.
    let hierarchy = |name: &str| Hierarchy { controllers: vec![name.into()], mount: "/sys".into(), own: "/x".into() };
    let layouts = [
        Layout { v1: ["cpuset", "devices", "pids"].map(hierarchy).into(), unified: None },
        Layout { v1: vec![], unified: Some(hierarchy("pids")) },
    ];
    let options = Options { rootless: true, ..Options::default() };
    for layout in layouts {
        let created = create(&plan(&Linux::default(), "id", &layout, options).unwrap()).unwrap();
        assert_eq!((created.record.dirs, created.unified.is_some()), (vec![], false));

        let mut limited = Linux::default();
        limited.resources.pids_limit = Some(5);
        let error = create(&plan(&limited, "id", &layout, options).unwrap()).unwrap_err().to_string();
        let path = if layout.is_v2() { "/sys/id" } else { "/sys/x/id" };
        let rootless = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
        assert_eq!(
            error,
            format!("/linux/resources/pids/limit: {rootless}: create cgroup {path}: operation not permitted")
        );

        let error = create(&plan(&linux("/a".into()), "id", &layout, options).unwrap()).unwrap_err().to_string();
        assert_eq!(error, format!("/linux/cgroupsPath: {rootless}: create cgroup /sys/a: operation not permitted"));
    }
}

/// Resources in the manner of the engines, each with a difficulty.
const ENGINES: [&str; 5] = [
    // podman
    r#"{"devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 67108864, "swap": 67108864}, "cpu": {"quota": 50000, "period": 100000, "cpus": "0"},
        "pids": {"limit": 50}}"#,
    // docker, with zeros for what was not asked for, and a device
    r#"{"devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 1, "access": "rwm"},
                    {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                    {"allow": true, "type": "b", "major": 8, "minor": -1, "access": "r"}],
        "memory": {"limit": 209715200, "reservation": 104857600, "swap": 314572800, "disableOOMKiller": false},
        "cpu": {"shares": 0, "quota": 50000, "period": 100000}, "blockIO": {"weight": 0}}"#,
    // ctr
    r#"{"devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"},
                    {"allow": true, "type": "c", "major": 136, "access": "rw"},
                    {"allow": false, "type": "c", "major": 1, "minor": 8, "access": "m"}],
        "cpu": {"shares": 1024, "mems": "0"}, "memory": {"limit": -1, "swappiness": 30}}"#,
    // privileged
    r#"{"devices": [{"allow": true, "access": "rwm"}], "cpu": {"shares": 2, "quota": -1}}"#,
    "{}",
];

/// The contents of all control files that can be written, by name.
fn settings(record: &Record) -> Vec<(String, String)> {
    use std::os::unix::fs::PermissionsExt;
    let state = [
        "cgroup.procs",
        "cgroup.threads",
        "tasks",
        "memory.max_usage_in_bytes",
        "memory.memsw.max_usage_in_bytes",
        "cpuacct.usage",
    ];
    let mut settings = Vec::new();
    for dir in &record.dirs {
        for entry in fs::read_dir(&dir.path).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            let counts = name.contains("kmem") || name.ends_with(".pressure") || state.contains(&name.as_str());
            if (mode & 0o600 == 0o600 || name == "devices.list") && entry.path().is_file() && !counts {
                let value = fs::read_to_string(entry.path()).unwrap_or_default();
                settings.push((format!("{}/{name}", dir.hierarchy), value));
            }
        }
    }
    settings.sort();
    settings
}

/// The installed runc with a bundle; nothing of it is left at the end of the test.
struct Runc {
    bundle: PathBuf,
    /// Where it makes a cgroup: it leaves the directories above.
    dirs: Vec<Dir>,
}

impl Runc {
    fn new(busybox: &Path) -> Self {
        let bundle = std::env::temp_dir().join(format!("orlop-cgroup-{}", std::process::id()));
        fs::create_dir_all(bundle.join("rootfs/proc")).unwrap();
        fs::copy(busybox, bundle.join("rootfs/busybox")).unwrap();
        Runc { bundle, dirs: Vec::new() }
    }

    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let stderr = self.bundle.join("stderr");
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.bundle.join("state")).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.stderr(fs::File::create(&stderr).unwrap()).status().unwrap();
        if status.success() { Ok(()) } else { Err(fs::read_to_string(&stderr).unwrap()) }
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "--force", "orlop-oracle"]);
        for parent in self.dirs.iter().flat_map(|dir| dir.path.ancestors().skip(1).take(2)) {
            let _ = fs::remove_dir(parent);
        }
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

#[test]
fn the_settings_are_those_of_runc() {
    let busybox = Path::new("/bin/busybox");
    if layouts().is_empty() || Command::new("runc").arg("--version").output().is_err() || !busybox.exists() {
        eprintln!("skipped: needs root, runc and a static busybox");
        return;
    }
    let layout = Layout::probe().unwrap();
    let mut runc = Runc::new(busybox);
    for resources in ENGINES {
        let path = path("oracle");
        let config = format!(
            r#"{{"ociVersion": "1.0.2", "root": {{"path": "rootfs"}}, "linux": {{"cgroupsPath": "{path}",
                "namespaces": [{{"type": "pid"}}, {{"type": "mount"}}], "resources": {resources}}},
                "mounts": [{{"destination": "/proc", "type": "proc", "source": "proc"}}],
                "process": {{"args": ["/busybox"], "cwd": "/", "user": {{"uid": 0, "gid": 0}}}}}}"#
        );
        fs::write(runc.bundle.join("config.json"), &config).unwrap();
        let (spec, _) = crate::spec::Spec::from_slice(config.as_bytes(), &runc.bundle).unwrap();
        let cgroup = match plan(&spec.linux, "id", &layout, Options::default()) {
            Ok(cgroup) => cgroup,
            Err(error) => {
                assert_eq!(error.kind(), crate::ErrorKind::Unsupported, "{error}");
                eprintln!("skipped: {error}");
                continue;
            }
        };
        runc.dirs.clone_from(&cgroup.dirs);
        runc.run(&["create", "--bundle", runc.bundle.to_str().unwrap(), "orlop-oracle"]).unwrap();
        let theirs = settings(&Record::from(&cgroup));
        runc.run(&["delete", "--force", "orlop-oracle"]).unwrap();

        let group = Guard(create(&cgroup).unwrap());
        let lines = |value: &str| {
            let mut lines: Vec<_> = value.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        for ((name, ours), (_, theirs)) in settings(&group.0.record).iter().zip(&theirs) {
            assert_eq!(lines(ours), lines(theirs), "{name} with {resources}");
        }
    }
}
