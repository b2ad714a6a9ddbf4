//! The sentences of the OCI runtime specification, seen from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::ctx::{
    Bundle, Ctx, Outcome, Patch, Stop, args, contains, ensure, eq, facts_of, fail, namespace, push, skip,
};
use crate::frame::Case;

fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("spec", name, checks, run)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = FACTS
        .iter()
        .map(|Row(name, checks, patch, expect)| case(name, checks, move |x| compare(&x.facts(patch)?, &expect())))
        .collect();
    all.extend(REFUSED.iter().map(|(name, checks, patch)| {
        case(name, checks, move |x| {
            let b = x.bundle(patch)?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            ensure(!out.stdout.contains("\"uid\""), "the program ran")?;
            ensure(!out.stderr.trim().is_empty(), "no message")?;
            ensure(!out.stderr.contains("panic"), "it panicked")?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        })
    }));
    all.extend(process());
    all.extend(root_and_mounts());
    all.extend(mount_options());
    all.extend(namespaces());
    all.extend(users());
    all.extend(devices());
    all.extend(masks());
    all.extend(seccomp());
    all.extend(cgroups());
    all.extend(hooks());
    all.extend(lifecycle());
    all
}

/// Facts that a row expects, as JSON pointers into the probe's report.
type Expect = fn() -> Vec<(&'static str, Value)>;

/// A container is run with a change, and its facts are compared.
struct Row(&'static str, &'static str, Patch, Expect);

/// Compares facts with what a row expects.
pub(crate) fn compare(facts: &Value, expect: &[(&str, Value)]) -> Outcome {
    for (pointer, want) in expect {
        eq(pointer, facts.pointer(pointer).unwrap_or(&Value::Null), want)?;
    }
    Ok(())
}

const USER: &str = "config.md POSIX-platform User";
const CAPS: &str = "config.md Linux Process: capabilities";
const RLIMITS: &str = "config.md POSIX process: rlimits";
const LINUX_PROCESS: &str = "config.md Linux Process";

const FACTS: &[Row] = &[
    Row(
        "process/user",
        USER,
        |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1001}),
        || {
            vec![
                ("/uid", json!([1000, 1000, 1000, 1000])),
                ("/gid", json!([1001, 1001, 1001, 1001])),
                ("/groups", json!([])),
            ]
        },
    ),
    Row(
        "process/additional-gids",
        USER,
        |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 70000]}),
        || vec![("/groups", json!([5, 70000])), ("/gid", json!([1001, 1001, 1001, 1001]))],
    ),
    Row("process/groups-empty", USER, |_| (), || vec![("/groups", json!([]))]),
    Row(
        "process/large-ids",
        USER,
        |c| c["process"]["user"] = json!({"uid": 2_147_483_647, "gid": 2_147_483_647}),
        || vec![("/uid/0", json!(2_147_483_647)), ("/gid/0", json!(2_147_483_647))],
    ),
    Row("process/umask", USER, |c| c["process"]["user"]["umask"] = json!(0o027), || vec![("/umask", json!("0027"))]),
    Row("process/umask-zero", USER, |c| c["process"]["user"]["umask"] = json!(0), || vec![("/umask", json!("0000"))]),
    Row("process/umask-unset", USER, |_| (), || vec![("/umask", json!("0022"))]),
    Row(
        "process/cwd",
        "config.md Process: cwd",
        |c| c["process"]["cwd"] = json!("/dir"),
        || vec![("/cwd", json!("/dir"))],
    ),
    Row(
        "process/cwd-made",
        "runc: a working directory that is missing is made",
        |c| c["process"]["cwd"] = json!("/new/dir"),
        || vec![("/cwd", json!("/new/dir"))],
    ),
    Row(
        "process/env",
        "config.md Process: env",
        |c| c["process"]["env"] = json!(["A=1", "B=", "C=d=e f", "HOME=/dir"]),
        || vec![("/env", json!({"A": "1", "B": "", "C": "d=e f", "HOME": "/dir"}))],
    ),
    Row(
        "process/args",
        "config.md Process: args",
        |c| c["process"]["args"] = json!(["/probe", "report", "a b", "", "ä"]),
        || vec![("/args", json!(["/probe", "report", "a b", "", "ä"]))],
    ),
    Row(
        "process/args-relative",
        "config.md Process: args as execvp",
        |c| {
            c["process"]["cwd"] = json!("/");
            c["process"]["args"] = json!(["./probe", "report"]);
        },
        || vec![("/args", json!(["./probe", "report"]))],
    ),
    Row(
        "process/init",
        "config-linux.md Namespaces: pid",
        |_| (),
        || vec![("/pid", json!(1)), ("/ppid", json!(0)), ("/sid", json!(1)), ("/pgid", json!(1))],
    ),
    Row(
        "process/signals",
        "config.md Process: nothing blocked, ignored or pending",
        |_| (),
        || {
            let none = json!("0000000000000000");
            vec![("/sig_blocked", none.clone()), ("/sig_pending", none)]
        },
    ),
    Row(
        "caps/sets",
        CAPS,
        |c| {
            c["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_MKNOD"],
                "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "effective": ["CAP_CHOWN"],
                "inheritable": ["CAP_NET_RAW"],
                "ambient": ["CAP_NET_RAW"]
            });
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        },
        // capabilities(7): execve of a program without file capabilities leaves the ambient set to a user who is not root.
        || {
            vec![
                ("/caps/bounding", json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_MKNOD"])),
                ("/caps/permitted", json!(["CAP_NET_RAW"])),
                ("/caps/effective", json!(["CAP_NET_RAW"])),
                ("/caps/inheritable", json!(["CAP_NET_RAW"])),
                ("/caps/ambient", json!(["CAP_NET_RAW"])),
            ]
        },
    ),
    Row(
        "caps/root",
        CAPS,
        |c| {
            let caps = json!(["CAP_CHOWN", "CAP_KILL"]);
            c["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps});
        },
        || {
            let caps = json!(["CAP_CHOWN", "CAP_KILL"]);
            vec![
                ("/caps/bounding", caps.clone()),
                ("/caps/permitted", caps.clone()),
                ("/caps/effective", caps),
                ("/caps/inheritable", json!([])),
                ("/caps/ambient", json!([])),
            ]
        },
    ),
    Row(
        "caps/none",
        CAPS,
        |c| c["process"]["capabilities"] = json!({}),
        || {
            let none = json!([]);
            vec![
                ("/caps/bounding", none.clone()),
                ("/caps/permitted", none.clone()),
                ("/caps/effective", none.clone()),
                ("/caps/inheritable", none.clone()),
                ("/caps/ambient", none),
            ]
        },
    ),
    Row(
        "caps/user-without-ambient",
        CAPS,
        |c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}),
        || vec![("/caps/effective", json!([])), ("/caps/permitted", json!([])), ("/caps/ambient", json!([]))],
    ),
    Row(
        "caps/unknown-is-a-warning",
        CAPS,
        |c| {
            let caps = json!(["CAP_CHOWN", "CAP_MADE_UP"]);
            c["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps});
        },
        || vec![("/caps/effective", json!(["CAP_CHOWN"]))],
    ),
    Row(
        "rlimits/several",
        RLIMITS,
        |c| {
            c["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
                {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200},
                {"type": "RLIMIT_MSGQUEUE", "soft": 4096, "hard": 8192},
                {"type": "RLIMIT_CPU", "soft": 50, "hard": 60}
            ]);
        },
        || {
            vec![
                ("/rlimits/RLIMIT_NOFILE", json!([512, 1024])),
                ("/rlimits/RLIMIT_CORE", json!([0, 4096])),
                ("/rlimits/RLIMIT_NPROC", json!([100, 200])),
                ("/rlimits/RLIMIT_MSGQUEUE", json!([4096, 8192])),
                ("/rlimits/RLIMIT_CPU", json!([50, 60])),
            ]
        },
    ),
    Row(
        "process/no-new-privileges",
        LINUX_PROCESS,
        |c| c["process"]["noNewPrivileges"] = json!(true),
        || vec![("/no_new_privs", json!(1))],
    ),
    Row(
        "process/new-privileges",
        LINUX_PROCESS,
        |c| c["process"]["noNewPrivileges"] = json!(false),
        || vec![("/no_new_privs", json!(0))],
    ),
    Row(
        "process/oom-score-adj",
        "config.md Linux Process: oomScoreAdj",
        |c| c["process"]["oomScoreAdj"] = json!(500),
        || vec![("/oom_score_adj", json!(500))],
    ),
    Row(
        "process/scheduler-batch",
        "config.md Linux Process: scheduler",
        |c| c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7}),
        || vec![("/policy", json!(3)), ("/nice", json!(7))],
    ),
    Row(
        "process/scheduler-idle",
        "config.md Linux Process: scheduler",
        |c| c["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"}),
        || vec![("/policy", json!(5))],
    ),
    Row(
        "process/memory-policy",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"}),
        || vec![("/memory_policy", json!("bind:0"))],
    ),
    Row(
        "process/personality",
        "config-linux.md Personality: LINUX32",
        |c| c["linux"]["personality"] = json!({"domain": "LINUX32"}),
        || vec![("/machine", json!("i686")), ("/personality", json!(8))],
    ),
    Row(
        "hostname",
        "config.md Hostname",
        |c| c["hostname"] = json!("mrsdalloway"),
        || vec![("/hostname", json!("mrsdalloway"))],
    ),
    Row(
        "domainname",
        "config.md Domainname",
        |c| c["domainname"] = json!("example.test"),
        || vec![("/domainname", json!("example.test"))],
    ),
    Row(
        "extensibility/unknown-properties",
        "config.md Extensibility: unknown properties are ignored",
        |c| {
            c["made-up"] = json!({"a": [1, 2]});
            c["process"]["made-up"] = json!(true);
            c["linux"]["made-up"] = json!("x");
            c["linux"]["resources"]["made-up"] = json!(null);
        },
        || vec![("/pid", json!(1))],
    ),
    Row(
        "extensibility/null-and-empty",
        "config.md: OPTIONAL properties that are null or empty",
        |c| {
            c["hooks"] = json!(null);
            c["annotations"] = json!({});
            c["linux"]["seccomp"] = json!(null);
            c["linux"]["sysctl"] = json!({});
            c["linux"]["devices"] = json!([]);
            c["process"]["rlimits"] = json!([]);
            c["process"]["apparmorProfile"] = json!("");
            c["process"]["selinuxLabel"] = json!("");
            c["linux"]["mountLabel"] = json!("");
            c["linux"]["rootfsPropagation"] = json!("");
        },
        || vec![("/pid", json!(1)), ("/seccomp", json!(0))],
    ),
    Row(
        "extensibility/spec-versions",
        "config.md Specification version: compatible within a major version",
        |c| c["ociVersion"] = json!("1.0.0"),
        || vec![("/pid", json!(1))],
    ),
    Row(
        "sysctl/network",
        "config-linux.md Sysctl",
        |c| {
            c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "net.ipv4.ping_group_range": "0 7"});
            c["linux"]["readonlyPaths"] = json!([]);
            c["process"]["args"] =
                json!(["/probe", "report", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range"]);
        },
        || {
            vec![
                ("/paths/~1proc~1sys~1net~1ipv4~1ip_forward/text", json!("1\n")),
                ("/paths/~1proc~1sys~1net~1ipv4~1ping_group_range/text", json!("0\t7\n")),
            ]
        },
    ),
    Row(
        "sysctl/ipc",
        "config-linux.md Sysctl",
        |c| {
            c["linux"]["sysctl"] =
                json!({"kernel.msgmax": "4242", "fs.mqueue.msg_max": "42", "kernel.shm_rmid_forced": "1"});
            c["process"]["args"] =
                json!(["/probe", "report", "/proc/sys/kernel/msgmax", "/proc/sys/fs/mqueue/msg_max"]);
        },
        || {
            vec![
                ("/paths/~1proc~1sys~1kernel~1msgmax/text", json!("4242\n")),
                ("/paths/~1proc~1sys~1fs~1mqueue~1msg_max/text", json!("42\n")),
            ]
        },
    ),
    Row(
        "sysctl/slashes",
        "sysctl(8): a name may be written with slashes",
        |c| {
            c["linux"]["sysctl"] = json!({"net/ipv4/ip_forward": "1"});
            c["process"]["args"] = json!(["/probe", "report", "/proc/sys/net/ipv4/ip_forward"]);
        },
        || vec![("/paths/~1proc~1sys~1net~1ipv4~1ip_forward/text", json!("1\n"))],
    ),
];

const VALID: &str = "config.md Valid values: an error for invalid values";

/// Changes that must be refused, with nothing left.
const REFUSED: &[(&str, &str, Patch)] = &[
    ("refused/rlimit-unknown", RLIMITS, |c| {
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_MOON", "soft": 1, "hard": 1}]);
    }),
    ("refused/rlimit-twice", RLIMITS, |c| {
        let limit = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
        c["process"]["rlimits"] = json!([limit, limit]);
    }),
    ("refused/hostname-without-uts", "config.md Hostname", |c| namespace(c, "uts", None)),
    ("refused/sysctl-host-network", "config-linux.md Sysctl: not for the host's namespace", |c| {
        namespace(c, "network", None);
        c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    }),
    ("refused/sysctl-host-ipc", "config-linux.md Sysctl: not for the host's namespace", |c| {
        namespace(c, "ipc", None);
        c["mounts"].as_array_mut().into_iter().for_each(|m| m.retain(|m| m["type"] != "mqueue"));
        c["linux"]["sysctl"] = json!({"kernel.msgmax": "4242"});
    }),
    ("refused/sysctl-not-namespaced", "config-linux.md Sysctl: not for the host", |c| {
        c["linux"]["sysctl"] = json!({"vm.swappiness": "60"});
    }),
    ("refused/sysctl-hostname", "runc: kernel.hostname by sysctl conflicts with hostname", |c| {
        c["linux"]["sysctl"] = json!({"kernel.hostname": "x"});
        namespace(c, "uts", None);
        c["hostname"] = json!("");
    }),
    ("refused/sysctl-missing", "config-linux.md Sysctl", |c| {
        c["linux"]["sysctl"] = json!({"net.ipv4.made_up": "1"});
    }),
    ("refused/propagation", VALID, |c| c["linux"]["rootfsPropagation"] = json!("sideways")),
    ("refused/seccomp-action", VALID, |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_MOON"})),
    ("refused/seccomp-op", VALID, |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_MOON"}]}
        ]});
    }),
    ("refused/seccomp-arch", VALID, |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MOON"]});
    }),
    ("refused/seccomp-arg-index", VALID, |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}
        ]});
    }),
    ("refused/hook-relative", "config.md Hooks: path MUST be absolute", |c| {
        c["hooks"] = json!({"createRuntime": [{"path": "probe"}]});
    }),
    ("refused/hook-missing", "runtime.md Lifecycle: a hook that fails", |c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/no/such"}]});
    }),
    ("refused/hook-timeout-zero", "config.md Hooks: timeout MUST be greater than zero", |c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/true", "timeout": 0}]});
    }),
    ("refused/device-type", VALID, |c| {
        c["linux"]["devices"] = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]);
    }),
    ("refused/device-over-a-file", "config-linux.md Devices: an error if another file is there", |c| {
        c["linux"]["devices"] = json!([{"path": "/probe", "type": "c", "major": 1, "minor": 3}]);
    }),
    ("refused/userns-without-mappings", "config-linux.md User namespace mappings", |c| {
        push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
    }),
    ("refused/mask-without-mount-namespace", "runc: maskedPaths need a mount namespace", |c| {
        namespace(c, "mount", None);
    }),
    ("refused/mask-relative", "config-linux.md Masked Paths: MUST be absolute", |c| {
        c["linux"]["maskedPaths"] = json!(["proc/kcore"]);
    }),
    ("refused/uid-minus-one", "security 1.3: setresuid(-1) changes nothing", |c| {
        c["process"]["user"]["uid"] = json!(4_294_967_295_u32);
    }),
    ("refused/uid-negative", VALID, |c| c["process"]["user"]["uid"] = json!(-1)),
    ("refused/uid-too-large", VALID, |c| c["process"]["user"]["uid"] = json!(4_294_967_296_u64)),
    ("refused/oom-score", VALID, |c| c["process"]["oomScoreAdj"] = json!(5000)),
    ("refused/namespace-of-other-type", "config-linux.md Namespaces: path of another type", |c| {
        namespace(c, "network", Some(json!({"type": "network", "path": "/proc/self/ns/uts"})));
    }),
    ("refused/namespace-not-a-namespace", "config-linux.md Namespaces: path of another type", |c| {
        namespace(c, "network", Some(json!({"type": "network", "path": "/etc/passwd"})));
    }),
    ("refused/idmap-without-mappings", "config.md Linux mount options: idmap", |c| {
        push(
            &mut c["mounts"],
            json!({"destination": "/m", "type": "bind", "source": "/etc", "options": ["bind", "idmap"]}),
        );
    }),
    ("refused/personality", VALID, |c| c["linux"]["personality"] = json!({"domain": "MOON"})),
    ("refused/scheduler", VALID, |c| c["process"]["scheduler"] = json!({"policy": "SCHED_MOON"})),
    ("refused/io-priority", VALID, |c| {
        c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_MOON", "priority": 1});
    }),
    ("refused/memory-policy", VALID, |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_MOON"})),
    ("refused/process-missing", "runtime.md Start: an error if process was not set", |c| {
        if let Some(o) = c.as_object_mut() {
            o.remove("process");
        }
    }),
];

/// The facts about a path that `report PATH` looked at.
fn path<'a>(f: &'a Value, p: &str) -> &'a Value {
    &f["paths"][p]
}

/// The uppermost mount at this point.
fn mounted<'a>(f: &'a Value, point: &str) -> Result<&'a Value, Stop> {
    let found = f["mounts"].as_array().into_iter().flatten().rfind(|m| m["point"] == point);
    found.ok_or_else(|| Stop::Fail(format!("nothing is mounted on {point}")))
}

fn has(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|l| l.iter().any(|w| w == word))
}

fn process() -> Vec<Case> {
    vec![
        case("process/oom-score-adj-unset", "config.md: oom_score_adj is not changed", |x| {
            let b = x.bundle(|_| ())?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["oom=321"]).go()?.ok()?;
            eq("oom_score_adj", &facts_of(&out)?["oom_score_adj"], &json!(321))
        }),
        case("process/umask-of-caller", "config.md umask: the file modes of a container with umask 0", |x| {
            let b = x.bundle(|c| {
                c["process"]["user"]["umask"] = json!(0);
                args(c, "mkdir-mode /made , stat /made");
            })?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["umask=077"]).go()?.ok()?;
            eq("mode", out.results()[1]["mode"].as_str(), Some("0777"))
        }),
        case("process/scheduler-fifo", "config.md Linux Process: scheduler", |x| {
            // With CONFIG_RT_GROUP_SCHED a new group has no real-time budget, so no process of it may be real-time.
            if !x.job.v2 && Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
                return skip("a v1 cpu group has no real-time budget");
            }
            let f = x.facts(|c| c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 5}))?;
            eq("policy", &f["policy"], &json!(1))?;
            eq("priority", &f["rt_priority"], &json!(5))
        }),
        case("process/io-priority", "config.md Linux Process: ioPriority", |x| {
            let live = x.live(|c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}))?;
            let ionice = Path::new("/usr/bin/ionice");
            if !ionice.exists() {
                return skip("no ionice");
            }
            let out = x.program(ionice, ["-p", &live.pid.to_string()]).go()?.ok()?;
            contains("ionice", &out.stdout, &["idle"])
        }),
        case("process/exec-cpu-affinity", "config.md Linux Process: execCPUAffinity", |x| {
            if std::thread::available_parallelism()?.get() < 2 {
                return skip("one processor");
            }
            let live = x.live(|c| c["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"}))?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            eq("Cpus_allowed_list of exec", f["cpus"].as_str(), Some("1"))?;
            let init = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
            ensure(!init.contains("Cpus_allowed_list:\t1\n"), "it was applied to init")
        }),
        case("process/only-three-descriptors", "runtime-linux.md File descriptors", |x| {
            let f = x.facts(|_| ())?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2"])
        }),
        case("process/rlimit-lowered-for-exec", "config.md rlimits: they hold for exec too", |x| {
            let live = x.live(|c| {
                c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
            })?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            eq("RLIMIT_NOFILE", &f["rlimits"]["RLIMIT_NOFILE"], &json!([64, 128]))
        }),
        case("process/nofile-default", "config.md rlimits: without an entry the caller's", |x| {
            let f = x.facts(|_| ())?;
            let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
            eq("RLIMIT_NOFILE", &f["rlimits"]["RLIMIT_NOFILE"], &json!([soft, hard]))
        }),
    ]
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn root_and_mounts() -> Vec<Case> {
    const ROOT: &str = "config.md Root";
    const MOUNTS: &str = "config.md Mounts";
    vec![
        case("root/readonly", ROOT, |x| {
            let f = x.facts(|c| {
                c["root"]["readonly"] = json!(true);
                args(c, "report / /dir");
            })?;
            eq("create in /", path(&f, "/")["create"].as_str(), Some("EROFS"))?;
            eq("create in /dir", path(&f, "/dir")["create"].as_str(), Some("EROFS"))?;
            ensure(has(&mounted(&f, "/")?["options"], "ro"), "the mount is not read-only")
        }),
        case("root/writable", ROOT, |x| {
            let f = x.facts(|c| args(c, "report /"))?;
            eq("create in /", path(&f, "/")["create"].as_str(), Some("ok"))
        }),
        case("root/absolute", "config.md Root: an absolute path", |x| {
            let other = x.job.dir.join("elsewhere");
            fs::create_dir_all(&other)?;
            for d in ["proc", "dev", "sys", "only-here"] {
                fs::create_dir(other.join(d))?;
            }
            fs::hard_link(&x.job.probe, other.join("probe"))?;
            let f = x.facts(|c| {
                c["root"]["path"] = json!(other);
                args(c, "report /only-here");
            })?;
            eq("its directory", path(&f, "/only-here")["type"].as_str(), Some("dir"))
        }),
        case("root/is-the-bundle's", ROOT, |x| {
            let b = x.bundle(|c| args(c, "write /mark made-inside"))?;
            x.run(&b)?.ok()?;
            eq("rootfs/mark", fs::read_to_string(b.rootfs.join("mark"))?, "made-inside")
        }),
        case("root/nothing-of-the-host", "config.md Root: no mount of the host is left inside", |x| {
            let f = x.facts(|_| ())?;
            let points: Vec<_> =
                f["mounts"].as_array().into_iter().flatten().filter_map(|m| m["point"].as_str()).collect();
            let own = ["/", "/proc", "/dev", "/sys", "/run"];
            let stranger = points
                .iter()
                .find(|p| **p != "/" && !own[1..].iter().any(|o| *p == o || p.starts_with(&format!("{o}/"))));
            ensure(stranger.is_none(), format_args!("{stranger:?} is mounted"))
        }),
        case("mounts/order", "config.md Mounts: in the listed order", |x| {
            let f = x.facts(|c| {
                push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "first"}));
                push(&mut c["mounts"], json!({"destination": "/m/n", "type": "tmpfs", "source": "second"}));
                push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "third"}));
            })?;
            let order: Vec<_> = f["mounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|m| m["point"].as_str().is_some_and(|p| p.starts_with("/m")))
                .filter_map(|m| m["source"].as_str())
                .collect();
            eq("sources", order, vec!["first", "second", "third"])
        }),
        case("mounts/bind-directory", MOUNTS, |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "from the host")?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m/n", &["bind"]));
                args(c, "report /m/n/file /m/n");
            })?;
            eq("content", path(&f, "/m/n/file")["text"].as_str(), Some("from the host"))?;
            eq("writable", path(&f, "/m/n")["create"].as_str(), Some("ok"))
        }),
        case("mounts/bind-file", MOUNTS, |x| {
            let file = x.fresh("source");
            fs::write(&file, "text")?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&file.to_string_lossy(), "/etc/new/file", &["bind", "ro"]));
                args(c, "report /etc/new/file");
            })?;
            eq("content", path(&f, "/etc/new/file")["text"].as_str(), Some("text"))?;
            eq("write", path(&f, "/etc/new/file")["write"].as_str(), Some("EROFS"))
        }),
        case("mounts/source-relative-to-the-bundle", MOUNTS, |x| {
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind("beside", "/m", &["bind"]));
                args(c, "report /m/file");
            })?;
            fs::create_dir(b.dir.join("beside"))?;
            fs::write(b.dir.join("beside/file"), "beside")?;
            eq("content", path(&facts_of(&x.run(&b)?.ok()?)?, "/m/file")["text"].as_str(), Some("beside"))
        }),
        case("mounts/relative-destination", "config.md Mounts: destination relative to /", |x| {
            let f = x.facts(|c| {
                push(&mut c["mounts"], json!({"destination": "m", "type": "tmpfs", "source": "tmpfs"}));
            })?;
            mounted(&f, "/m").map(drop)
        }),
        case("mounts/through-a-link", "security CVE-2019-18837: links are resolved inside the root", |x| {
            let outside = x.job.dir.join("outside");
            fs::create_dir(&outside)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], json!({"destination": "/link/x", "type": "tmpfs", "source": "here"}));
            })?;
            std::os::unix::fs::symlink(format!("/../../../..{}", outside.display()), b.rootfs.join("link"))?;
            let out = x.run(&b)?;
            ensure(fs::read_dir(&outside)?.next().is_none(), "something was made outside of the root")?;
            if out.status != 0 {
                return ensure(!out.stderr.trim().is_empty(), "no message");
            }
            let f = facts_of(&out)?;
            let at: Vec<_> = f["mounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|m| m["source"] == "here")
                .map(|m| &m["point"])
                .collect();
            ensure(at.len() == 1, format_args!("mounted on {at:?}"))
        }),
        case("mounts/data-options", "config.md Linux mount options: unknown ones go to the filesystem", |x| {
            let f = x.facts(|c| {
                let options = json!(["size=1m", "mode=0711", "uid=7", "nr_inodes=99"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
                args(c, "report /m");
            })?;
            let s = &mounted(&f, "/m")?["super"];
            ensure(has(s, "size=1024k") && has(s, "nr_inodes=99"), format_args!("{s}"))?;
            eq("mode", path(&f, "/m")["mode"].as_str(), Some("0711"))?;
            eq("uid", &path(&f, "/m")["uid"], &json!(7))
        }),
        case("mounts/bad-data-option", "config.md Linux mount options: the filesystem's refusal is an error", |x| {
            let b = x.bundle(|c| {
                let options = json!(["made-up=1"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
            })?;
            let out = x.run(&b)?.exits(1)?;
            ensure(!out.stderr.trim().is_empty(), "no message")
        }),
        case("mounts/tmpcopyup", "config.md Linux mount options: tmpcopyup", |x| {
            let b = x.bundle(|c| {
                let options = json!(["tmpcopyup"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/dir", "type": "tmpfs", "source": "t", "options": options}),
                );
                args(c, "report /dir/file /dir/sub/deep");
            })?;
            fs::create_dir(b.rootfs.join("dir/sub"))?;
            fs::write(b.rootfs.join("dir/file"), "one")?;
            fs::write(b.rootfs.join("dir/sub/deep"), "two")?;
            fs::set_permissions(b.rootfs.join("dir/file"), fs::Permissions::from_mode(0o640))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("content", path(&f, "/dir/file")["text"].as_str(), Some("one"))?;
            eq("mode", path(&f, "/dir/file")["mode"].as_str(), Some("0640"))?;
            eq("content below", path(&f, "/dir/sub/deep")["text"].as_str(), Some("two"))?;
            eq("type", mounted(&f, "/dir")?["type"].as_str(), Some("tmpfs"))
        }),
        case("mounts/recursive", "config.md Linux mount options: rbind", |x| {
            let dir = tree(x)?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&dir, "/r", &["rbind"]));
                push(&mut c["mounts"], bind(&dir, "/b", &["bind"]));
            });
            untree(&dir);
            let f = f?;
            mounted(&f, "/r/sub")?;
            ensure(mounted(&f, "/b/sub").is_err(), "bind took the mounts below with it")
        }),
        case("mounts/rro", "config.md Linux mount options: rro is recursive", |x| {
            recursive(x, &["rbind", "rro"], "ro")
        }),
        case("mounts/rnosuid", "config.md Linux mount options: rnosuid is recursive", |x| {
            recursive(x, &["rbind", "rnosuid"], "nosuid")
        }),
        case("mounts/rnoexec", "config.md Linux mount options: rnoexec is recursive", |x| {
            recursive(x, &["rbind", "rnoexec"], "noexec")
        }),
        case("mounts/ro-is-not-recursive", "config.md Linux mount options: ro", |x| {
            let dir = tree(x)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir, "/r", &["rbind", "ro"])));
            untree(&dir);
            let f = f?;
            ensure(has(&mounted(&f, "/r")?["options"], "ro"), "not read-only")?;
            ensure(has(&mounted(&f, "/r/sub")?["options"], "rw"), "the mount below is read-only")
        }),
        case("mounts/idmap", "config.md Linux mount options: idmap with its own mappings", |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "")?;
            std::os::unix::fs::chown(dir.join("file"), Some(1), Some(2))?;
            let f = x.facts(|c| {
                let mut m = bind(&dir.to_string_lossy(), "/m", &["bind", "idmap"]);
                m["uidMappings"] = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
                m["gidMappings"] = json!([{"containerID": 0, "hostID": 6000, "size": 100}]);
                push(&mut c["mounts"], m);
                args(c, "report /m/file");
            })?;
            eq("uid", &path(&f, "/m/file")["uid"], &json!(5001))?;
            eq("gid", &path(&f, "/m/file")["gid"], &json!(6002))
        }),
        case("mounts/default-filesystems", "config-linux.md Default Filesystems", |x| {
            let f = x.facts(|_| ())?;
            for (point, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")] {
                eq(point, mounted(&f, point)?["type"].as_str(), Some(kind))?;
            }
            Ok(())
        }),
        case("mounts/cgroup", "config.md Mounts: type cgroup", |x| {
            let f = x.facts(|c| {
                let options = json!(["nosuid", "noexec", "nodev", "relatime", "ro"]);
                let m =
                    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
                push(&mut c["mounts"], m);
                args(c, "report /sys/fs/cgroup");
            })?;
            let list = &path(&f, "/sys/fs/cgroup")["list"];
            if x.job.v2 {
                eq("type", mounted(&f, "/sys/fs/cgroup")?["type"].as_str(), Some("cgroup2"))?;
                ensure(has(list, "cgroup.procs"), format_args!("{list}"))?;
            } else {
                ensure(has(list, "memory") && has(list, "pids"), format_args!("{list}"))?;
                let m = mounted(&f, "/sys/fs/cgroup/memory")?;
                eq("type", m["type"].as_str(), Some("cgroup"))?;
                ensure(has(&m["options"], "ro"), "not read-only")?;
            }
            ensure(path(&f, "/sys/fs/cgroup")["create"] != "ok", "it is writable")
        }),
    ]
}

/// A directory on the host with a file system mounted on it and another below.
fn tree(x: &Ctx) -> Result<String, Stop> {
    let dir = x.job.dir.join("tree");
    fs::create_dir(&dir)?;
    let none: Option<&str> = None;
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), none)?;
    fs::create_dir(dir.join("sub"))?;
    mount(Some("tmpfs"), &dir.join("sub"), Some("tmpfs"), MsFlags::empty(), none)?;
    Ok(dir.to_string_lossy().into_owned())
}

fn untree(dir: &str) {
    let _ = nix::mount::umount2(format!("{dir}/sub").as_str(), nix::mount::MntFlags::MNT_DETACH);
    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_DETACH);
}

/// Binds a tree with `options` and expects `word` on both of its mounts.
fn recursive(x: &Ctx, options: &[&str], word: &str) -> Outcome {
    let dir = tree(x)?;
    let f = x.facts(|c| push(&mut c["mounts"], bind(&dir, "/r", options)));
    untree(&dir);
    let f = f?;
    for point in ["/r", "/r/sub"] {
        let o = &mounted(&f, point)?["options"];
        ensure(has(o, word), format_args!("{point} is not {word}: {o}"))?;
    }
    Ok(())
}

fn mount_options() -> Vec<Case> {
    // Options of a tmpfs, what its mount then must show, and what it must not.
    type Words = &'static [&'static str];
    let rows: [(&str, Words, Words, Words); 27] = [
        ("none", &[], &["rw", "relatime"], &["nosuid", "nodev", "noexec"]),
        ("defaults", &["defaults"], &["rw"], &["nosuid", "nodev", "noexec", "ro"]),
        ("ro", &["ro"], &["ro"], &["rw"]),
        ("rw", &["ro", "rw"], &["rw"], &["ro"]),
        ("nosuid", &["nosuid"], &["nosuid"], &[]),
        ("suid", &["nosuid", "suid"], &[], &["nosuid"]),
        ("nodev", &["nodev"], &["nodev"], &[]),
        ("dev", &["nodev", "dev"], &[], &["nodev"]),
        ("noexec", &["noexec"], &["noexec"], &[]),
        ("exec", &["noexec", "exec"], &[], &["noexec"]),
        ("noatime", &["noatime"], &["noatime"], &["relatime"]),
        ("atime", &["noatime", "atime"], &[], &["noatime"]),
        ("nodiratime", &["nodiratime"], &["nodiratime"], &[]),
        ("diratime", &["nodiratime", "diratime"], &[], &["nodiratime"]),
        ("relatime", &["relatime"], &["relatime"], &["noatime"]),
        ("norelatime", &["norelatime"], &[], &["noatime"]),
        ("strictatime", &["strictatime"], &[], &["noatime", "relatime"]),
        ("nostrictatime", &["strictatime", "nostrictatime"], &[], &["noatime"]),
        ("sync", &["sync"], &["sync"], &[]),
        ("async", &["sync", "async"], &[], &["sync"]),
        ("dirsync", &["dirsync"], &["dirsync"], &[]),
        ("lazytime", &["lazytime"], &["lazytime"], &[]),
        ("nolazytime", &["lazytime", "nolazytime"], &[], &["lazytime"]),
        ("nosymfollow", &["nosymfollow"], &["nosymfollow"], &[]),
        ("symfollow", &["nosymfollow", "symfollow"], &[], &["nosymfollow"]),
        ("silent", &["silent"], &["rw"], &[]),
        ("loud", &["loud"], &["rw"], &[]),
    ];
    let mut all = Vec::new();
    for (name, options, want, never) in rows {
        all.push(case(&format!("mount-option/{name}"), "config.md Linux mount options", move |x| {
            let f = x.facts(|c| {
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
            })?;
            let m = mounted(&f, "/m")?;
            let shown = |w: &&&str| has(&m["options"], w) || (has(&m["super"], w) && **w != "rw" && **w != "ro");
            let missing = want.iter().find(|w| !shown(w));
            ensure(missing.is_none(), format_args!("no {missing:?} in {} {}", m["options"], m["super"]))?;
            let extra = never.iter().find(|w| shown(w));
            ensure(extra.is_none(), format_args!("{extra:?} in {} {}", m["options"], m["super"]))
        }));
    }
    // The same for a bind mount, where the flags take a second call.
    let binds: [(&str, &[&str], &[&str]); 6] = [
        ("ro", &["bind", "ro"], &["ro"]),
        ("nosuid", &["bind", "nosuid"], &["nosuid", "rw"]),
        ("nodev-noexec", &["bind", "nodev", "noexec"], &["nodev", "noexec"]),
        ("noatime", &["bind", "noatime"], &["noatime"]),
        ("rbind-ro", &["rbind", "ro"], &["ro"]),
        ("nosymfollow", &["bind", "nosymfollow"], &["nosymfollow"]),
    ];
    for (name, options, want) in binds {
        all.push(case(&format!("mount-option/bind-{name}"), "config.md Linux mount options: bind", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", options)))?;
            let o = &mounted(&f, "/m")?["options"];
            let missing = want.iter().find(|w| !has(o, w));
            ensure(missing.is_none(), format_args!("no {missing:?} in {o}"))
        }));
    }
    for (name, want) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        all.push(case(&format!("mount-option/{name}"), "config.md Linux mount options: propagation", move |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            let none: Option<&str> = None;
            mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none)?;
            mount(none, &dir, none, MsFlags::MS_SHARED, none)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["rbind", name])));
            nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH)?;
            let f = f?;
            let p = &mounted(&f, "/m")?["propagation"];
            let words: Vec<&str> = p.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if want.is_empty() {
                return ensure(words.is_empty(), format_args!("{p}"));
            }
            ensure(words.iter().any(|w| w.starts_with(want)), format_args!("no {want} in {p}"))
        }));
    }
    for (value, want, never) in [
        ("private", "", "shared:"),
        ("rprivate", "", "shared:"),
        ("slave", "", "shared:"),
        ("rslave", "", "shared:"),
        ("shared", "shared:", "master:"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        all.push(case(&format!("rootfs-propagation/{value}"), "config-linux.md Rootfs Mount Propagation", move |x| {
            let f = x.facts(|c| c["linux"]["rootfsPropagation"] = json!(value))?;
            let p = &mounted(&f, "/")?["propagation"];
            let any = |s: &str| p.as_array().into_iter().flatten().filter_map(Value::as_str).any(|w| w.starts_with(s));
            ensure(want.is_empty() || any(want), format_args!("no {want} in {p}"))?;
            ensure(!any(never), format_args!("{never} in {p}"))
        }));
    }
    all.push(case("rootfs-propagation/slave-receives", "config-linux.md Rootfs Mount Propagation: slave", |x| {
        // A mount that the host makes below a shared bind after the start appears inside, not the other way around.
        let dir = x.job.dir.join("shared");
        fs::create_dir(&dir)?;
        let none: Option<&str> = None;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), none)?;
        mount(none, &dir, none, MsFlags::MS_SHARED, none)?;
        fs::create_dir(dir.join("later"))?;
        let run = || -> Outcome {
            let live = x.live(|c| {
                c["linux"]["rootfsPropagation"] = json!("slave");
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["rbind", "rslave"]));
            })?;
            mount(Some("tmpfs"), &dir.join("later"), Some("tmpfs"), MsFlags::empty(), none)?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            mounted(&f, "/m/later").map(drop)
        };
        let result = run();
        let _ = nix::mount::umount2(&dir.join("later"), nix::mount::MntFlags::MNT_DETACH);
        let _ = nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH);
        result
    }));
    all
}

fn namespaces() -> Vec<Case> {
    const NS: &str = "config-linux.md Namespaces";
    let link = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).map(|l| l.to_string_lossy().into_owned());
    let kinds = [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("mount", "mnt"),
        ("cgroup", "cgroup"),
        ("time", "time"),
    ];
    let mut all = Vec::new();
    for (kind, name) in kinds {
        all.push(case(&format!("namespace/new-{kind}"), NS, move |x| {
            let f = x.facts(|c| namespace(c, kind, Some(json!({"type": kind}))))?;
            ensure(f["ns"][name].as_str() != Some(&link(name)?), "it is the runtime's")
        }));
        if kind == "mount" {
            continue;
        }
        all.push(case(
            &format!("namespace/inherited-{kind}"),
            "config-linux.md Namespaces: not listed, inherited",
            move |x| {
                let f = x.facts(|c| {
                    namespace(c, kind, None);
                    if kind == "uts" {
                        c["hostname"] = json!("");
                    }
                })?;
                eq(kind, f["ns"][name].as_str(), Some(link(name)?.as_str()))
            },
        ));
        all.push(case(&format!("namespace/joined-{kind}"), "config-linux.md Namespaces: path", move |x| {
            let first = x.live(|c| namespace(c, kind, Some(json!({"type": kind}))))?;
            let there = format!("/proc/{}/ns/{name}", first.pid);
            let f = x.facts(|c| namespace(c, kind, Some(json!({"type": kind, "path": there}))))?;
            eq(kind, f["ns"][name].as_str(), fs::read_link(&there)?.to_str())
        }));
    }
    all.extend([
        case("namespace/pid-isolated", "config-linux.md Namespaces: pid", |x| {
            let f = x.facts(|c| args(c, "report /proc"))?;
            let pids = path(&f, "/proc")["list"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let others: Vec<_> = pids.filter(|n| n.parse::<u32>().is_ok_and(|p| p > 1)).collect();
            ensure(others.is_empty(), format_args!("it sees the processes {others:?}"))
        }),
        case("namespace/hostname-is-private", "config-linux.md Namespaces: uts", |x| {
            let before = nix::unistd::gethostname()?;
            x.facts(|c| c["hostname"] = json!("other"))?;
            eq("hostname of the host", nix::unistd::gethostname()?, before)
        }),
        case("namespace/loopback", "runc: the loopback device of a new network namespace is up", |x| {
            let b = x.bundle(|c| args(c, "report /sys/class/net/lo/flags"))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            let flags = path(&f, "/sys/class/net/lo/flags")["text"].as_str().unwrap_or_default().to_owned();
            let n = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
            ensure(n & 1 == 1, format_args!("flags {flags}"))
        }),
        case("namespace/time-offsets", "config-linux.md Offset for Time Namespace", |x| {
            let f = x.facts(|c| {
                namespace(c, "time", Some(json!({"type": "time"})));
                c["linux"]["timeOffsets"] =
                    json!({"monotonic": {"secs": 172_800, "nanosecs": 5}, "boottime": {"secs": 604_800}});
            })?;
            let text = f["timens_offsets"].as_str().unwrap_or_default();
            let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
            eq("offsets", lines, vec![vec!["monotonic", "172800", "5"], vec!["boottime", "604800", "0"]])
        }),
        case("namespace/net-devices", "config-linux.md Network Devices", |x| {
            let ip = Path::new("/usr/sbin/ip");
            let ip = if ip.exists() { ip } else { Path::new("/sbin/ip") };
            if !ip.exists() {
                return skip("no ip(8) to make a device with");
            }
            // Which kinds there are depends on the kernel.
            let made = ["dummy", "bridge", "veth", "ifb"]
                .iter()
                .map(|kind| x.program(ip, ["link", "add", "name", "dummy7", "type", kind]).go())
                .collect::<Result<Vec<_>, _>>()?;
            if made.iter().all(|m| m.status != 0) {
                return skip(format!("no virtual device: {}", made[0].stderr.trim()));
            }
            x.program(ip, ["address", "add", "192.0.2.7/24", "dev", "dummy7"]).go()?.ok()?;
            let f = x.facts(|c| {
                c["linux"]["netDevices"] = json!({"dummy7": {"name": "inside0"}});
                args(c, "report /sys/class/net /sys/class/net/inside0/flags /proc/net/fib_trie");
            })?;
            let list = &path(&f, "/sys/class/net")["list"];
            ensure(has(list, "inside0"), format_args!("devices: {list}"))?;
            let flags = path(&f, "/sys/class/net/inside0/flags")["text"].as_str().unwrap_or_default();
            let n = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
            ensure(n & 1 == 1, "the device is not up")?;
            let routes = path(&f, "/proc/net/fib_trie")["text"].as_str().unwrap_or_default();
            ensure(routes.contains("192.0.2.7"), "the address was not kept")
        }),
    ]);
    all
}

/// A user namespace of 1000 ids from 100000 on.
fn userns(c: &mut Value) {
    push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
    c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
}

fn users() -> Vec<Case> {
    const MAPS: &str = "config-linux.md User namespace mappings";
    let own = |b: &Bundle| -> Outcome {
        for d in ["", "proc", "sys", "dev", "tmp", "etc", "dir"] {
            std::os::unix::fs::chown(b.rootfs.join(d), Some(100_000), Some(200_000))?;
        }
        Ok(())
    };
    let inside = move |x: &Ctx, patch: Patch| -> Result<Value, Stop> {
        let b = x.bundle(|c| {
            userns(c);
            patch(c);
        })?;
        own(&b)?;
        facts_of(&x.run(&b)?.ok()?)
    };
    vec![
        case("userns/maps", MAPS, move |x| {
            let f = inside(x, |_| ())?;
            let map = |name: &str| {
                f[name].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            eq("uid_map", map("uid_map"), vec!["0", "100000", "1000"])?;
            eq("gid_map", map("gid_map"), vec!["0", "200000", "1000"])?;
            eq("uid", &f["uid"][0], &json!(0))?;
            let host = fs::read_link("/proc/self/ns/user")?;
            ensure(f["ns"]["user"].as_str() != host.to_str(), "the user namespace is the host's")
        }),
        case("userns/host-ids", MAPS, move |x| {
            let b = x.bundle(|c| {
                userns(c);
                c["process"]["user"] = json!({"uid": 5, "gid": 6});
                args(c, "wait");
            })?;
            own(&b)?;
            let live = x.live_bundle(b)?;
            let status = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
            contains("status", &status, &["Uid:\t100005\t100005", "Gid:\t200006\t200006"])
        }),
        case("userns/files", "config-linux.md User namespace mappings: ids of files", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "write /mark x");
            })?;
            own(&b)?;
            x.run(&b)?.ok()?;
            let m = fs::metadata(b.rootfs.join("mark"))?;
            eq("uid", std::os::unix::fs::MetadataExt::uid(&m), 100_000)
        }),
        case("userns/devices", "config-linux.md Default Devices: in a user namespace too", move |x| {
            let f = inside(x, |c| args(c, "report /dev/null /dev/zero"))?;
            for (name, rdev) in [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("tty", "5:0")] {
                eq(name, f["dev"][name]["rdev"].as_str(), Some(rdev))?;
            }
            eq("write /dev/null", path(&f, "/dev/null")["write"].as_str(), Some("ok"))
        }),
        case("userns/mounts", "config.md Mounts: in a user namespace too", move |x| {
            let f = inside(x, |c| c["root"]["readonly"] = json!(true))?;
            eq("/proc", mounted(&f, "/proc")?["type"].as_str(), Some("proc"))?;
            eq("/sys", mounted(&f, "/sys")?["type"].as_str(), Some("sysfs"))?;
            ensure(has(&mounted(&f, "/")?["options"], "ro"), "the root is not read-only")
        }),
        case("userns/caps", "config.md Linux Process: capabilities in the user namespace", move |x| {
            let f = inside(x, |_| ())?;
            eq("effective", &f["caps"]["effective"], &json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]))
        }),
        case("userns/additional-gids", USER, move |x| {
            let f = inside(x, |c| c["process"]["user"] = json!({"uid": 1, "gid": 2, "additionalGids": [3]}))?;
            eq("groups", &f["groups"], &json!([3]))
        }),
        case("userns/unmapped-id", "config-linux.md User namespace mappings: an id outside is an error", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                c["process"]["user"] = json!({"uid": 5000, "gid": 0});
            })?;
            own(&b)?;
            let out = x.run(&b)?.exits(1)?;
            ensure(!out.stderr.trim().is_empty(), "no message")
        }),
        case("userns/exec", "config-linux.md User namespace mappings: exec", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "wait");
            })?;
            own(&b)?;
            let live = x.live_bundle(b)?;
            let f = facts_of(&x.rt(["exec", "--user", "7:8", &live.id, "/probe", "report"])?.ok()?)?;
            eq("uid", &f["uid"], &json!([7, 7, 7, 7]))?;
            eq(
                "user namespace",
                f["ns"]["user"].as_str(),
                fs::read_link(format!("/proc/{}/ns/user", live.pid))?.to_str(),
            )
        }),
        case("userns/joined", "config-linux.md Namespaces: user with a path", move |x| {
            let b = x.bundle(|c| {
                userns(c);
                args(c, "wait");
            })?;
            own(&b)?;
            let first = x.live_bundle(b)?;
            let there = format!("/proc/{}/ns/user", first.pid);
            let b = x.bundle(|c| {
                userns(c);
                namespace(c, "user", Some(json!({"type": "user", "path": there})));
                if let Some(l) = c["linux"].as_object_mut() {
                    l.remove("uidMappings");
                    l.remove("gidMappings");
                }
            })?;
            own(&b)?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("user namespace", f["ns"]["user"].as_str(), fs::read_link(&there)?.to_str())
        }),
    ]
}

fn devices() -> Vec<Case> {
    const DEVICES: &str = "config-linux.md Devices";
    const ALLOWED: &str = "config-linux.md Allowed Device list";
    let mut all = Vec::new();
    for (name, rdev) in
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]
    {
        all.push(case(&format!("device/default-{name}"), "config-linux.md Default Devices", move |x| {
            let at = format!("/dev/{name}");
            let f = x.facts(|c| args(c, &format!("report {at}")))?;
            let d = path(&f, &at);
            eq("type", d["type"].as_str(), Some("char"))?;
            eq("device", d["rdev"].as_str(), Some(rdev))?;
            eq("mode", d["mode"].as_str(), Some("0666"))?;
            if name != "tty" {
                eq("opened for writing", d["write"].as_str(), Some("ok"))?;
                eq("opened for reading", d["read"].as_str(), Some("ok"))?;
            }
            Ok(())
        }));
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        all.push(case(
            &format!("device/link-{name}"),
            "runtime-linux.md Dev symbolic links; Default Devices: ptmx",
            move |x| {
                let f = x.facts(|_| ())?;
                let d = &f["dev"][name];
                let link = d["link"].as_str().unwrap_or_default();
                ensure(link == target || link == format!("/dev/{target}"), format_args!("{d}"))
            },
        ));
    }
    type Node = (&'static str, fn() -> Value, &'static str, &'static str, &'static str);
    let nodes: [Node; 4] = [
        (
            "char",
            || json!({"path": "/dev/full2", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/full2",
            "char",
            "1:7",
        ),
        (
            "block",
            || json!({"path": "/dev/loop77", "type": "b", "major": 7, "minor": 77, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/loop77",
            "block",
            "7:77",
        ),
        (
            "fifo",
            || json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/dev/pipe",
            "fifo",
            "0:0",
        ),
        (
            "outside-dev",
            || json!({"path": "/srv/made/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4}),
            "/srv/made/null",
            "char",
            "1:3",
        ),
    ];
    for (name, node, at, kind, rdev) in nodes {
        all.push(case(&format!("device/node-{name}"), DEVICES, move |x| {
            let f = x.facts(|c| {
                c["linux"]["devices"] = json!([node()]);
                // `stat`, not `report`: opening a FIFO or a loop device is not the point.
                args(c, &format!("stat {at}"));
            })?;
            let d = &f["result"];
            eq("type", d["type"].as_str(), Some(kind))?;
            eq("device", d["rdev"].as_str(), Some(rdev))?;
            eq("mode", d["mode"].as_str(), Some("0640"))?;
            eq("uid", &d["uid"], &json!(3))?;
            eq("gid", &d["gid"], &json!(4))
        }));
    }
    // Nodes that the harness puts into the root, and what opening them must give: /ten is loop control, there on every
    // Linux and harmless to open, /other and /disk need not exist to be refused.
    type Rules = (&'static str, fn() -> Value, &'static str, &'static [&'static str]);
    let rules: [Rules; 8] = [
        (
            "deny-all",
            || json!([{"allow": false, "access": "rwm"}]),
            "open /ten r , open /dev/null rw",
            &["EPERM", "ok"],
        ),
        (
            "defaults-stay",
            || json!([{"allow": false, "access": "rwm"}]),
            "open /dev/zero r , open /dev/full w , open /dev/urandom r",
            &["ok", "ok", "ok"],
        ),
        ("no-list", || json!([]), "open /disk r , open /ten r", &["EPERM", "EPERM"]),
        (
            "allow-read",
            || {
                json!([{"allow": false, "access": "rwm"},
                       {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "rm"}])
            },
            "open /ten r , open /ten w , open /ten rw , open /other r",
            &["ok", "EPERM", "EPERM", "EPERM"],
        ),
        (
            "allow-mknod-only",
            || {
                json!([{"allow": false, "access": "rwm"},
                       {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "m"}])
            },
            "open /ten r",
            &["EPERM"],
        ),
        (
            "wildcard-minor",
            || json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "access": "rwm"}]),
            "open /ten r , open /other r",
            &["ok", "EPERM"],
        ),
        (
            "in-order",
            || {
                json!([
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "rwm"},
                    {"allow": false, "type": "c", "major": 10, "minor": 237, "access": "w"}
                ])
            },
            "open /ten r , open /ten w",
            &["ok", "EPERM"],
        ),
        ("allow-all", || json!([{"allow": true, "access": "rwm"}]), "open /ten rw", &["ok"]),
    ];
    let nodes = |b: &Bundle| -> Outcome {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        for (name, kind, major, minor) in
            [("ten", SFlag::S_IFCHR, 10, 237), ("other", SFlag::S_IFCHR, 11, 1), ("disk", SFlag::S_IFBLK, 8, 0)]
        {
            mknod(&b.rootfs.join(name), kind, Mode::from_bits_truncate(0o666), makedev(major, minor))?;
        }
        Ok(())
    };
    for (name, list, verbs, want) in rules {
        all.push(case(&format!("device/rules-{name}"), ALLOWED, move |x| {
            let b = x.bundle(|c| {
                c["linux"]["resources"]["devices"] = list();
                args(c, verbs);
            })?;
            nodes(&b)?;
            let got = x.run(&b)?.ok()?.results();
            eq(verbs, got, want.iter().map(|w| json!(w)).collect::<Vec<_>>())
        }));
    }
    all.push(case("device/rules-hold-for-exec", ALLOWED, move |x| {
        let live = x.live(|_| ())?;
        nodes(&live.bundle)?;
        let out = x.rt(["exec", &live.id, "/probe", "open", "/ten", "r"])?.ok()?;
        eq("open", out.results(), vec![json!("EPERM")])
    }));
    all.push(case("device/symlink-of-dev", "security CVE-2026-41579: /dev is a symbolic link", |x| {
        let b = x.bundle(|c| {
            c["mounts"].as_array_mut().into_iter().for_each(|m| m.retain(|m| m["destination"] == "/proc"));
        })?;
        let outside = b.dir.join("outside");
        fs::create_dir(&outside)?;
        fs::write(outside.join("ptmx"), "mine")?;
        fs::remove_dir(b.rootfs.join("dev"))?;
        std::os::unix::fs::symlink("../outside", b.rootfs.join("dev"))?;
        let out = x.run(&b)?;
        if out.status == 0 {
            facts_of(&out)?;
        } else {
            ensure(!out.stderr.trim().is_empty(), "no message")?;
        }
        let names: Vec<_> = fs::read_dir(&outside)?.flatten().map(|e| e.file_name()).collect();
        eq("outside", names, vec!["ptmx"])?;
        eq("outside/ptmx", fs::read_to_string(outside.join("ptmx"))?, "mine")
    }));
    all
}

fn masks() -> Vec<Case> {
    const MASKED: &str = "config-linux.md Masked Paths";
    const READONLY: &str = "config-linux.md Readonly Paths";
    vec![
        case("masked/file", MASKED, |x| {
            let b = x.bundle(|c| {
                c["linux"]["maskedPaths"] = json!(["/etc/secret", "/proc/version"]);
                args(c, "report /etc/secret /proc/version");
            })?;
            fs::write(b.rootfs.join("etc/secret"), "secret")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            for p in ["/etc/secret", "/proc/version"] {
                let d = path(&f, p);
                ensure(d["text"].as_str().unwrap_or_default().is_empty(), format_args!("{p}: {d}"))?;
                eq(format_args!("{p} is /dev/null"), d["rdev"].as_str(), Some("1:3"))?;
            }
            eq("the file itself", fs::read_to_string(b.rootfs.join("etc/secret"))?, "secret")
        }),
        case("masked/directory", MASKED, |x| {
            let b = x.bundle(|c| {
                c["linux"]["maskedPaths"] = json!(["/dir", "/proc/bus", "/sys/firmware"]);
                args(c, "report /dir");
            })?;
            fs::write(b.rootfs.join("dir/file"), "secret")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("list", &path(&f, "/dir")["list"], &json!([]))?;
            eq("create", path(&f, "/dir")["create"].as_str(), Some("EROFS"))
        }),
        case("masked/missing", "config-linux.md Masked Paths: a path that is not there", |x| {
            x.facts(|c| c["linux"]["maskedPaths"] = json!(["/no/such", "/proc/no-such"])).map(drop)
        }),
        case("masked/none", MASKED, |x| {
            let f = x.facts(|c| {
                c["linux"]["maskedPaths"] = json!([]);
                args(c, "report /proc/timer_list");
            })?;
            ensure(path(&f, "/proc/timer_list")["rdev"] != "1:3", "it is masked all the same")
        }),
        case("readonly/paths", READONLY, |x| {
            let b = x.bundle(|c| {
                c["linux"]["readonlyPaths"] = json!(["/dir", "/etc/file", "/proc/sys"]);
                args(c, "report /dir /etc/file /proc/sys/kernel/msgmax /etc");
            })?;
            fs::write(b.rootfs.join("etc/file"), "text")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("create in /dir", path(&f, "/dir")["create"].as_str(), Some("EROFS"))?;
            eq("write /etc/file", path(&f, "/etc/file")["write"].as_str(), Some("EROFS"))?;
            eq("read /etc/file", path(&f, "/etc/file")["text"].as_str(), Some("text"))?;
            eq("write below /proc/sys", path(&f, "/proc/sys/kernel/msgmax")["write"].as_str(), Some("EROFS"))?;
            eq("create in /etc", path(&f, "/etc")["create"].as_str(), Some("ok"))
        }),
        case("readonly/missing", "config-linux.md Readonly Paths: a path that is not there", |x| {
            x.facts(|c| c["linux"]["readonlyPaths"] = json!(["/no/such", "/proc/no-such"])).map(drop)
        }),
        case("readonly/keeps-flags", "config-linux.md Readonly Paths: flags of the mount stay", |x| {
            let f = x.facts(|c| {
                let options = json!(["nosuid", "noexec", "nodev"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
                c["linux"]["readonlyPaths"] = json!(["/m"]);
            })?;
            let o = &mounted(&f, "/m")?["options"];
            for w in ["ro", "nosuid", "noexec", "nodev"] {
                ensure(has(o, w), format_args!("no {w} in {o}"))?;
            }
            Ok(())
        }),
    ]
}

/// A profile that allows all but one rule.
#[expect(clippy::needless_pass_by_value, reason = "callers pass a literal")]
fn profile(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [rule]})
}

fn seccomp() -> Vec<Case> {
    const SECCOMP: &str = "config-linux.md Seccomp";
    const ARGS: &str = "config-linux.md Seccomp: args";
    let verbs = |x: &Ctx, words: &str, profile: Value| -> Result<Vec<Value>, Stop> {
        let b = x.bundle(|c| {
            c["linux"]["seccomp"] = profile;
            args(c, words);
        })?;
        Ok(x.run(&b)?.ok()?.results())
    };
    let mkdir = ["mkdir", "mkdirat"];
    let mut all = vec![
        case("seccomp/none", SECCOMP, |x| eq("mode", &x.facts(|_| ())?["seccomp"], &json!(0))),
        case("seccomp/filter", SECCOMP, move |x| {
            let f =
                x.facts(|c| c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            eq("mode", &f["seccomp"], &json!(2))
        }),
        case("seccomp/errno", "config-linux.md Seccomp: the default is EPERM", move |x| {
            let got = verbs(x, "mkdir /a , write /b x", profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            eq("results", got, vec![json!("EPERM"), json!("ok")])
        }),
        case("seccomp/errno-ret", "config-linux.md Seccomp: errnoRet", move |x| {
            let p = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("ENOSYS")])
        }),
        case("seccomp/kill", "config-linux.md Seccomp: SCMP_ACT_KILL", move |x| {
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_KILL"}));
                args(c, "mkdir /a , exit 0");
            })?;
            x.run(&b)?.exits(128 + 31).map(drop)
        }),
        case("seccomp/kill-process", "config-linux.md Seccomp: SCMP_ACT_KILL_PROCESS", move |x| {
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_KILL_PROCESS"}));
                args(c, "mkdir /a , exit 0");
            })?;
            x.run(&b)?.exits(128 + 31).map(drop)
        }),
        case("seccomp/log", "config-linux.md Seccomp: SCMP_ACT_LOG lets it pass", move |x| {
            let got = verbs(x, "mkdir /a", profile(json!({"names": mkdir, "action": "SCMP_ACT_LOG"})))?;
            eq("results", got, vec![json!("ok")])
        }),
        case("seccomp/unknown-name", "runc: names that the kernel does not have are skipped", move |x| {
            let p = profile(json!({"names": ["made_up_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}));
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EPERM")])
        }),
        case("seccomp/default-errno", "config-linux.md Seccomp: defaultErrnoRet", move |x| {
            // All but mkdir is allowed by number: what is not named gets the default.
            let names: Vec<&str> = ALL_BUT_MKDIR.split_whitespace().collect();
            let p = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 95, "architectures": ["SCMP_ARCH_X86_64"],
                           "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EOPNOTSUPP")])
        }),
        case("seccomp/without-no-new-privs", "config-linux.md Seccomp: with noNewPrivileges false", move |x| {
            let f = x.facts(|c| {
                c["process"]["noNewPrivileges"] = json!(false);
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            })?;
            eq("seccomp", &f["seccomp"], &json!(2))?;
            eq("no_new_privs", &f["no_new_privs"], &json!(0))
        }),
        case("seccomp/user", "config-linux.md Seccomp: for a user without capabilities", move |x| {
            let f = x.facts(|c| {
                c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            })?;
            eq("seccomp", &f["seccomp"], &json!(2))
        }),
        case("seccomp/exec", "config-linux.md Seccomp: holds for exec too", move |x| {
            let live =
                x.live(|c| c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            let out = x.rt(["exec", &live.id, "/probe", "mkdir", "/a"])?.ok()?;
            eq("results", out.results(), vec![json!("EPERM")])
        }),
        case("seccomp/flags", "config-linux.md Seccomp: flags", move |x| {
            let mut p = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            p["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EPERM")])
        }),
        case("seccomp/first-rule-of-two", "config-linux.md Seccomp: several entries for one call", move |x| {
            let p = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                 "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                 "args": [{"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}]}
            ]});
            let got = verbs(x, "personality 8 , personality 6 , personality 0", p)?;
            eq("results", got, vec![json!("EPERM"), json!("ENOSYS"), json!("ok")])
        }),
        case(
            "seccomp/args-and",
            "config-linux.md Seccomp: conditions on different arguments are joined by AND",
            move |x| {
                // AF_INET (2) and SOCK_STREAM (1); AF_UNIX (1) is another domain.
                let p = profile(json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]}));
                eq("both", verbs(x, "socket inet , socket unix", p)?, vec![json!("EPERM"), json!("ok")])?;
                let p = profile(json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}));
                eq("one", verbs(x, "socket inet , socket unix", p)?, vec![json!("ok"), json!("ok")])
            },
        ),
        case("seccomp/args-or", "libseccomp as runc uses it: conditions on one argument are joined by OR", move |x| {
            let p = profile(json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}]}));
            let got = verbs(x, "personality 8 , personality 6 , personality 0", p)?;
            eq("results", got, vec![json!("EPERM"), json!("EPERM"), json!("ok")])
        }),
    ];
    // personality(2) takes any of these numbers; which of 0, 6 and 8 are stopped?
    let ops: [(&str, u64, Option<u64>, [bool; 3]); 8] = [
        ("SCMP_CMP_EQ", 6, None, [false, true, false]),
        ("SCMP_CMP_NE", 6, None, [true, false, true]),
        ("SCMP_CMP_LT", 6, None, [true, false, false]),
        ("SCMP_CMP_LE", 6, None, [true, true, false]),
        ("SCMP_CMP_GT", 6, None, [false, false, true]),
        ("SCMP_CMP_GE", 6, None, [false, true, true]),
        // value is the mask, valueTwo what must be left.
        ("SCMP_CMP_MASKED_EQ", 2, Some(2), [false, true, false]),
        ("SCMP_CMP_MASKED_EQ", 2, Some(0), [true, false, true]),
    ];
    for (i, (op, value, two, stopped)) in ops.into_iter().enumerate() {
        all.push(case(&format!("seccomp/op-{op}-{i}"), ARGS, move |x| {
            let mut arg = json!({"index": 0, "value": value, "op": op});
            if let Some(two) = two {
                arg["valueTwo"] = json!(two);
            }
            let p = profile(json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [arg]}));
            let want: Vec<_> = stopped.iter().map(|s| json!(if *s { "EPERM" } else { "ok" })).collect();
            eq("personality 0, 6, 8", verbs(x, "personality 0 , personality 6 , personality 8", p)?, want)
        }));
    }
    all
}

/// What a static Rust program and the runtimes' last steps call, mkdir excepted.
const ALL_BUT_MKDIR: &str = "read write open close stat fstat lstat statfs fstatfs poll lseek mmap mprotect munmap brk rt_sigaction \
    rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap dup dup2 pause \
    nanosleep getpid socket connect exit uname fcntl fsync getcwd chdir readlink umask gettimeofday getrlimit getuid getgid \
    setuid setgid geteuid getegid getppid setgroups getgroups setresuid setresgid capget capset sigaltstack personality \
    prctl arch_prctl gettid futex sched_getaffinity set_tid_address epoll_create epoll_wait epoll_ctl exit_group openat \
    newfstatat readlinkat set_robust_list pipe2 dup3 epoll_create1 epoll_pwait eventfd2 prlimit64 getrandom execve execveat \
    statx rseq clone3 clone close_range faccessat faccessat2 seccomp tgkill kill fchdir fchmod fchown chmod chown getdents64 \
    clock_gettime clock_nanosleep membarrier rt_sigtimedwait sendmsg recvmsg sendto recvfrom socketpair setsid setpgid \
    getpgid getsid wait4 waitid keyctl setresgid32 unlinkat unlink fadvise64 restart_syscall ppoll";

fn cgroups() -> Vec<Case> {
    const PATH: &str = "config-linux.md Cgroups Path";
    let mut all = vec![
        case("cgroup/absolute-path", PATH, |x| {
            let live = x.live(|_| ())?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            let want = format!("{}/{}", x.job.cgroup, live.id);
            let there: Vec<_> = text.lines().filter(|l| l.ends_with(&want)).collect();
            if x.job.v2 {
                return eq("lines", there.len(), 1);
            }
            for controller in ["memory", "pids", "cpu", "devices", "freezer"] {
                ensure(
                    there.iter().any(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller))),
                    format_args!("{controller} is elsewhere: {text}"),
                )?;
            }
            Ok(())
        }),
        case("cgroup/no-path", "config-linux.md Cgroups Path: the runtime's default", |x| {
            let live = x.live(|c| {
                if let Some(l) = c["linux"].as_object_mut() {
                    l.remove("cgroupsPath");
                }
            })?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            ensure(text.contains(&live.id), format_args!("no cgroup is named after the container: {text}"))
        }),
        case("cgroup/relative-path", "config-linux.md Cgroups Path: relative", |x| {
            let live = x.live(|c| {
                let at = c["linux"]["cgroupsPath"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
                c["linux"]["cgroupsPath"] = json!(at);
            })?;
            let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            ensure(text.contains(&format!("{}/{}", x.job.cgroup, live.id)), text)
        }),
        case("cgroup/dots-in-path", "security: cgroupsPath does not leave the hierarchy", |x| {
            let b = x.bundle(|c| {
                let id = c["linux"]["cgroupsPath"]
                    .as_str()
                    .and_then(|p| p.rsplit('/').next())
                    .unwrap_or_default()
                    .to_owned();
                c["linux"]["cgroupsPath"] = json!(format!("/../../../../../..{}", x.job.dir.join(id).display()));
                args(c, "exit 3");
            })?;
            let before = fs::read_dir(&b.dir)?.count();
            let out = x.run(&b)?;
            ensure(out.status == 3 || !out.stderr.trim().is_empty(), "neither the program's status nor a message")?;
            eq("files in the bundle", fs::read_dir(&b.dir)?.count(), before)
        }),
        case("cgroup/removed", "runtime.md Delete: what create made is deleted", |x| {
            let live = x.live(|_| ())?;
            let dir = if x.job.v2 { x.cgroup(&live.id, "") } else { x.cgroup(&live.id, "pids") };
            ensure(dir.is_dir(), format_args!("no {}", dir.display()))?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            ensure(!dir.exists(), format_args!("{} is still there", dir.display()))
        }),
        case("cgroup/namespace", "config-linux.md Namespaces: cgroup, an isolated view", |x| {
            let f = x.facts(|c| namespace(c, "cgroup", Some(json!({"type": "cgroup"}))))?;
            let text = f["cgroup"].as_str().unwrap_or_default();
            let outside: Vec<_> = text.lines().filter(|l| !l.ends_with(":/")).collect();
            ensure(outside.is_empty(), format_args!("it sees {outside:?}"))
        }),
        case("cgroup/pids-limit-holds", "config-linux.md PIDs", |x| {
            x.needs("pids")?;
            let b = x.bundle(|c| {
                c["linux"]["resources"]["pids"] = json!({"limit": 6});
                args(c, "spawn 20");
            })?;
            let got = x.run(&b)?.ok()?.results();
            eq("started", &got[0], &json!({"started": 5, "error": "EAGAIN"}))
        }),
        case("cgroup/memory-limit-holds", "config-linux.md Memory: limit", |x| {
            x.needs("memory")?;
            let b = x.bundle(|c| {
                c["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "swap": 33_554_432});
                args(c, "eat 134217728");
            })?;
            x.run(&b)?.exits(137).map(drop)
        }),
    ];
    // resources, controller, v1 file, v1 value, v2 file, v2 value
    type Knob = (&'static str, fn() -> Value, &'static str, &'static str, &'static str, &'static str, &'static str);
    let knobs: [Knob; 15] = [
        (
            "memory-limit",
            || json!({"memory": {"limit": 67_108_864}}),
            "memory",
            "memory.limit_in_bytes",
            "67108864",
            "memory.max",
            "67108864",
        ),
        (
            "memory-unlimited",
            || json!({"memory": {"limit": -1}}),
            "memory",
            "memory.limit_in_bytes",
            "9223372036854771712",
            "memory.max",
            "max",
        ),
        (
            "memory-reservation",
            || json!({"memory": {"reservation": 33_554_432}}),
            "memory",
            "memory.soft_limit_in_bytes",
            "33554432",
            "memory.low",
            "33554432",
        ),
        (
            "memory-swap",
            || json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            "memory",
            "memory.memsw.limit_in_bytes",
            "134217728",
            "memory.swap.max",
            "67108864",
        ),
        ("memory-swappiness", || json!({"memory": {"swappiness": 30}}), "memory", "memory.swappiness", "30", "", ""),
        ("pids-limit", || json!({"pids": {"limit": 50}}), "pids", "pids.max", "50", "pids.max", "50"),
        ("pids-unlimited", || json!({"pids": {"limit": -1}}), "pids", "pids.max", "max", "pids.max", "max"),
        ("cpu-shares", || json!({"cpu": {"shares": 512}}), "cpu", "cpu.shares", "512", "cpu.weight", "59"),
        (
            "cpu-quota",
            || json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            "cpu",
            "cpu.cfs_quota_us",
            "20000",
            "cpu.max",
            "20000 50000",
        ),
        (
            "cpu-period",
            || json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            "cpu",
            "cpu.cfs_period_us",
            "50000",
            "cpu.max",
            "20000 50000",
        ),
        (
            "cpu-burst",
            || json!({"cpu": {"quota": 20_000, "period": 50_000, "burst": 5000}}),
            "cpu",
            "cpu.cfs_burst_us",
            "5000",
            "cpu.max.burst",
            "5000",
        ),
        ("cpu-idle", || json!({"cpu": {"idle": 1}}), "cpu", "cpu.idle", "1", "cpu.idle", "1"),
        ("cpuset-cpus", || json!({"cpu": {"cpus": "0"}}), "cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
        ("cpuset-mems", || json!({"cpu": {"mems": "0"}}), "cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
        (
            "io-throttle",
            || json!({"blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1_048_576}]}}),
            "blkio",
            "blkio.throttle.read_bps_device",
            "254:0 1048576",
            "io.max",
            "254:0 rbps=1048576 wbps=max riops=max wiops=max",
        ),
    ];
    for (name, resources, controller, file1, want1, file2, want2) in knobs {
        all.push(case(&format!("resources/{name}"), "config-linux.md Control groups: resources", move |x| {
            let (file, want) = if x.job.v2 { (file2, want2) } else { (file1, want1) };
            if file.is_empty() {
                return skip("not in this hierarchy");
            }
            if x.job.v2 {
                let controller = if controller == "blkio" { "io" } else { controller };
                x.needs_v2(controller)?;
            } else {
                x.needs_v1(controller)?;
                let root = Path::new("/sys/fs/cgroup").join(controller);
                // Some knobs are not at the root; any child will do, and there is none before the first container.
                if file.contains("memsw") && !root.join(file).exists() {
                    return skip(format!("the kernel has no {file}"));
                }
            }
            let live = x.live(|c| {
                if let (Some(to), Some(from)) = (c["linux"]["resources"].as_object_mut(), resources().as_object()) {
                    to.extend(from.clone());
                }
            })?;
            let at = x.cgroup(&live.id, controller).join(file);
            if !at.exists() {
                return skip(format!("the kernel has no {file}"));
            }
            eq(file, fs::read_to_string(at)?.trim_end(), want)
        }));
    }
    all
}

/// The kinds of hooks in the order of the lifecycle.
const HOOKS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that notes what it sees in `log`.
fn note(x: &Ctx, kind: &str, log: &str, tag: &str) -> Value {
    let program =
        if kind == "startContainer" { "/probe".to_owned() } else { x.job.probe.to_string_lossy().into_owned() };
    json!({"path": program, "args": ["probe", "hook", log, tag], "env": [format!("TAG={tag}"), "FIXED=yes"]})
}

/// Notes that a command of the runtime returned.
fn append(log: &Path, command: &str) -> Outcome {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)?;
    let time = (now.tv_sec() as u64) * 1_000_000_000 + now.tv_nsec() as u64;
    let mut f = fs::OpenOptions::new().append(true).create(true).open(log)?;
    std::io::Write::write_all(&mut f, format!("{}\n", json!({"tag": command, "time": time})).as_bytes())?;
    Ok(())
}

/// The hooks' notes, in the order of time.
fn notes(logs: &[&Path]) -> Result<Vec<Value>, Stop> {
    let mut all: Vec<Value> = Vec::new();
    for log in logs {
        for line in fs::read_to_string(log).unwrap_or_default().lines() {
            all.push(serde_json::from_str(line)?);
        }
    }
    all.sort_by_key(|n| n["time"].as_u64());
    Ok(all)
}

fn tags(notes: &[Value]) -> Vec<String> {
    notes.iter().filter_map(|n| n["tag"].as_str().map(str::to_owned)).collect()
}

fn hooks() -> Vec<Case> {
    const ORDER: &str = "runtime.md Lifecycle: steps 3 to 13";
    // A container whose every kind of hook, twice, takes notes; then what was noted.
    let life = |x: &Ctx| -> Result<(Bundle, Vec<Value>), Stop> {
        let log = x.job.dir.join("hooks.log");
        let b = x.bundle(|c| {
            c["annotations"] = json!({"org.example.note": "kept"});
            for kind in HOOKS {
                let file = if kind == "startContainer" { "/hooks.log".into() } else { log.to_string_lossy() };
                c["hooks"][kind] = [1, 2].iter().map(|n| note(x, kind, &file, &format!("{kind}-{n}"))).collect();
            }
            args(c, "wait");
        })?;
        let inside = b.rootfs.join("hooks.log");
        let mut out = x.create(&b)?;
        append(&log, "create")?;
        let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
        x.rt(["start", &b.id])?.ok()?;
        out.expect("ready")?;
        append(&log, "start")?;
        x.rt(["kill", &b.id, "KILL"])?.ok()?;
        x.gone(pid)?;
        x.rt(["delete", &b.id])?.ok()?;
        Ok((b, notes(&[&log, &inside])?))
    };
    let mut all = vec![
        case("hooks/order", ORDER, move |x| {
            let want = [&HOOKS[..3], &["create"], &HOOKS[3..5], &["start"], &HOOKS[5..]].concat();
            let want: Vec<_> = want
                .iter()
                .flat_map(|k| {
                    if HOOKS.contains(k) { vec![format!("{k}-1"), format!("{k}-2")] } else { vec![(*k).to_owned()] }
                })
                .collect();
            eq("hooks, and the commands' returns", tags(&life(x)?.1), want)
        }),
        case("hooks/order-in-a-kind", "config.md Hooks: called in the listed order", move |x| {
            let all = tags(&life(x)?.1);
            for kind in HOOKS {
                let of: Vec<_> = all.iter().filter(|t| t.starts_with(kind)).cloned().collect();
                eq(kind, of, vec![format!("{kind}-1"), format!("{kind}-2")])?;
            }
            Ok(())
        }),
        case("hooks/args-and-env", "config.md Hooks: args and env are exactly those given", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                eq(&tag, &n["env"], &json!({"TAG": tag, "FIXED": "yes"}))?;
                eq(&tag, &n["args"][0], &json!("probe"))?;
            }
            Ok(())
        }),
        case("hooks/state", "config.md Hooks: the state is passed over stdin", move |x| {
            let (b, notes) = life(x)?;
            for n in notes.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let s = &n["state"];
                eq(format_args!("id for {tag}"), s["id"].as_str(), Some(b.id.as_str()))?;
                eq(format_args!("bundle for {tag}"), s["bundle"].as_str(), Some(b.dir()))?;
                eq(
                    format_args!("annotation for {tag}"),
                    s.pointer("/annotations/org.example.note"),
                    Some(&json!("kept")),
                )?;
                ensure(s["ociVersion"].is_string(), format_args!("no ociVersion for {tag}"))?;
            }
            Ok(())
        }),
        case("hooks/state-status", "runtime.md State: status in each hook", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let want: &[&str] = match tag.split('-').next().unwrap_or_default() {
                    "prestart" | "createRuntime" | "createContainer" => &["creating", "created"],
                    "startContainer" => &["created"],
                    "poststart" => &["running"],
                    _ => &["stopped"],
                };
                let got = n["state"]["status"].as_str().unwrap_or_default();
                ensure(want.contains(&got), format_args!("{tag}: expected one of {want:?}, got {got:?}"))?;
            }
            Ok(())
        }),
        case("hooks/state-pid", "runtime.md State: pid as the runtime or the container sees it", move |x| {
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let pid = n["state"]["pid"].as_i64().unwrap_or(0);
                match tag.split('-').next().unwrap_or_default() {
                    "startContainer" => eq(&tag, pid, 1)?,
                    "poststop" => (),
                    "createContainer" => ensure(pid > 0, format_args!("{tag}: pid {pid}"))?,
                    _ => ensure(pid > 1, format_args!("{tag}: pid {pid}"))?,
                }
            }
            Ok(())
        }),
        case("hooks/namespaces", "config.md Hooks: in the runtime's or the container's namespace", move |x| {
            let host = fs::read_link("/proc/self/ns/mnt")?;
            for n in life(x)?.1.into_iter().filter(|n| n["pid"].is_u64()) {
                let tag = n["tag"].as_str().unwrap_or_default().to_owned();
                let inside = tag.starts_with("createContainer") || tag.starts_with("startContainer");
                let same = n["ns"]["mnt"].as_str() == host.to_str();
                ensure(same != inside, format_args!("{tag} ran in the wrong mount namespace"))?;
                let at_root = n["root_probe"] == true;
                eq(format_args!("{tag} sees the container's root as /"), at_root, tag.starts_with("startContainer"))?;
            }
            Ok(())
        }),
        case("hooks/poststop-failure", "runtime.md Lifecycle: step 13, a warning, and the rest runs", |x| {
            let log = x.job.dir.join("hooks.log");
            let live = x.live(|c| {
                c["hooks"]["poststop"] = json!([
                    {"path": x.job.probe, "args": ["probe", "exit", "1"]},
                    note(x, "poststop", &log.to_string_lossy(), "after")
                ]);
            })?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?;
            x.rt(["state", &live.id])?.exits(1)?;
            eq("hooks", tags(&notes(&[&log])?), vec!["after"])
        }),
        case("hooks/timeout", "config.md Hooks: timeout", |x| {
            let b = x.bundle(|c| {
                c["hooks"]["createRuntime"] = json!([{"path": x.job.probe, "args": ["probe", "sleep"], "timeout": 1}]);
            })?;
            x.run(&b)?.fails(1, &["hook"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("hooks/failed-create-is-undone", "runtime.md Lifecycle: continue at step 12", |x| {
            let b = x.bundle(|c| {
                c["hooks"]["createRuntime"] = json!([{"path": x.job.probe, "args": ["probe", "exit", "1"]}]);
            })?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.exits(1)?;
            contains("stderr", &out.stderr, &["hook"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("hooks/prestart-configures", "config.md Prestart: before pivot_root, after the namespaces", |x| {
            // The hook's view of the container's process: its network namespace is new already.
            let log = x.job.dir.join("hooks.log");
            let b = x.bundle(|c| {
                c["hooks"]["prestart"] = json!([note(x, "prestart", &log.to_string_lossy(), "p")]);
            })?;
            x.run(&b)?.ok()?;
            eq("hooks", tags(&notes(&[&log])?), vec!["p"])
        }),
    ];
    for kind in &HOOKS[..5] {
        all.push(case(
            &format!("hooks/failure-{kind}"),
            "runtime.md Lifecycle: a failing hook stops the container",
            move |x| {
                let log = x.job.dir.join("hooks.log");
                let b = x.bundle(|c| {
                let program = if *kind == "startContainer" { json!("/probe") } else { json!(x.job.probe) };
                let file = if *kind == "startContainer" { "/hooks.log".into() } else { log.to_string_lossy() };
                c["hooks"][*kind] =
                    json!([{"path": program, "args": ["probe", "exit", "3"]}, note(x, kind, &file, "must not run")]);
                args(c, "wait");
            })?;
                let out = x.run(&b)?;
                ensure(out.status != 0, "it succeeded")?;
                if *kind != "poststart" {
                    ensure(!out.stdout.contains("ready"), "the program ran")?;
                }
                let after = notes(&[&log, &b.rootfs.join("hooks.log")])?;
                ensure(after.is_empty(), "the hook after the failed one ran")?;
                x.rt(["delete", "--force", &b.id])?.ok()?;
                x.alone()
            },
        ));
    }
    all
}

fn lifecycle() -> Vec<Case> {
    vec![
        case("lifecycle/annotations", "config.md Annotations", |x| {
            let b = x.bundle(|c| c["annotations"] = json!({"com.example.a": "1", "com.example.empty": ""}))?;
            x.create(&b)?;
            let a = &x.state(&b.id)?["annotations"];
            eq("a", a["com.example.a"].as_str(), Some("1"))?;
            eq("empty", a["com.example.empty"].as_str(), Some(""))
        }),
        case("lifecycle/state-version", "runtime.md State: ociVersion", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let v = x.state(&b.id)?["ociVersion"].as_str().unwrap_or_default().to_owned();
            ensure(v.split('.').count() >= 3 && v.starts_with("1."), v)
        }),
        case("lifecycle/exits-by-itself", "runtime.md Lifecycle: step 10", |x| {
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let mut out = x.create(&b)?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
            x.rt(["start", &b.id])?.ok()?;
            out.rest()?;
            x.gone(pid)?;
            x.status(&b.id, "stopped")?;
            x.rt(["delete", &b.id])?.ok().map(drop)
        }),
        case("lifecycle/zombie-is-stopped", "runtime.md State: stopped once the process has exited", |x| {
            let live = x.live(|_| ())?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(live.pid), nix::sys::signal::Signal::SIGKILL)?;
            // Not reaped: its parent, the harness, does not wait for it before the question.
            let p = rustix::process::Pid::from_raw(live.pid).ok_or_else(|| Stop::Fail("no pid".into()))?;
            let fd = rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty())?;
            crate::ctx::wait_fd(&fd, std::time::Duration::from_secs(5))?;
            x.status(&live.id, "stopped")
        }),
        case("lifecycle/several-containers", "runtime.md: containers do not disturb each other", |x| {
            let lives = (0..4).map(|_| x.live(|_| ())).collect::<Result<Vec<_>, _>>()?;
            x.rt(["delete", "--force", &lives[1].id])?.ok()?;
            for i in [0, 2, 3] {
                x.status(&lives[i].id, "running")?;
            }
            Ok(())
        }),
        case("lifecycle/failed-create-leaves-nothing", "runtime.md Errors: as if never attempted", |x| {
            let before = fs::read_to_string("/proc/self/mountinfo")?;
            let b =
                x.bundle(|c| push(&mut c["mounts"], json!({"destination": "/m", "type": "made-up", "source": "x"})))?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.exits(1)?;
            let text = out.stderr.to_lowercase();
            ensure(
                text.contains("no such device") || text.contains("made-up"),
                format_args!("another failure: {text}"),
            )?;
            eq("mounts", fs::read_to_string("/proc/self/mountinfo")?, before)?;
            x.alone()?;
            if x.state_root().join(&b.id).exists() {
                return fail("the state directory is still there");
            }
            Ok(())
        }),
    ]
}
