//! Nothing in the child allocates: containers with every kind of step are run under an allocator that aborts whoever
//! allocates between clone and execve. Takes root.
//!
//! The program is its own payload: the binary is static, so a copy of it runs in an empty root.
#![allow(missing_docs, unsafe_code)]

#[path = "common/allocator.rs"]
mod allocator;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use allocator::OWN_PID;
use runtime_core::{Bundle, Containers, CreateOptions, ExecOptions, Stream, sys};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("payload") => ExitCode::SUCCESS,
        Some("wait") => loop {
            std::thread::park();
        },
        Some("allocate-in-child") => {
            OWN_PID.store(sys::getpid() + 1, Relaxed);
            drop(vec![1u8; 100]);
            ExitCode::SUCCESS
        }
        _ => test(),
    }
}

fn test() -> ExitCode {
    if sys::geteuid() != 0 {
        println!("SKIP no_alloc: takes root");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    // The check itself must be able to fail.
    let own = std::env::current_exe().unwrap();
    let status = std::process::Command::new(&own).arg("allocate-in-child").stderr(std::process::Stdio::null()).status();
    assert!(!status.unwrap().success(), "the allocator does not notice a child");

    // The steps are timed too, which must not allocate either.
    runtime_core::trace::begin();
    let work = Work::new();
    OWN_PID.store(sys::getpid(), Relaxed);
    let mut count = 0;
    for (name, change) in cases() {
        work.run(name, change);
        println!("test {name} ... ok");
        count += 1;
    }
    let mut spans = runtime_core::trace::take().into_iter();
    assert!(spans.any(|span| span.by == runtime_core::trace::By::Hop), "the hop was not timed");
    println!("test result: ok. {count} passed; 0 failed");
    ExitCode::SUCCESS
}

type Change = fn(&mut Value);

/// Configurations that together hold every kind of step that can run on any machine.
fn cases() -> Vec<(&'static str, Change)> {
    vec![
        ("plain", |_| {}),
        ("terminal", |c| {
            c["process"]["terminal"] = json!(true);
            c["process"]["consoleSize"] = json!({"height": 10, "width": 20});
        }),
        ("user", |c| {
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [5, 6]});
            c["process"]["cwd"] = json!("/made/by/runtime");
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
            c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
            c["linux"]["personality"] = json!({"domain": "LINUX"});
            c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"});
        }),
        ("user namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
        }),
        ("made mounts", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map.clone();
            let mounts = c["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/copied", "type": "tmpfs", "source": "t",
                "options": ["idmap", "tmpcopyup", "ro"], "uidMappings": map, "gidMappings": map}));
        }),
        ("links", |c| {
            let link = work_directory().join("link").to_str().unwrap().to_owned();
            let mounts = c["mounts"].as_array_mut().unwrap();
            for (destination, options) in [
                ("/new/copied", ["bind", "copy-symlink"]),
                // Once more: the link is there, and the same.
                ("/new/copied", ["bind", "copy-symlink"]),
                ("/new/itself", ["bind", "src-nofollow"]),
                ("/copied/deep/link", ["bind", "dest-nofollow"]),
            ] {
                mounts.push(json!({"destination": destination, "type": "bind", "source": link, "options": options}));
            }
        }),
        ("time namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
            c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1000}});
        }),
        ("cgroup namespace", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        }),
        ("hooks", |c| {
            let hook = json!([{"path": "/bin/true"}]);
            c["hooks"] = json!({"prestart": hook, "createRuntime": hook, "createContainer": hook, "poststart": hook,
                "poststop": hook, "startContainer": [{"path": "/payload", "args": ["payload", "payload"], "timeout": 10}]});
        }),
        ("seccomp", |c| {
            c["process"]["noNewPrivileges"] = json!(false);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]});
        }),
        ("mounts", |c| {
            let bundle = work_directory();
            let mounts = c["mounts"].as_array_mut().unwrap();
            mounts.push(
                json!({"destination": "/copied", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "ro"]}),
            );
            mounts.push(json!({"destination": "/bound", "type": "bind", "source": "/etc", "options": ["rbind", "rro", "rslave"]}));
            mounts.push(
                json!({"destination": "/a/file", "type": "bind", "source": "/etc/passwd", "options": ["bind", "ro"]}),
            );
            // Longer than fsconfig(2) takes.
            let layers = (0..12).map(|i| layer(&bundle, i).to_str().unwrap().to_owned()).collect::<Vec<_>>();
            let lower = format!("lowerdir={}", layers.join(":"));
            assert!(lower.len() > 300);
            mounts.push(
                json!({"destination": "/over", "type": "overlay", "source": "overlay", "options": [lower, "ro"]}),
            );
            mounts.push(json!({"destination": "/bound", "options": ["remount", "bind", "nosuid", "rnodev"]}));
            mounts.push(json!({"destination": "/copied", "options": ["remount", "rw", "size=2m", "slave"]}));
            let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}]);
            mounts.push(json!({"destination": "/shown", "type": "tmpfs", "source": "t", "options": ["idmap"],
                "uidMappings": map, "gidMappings": map}));
            mounts.push(
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
            );
            c["root"]["readonly"] = json!(true);
            c["linux"]["rootfsPropagation"] = json!("shared");
            c["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
                {"path": "/fifo", "type": "p"}]);
        }),
        ("failure", |c| c["process"]["args"] = json!(["/no/such/program"])),
    ]
}

fn work_directory() -> PathBuf {
    std::env::temp_dir().join(format!("orlop-no-alloc-{}", std::process::id()))
}

fn layer(work: &Path, number: usize) -> PathBuf {
    work.join(format!("layer-{number}"))
}

struct Work(PathBuf);

impl Work {
    fn new() -> Self {
        let path = work_directory();
        let root = path.join("rootfs");
        fs::create_dir_all(root.join("etc")).unwrap();
        (0..12).for_each(|i| fs::create_dir_all(layer(&path, i)).unwrap());
        std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
        fs::create_dir_all(root.join("copied/deep/er")).unwrap();
        fs::write(root.join("copied/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", root.join("copied/deep/link")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/payload\nu:x:1000:1000::/home/u:/payload\n").unwrap();
        fs::copy(std::env::current_exe().unwrap(), root.join("payload")).unwrap();
        Work(path)
    }

    fn run(&self, name: &str, change: Change) {
        let mut config: Value = serde_json::from_str(&runtime_core::spec::example(None, false)).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/payload", "wait"]);
        config["root"] = json!({"path": "rootfs"});
        change(&mut config);
        fs::write(self.0.join("config.json"), config.to_string()).unwrap();

        let containers = Containers::open(&self.0.join("state")).unwrap();
        let id = format!("no-alloc-{}", name.replace(' ', "-"));
        let bundle = Bundle::load(&self.0).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut options = CreateOptions::default();
        if config["process"]["terminal"] == json!(false) {
            options.stdio.stdin = Stream::Null;
        }
        let made = containers.create(&id, &bundle, options);
        if name == "failure" {
            assert_eq!(
                made.unwrap_err().to_string(),
                "exec: \"/no/such/program\": stat /no/such/program: no such file or directory"
            );
            return;
        }
        let container = made.unwrap_or_else(|e| panic!("{name}: {e}"));
        container.start().unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut process = container.process().unwrap().unwrap();
        process.args = vec![c"/payload".to_owned(), c"payload".to_owned()];
        let exec = container.exec(ExecOptions::new(process)).unwrap_or_else(|e| panic!("{name}: exec: {e}"));
        assert_eq!(exec.wait().unwrap().code(), Some(0), "{name}");
        container.kill(libc::SIGKILL, false).unwrap();
        assert_eq!(container.init().unwrap().wait().unwrap().signal(), Some(libc::SIGKILL), "{name}");
        assert_eq!(container.delete(false).unwrap(), Vec::<String>::new(), "{name}");
        assert!(!Path::new(&self.0.join("state").join(&id)).exists());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
