//! Containers whose facts are compared with a table.

use serde_json::json;

use super::Row;

pub(super) const USER: &str = "config.md POSIX-platform User";
const CAPS: &str = "config.md Linux Process: capabilities";
pub(super) const RLIMITS: &str = "config.md POSIX process: rlimits";
const LINUX_PROCESS: &str = "config.md Linux Process";

pub(super) const FACTS: &[Row] = &[
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
        "process/scheduler-other",
        "config.md Linux Process: scheduler",
        |c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 11}),
        || vec![("/policy", json!(0)), ("/nice", json!(11))],
    ),
    Row(
        "process/memory-policy-preferred",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED", "nodes": "0"}),
        || vec![("/memory_policy", json!("prefer:0"))],
    ),
    Row(
        "process/memory-policy-preferred-many",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}),
        || vec![("/memory_policy", json!("prefer (many):0"))],
    ),
    Row(
        "process/memory-policy-interleave",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}),
        || vec![("/memory_policy", json!("interleave:0"))],
    ),
    Row(
        "process/memory-policy-weighted",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}),
        || vec![("/memory_policy", json!("weighted interleave:0"))],
    ),
    Row(
        "process/memory-policy-local",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_LOCAL"}),
        || vec![("/memory_policy", json!("local"))],
    ),
    Row(
        "process/memory-policy-default",
        "config-linux.md Memory policy",
        |c| c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_DEFAULT"}),
        || vec![("/memory_policy", json!("default"))],
    ),
    Row(
        "process/memory-policy-static-nodes",
        "config-linux.md Memory policy: flags",
        |c| {
            let flags = ["MPOL_F_STATIC_NODES"];
            c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": flags});
        },
        || vec![("/memory_policy", json!("bind=static:0"))],
    ),
    Row(
        "process/memory-policy-relative-nodes",
        "config-linux.md Memory policy: flags",
        |c| {
            let flags = ["MPOL_F_RELATIVE_NODES"];
            c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": flags});
        },
        || vec![("/memory_policy", json!("interleave=relative:0"))],
    ),
    Row(
        "process/personality-linux",
        "config-linux.md Personality: LINUX",
        |c| c["linux"]["personality"] = json!({"domain": "LINUX"}),
        || vec![("/personality", json!(0))],
    ),
    Row(
        "process/path-search",
        "config.md Process: args as execvp, along PATH",
        |c| {
            c["process"]["env"] = json!(["PATH=/nowhere:/dir/../:/bin"]);
            c["process"]["args"] = json!(["probe", "report"]);
        },
        || vec![("/args", json!(["probe", "report"]))],
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
