//! Configurations that must be refused, with nothing left.

use serde_json::json;

use super::facts::RLIMITS;
use crate::ctx::{Patch, namespace, push};

const VALID: &str = "config.md Valid values: an error for invalid values";

/// Changes that must be refused, with nothing left.
pub(super) const REFUSED: &[(&str, &str, Patch)] = &[
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
        namespace(c, "user", Some(json!({"type": "user"})));
        for ids in ["uidMappings", "gidMappings"] {
            c["linux"][ids] = json!(null);
        }
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
    ("refused/readonly-relative", "config-linux.md Readonly Paths: absolute", |c| {
        c["linux"]["readonlyPaths"] = json!(["dir"]);
    }),
    ("refused/oci-version", "config.md Specification version: valid SemVer", |c| c["ociVersion"] = json!("invalid")),
    ("refused/oci-version-missing", "config.md Specification version: required", |c| {
        c.as_object_mut().and_then(|o| o.remove("ociVersion"));
    }),
    ("refused/hugepage-size", "config-linux.md Huge page limits: pageSize", |c| {
        c["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "3MB", "limit": 4_194_304}]);
    }),
];
