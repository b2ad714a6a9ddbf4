//! `features` against the reader of the configuration, in both directions: what it promises is accepted, and what is
//! accepted is promised.
#![allow(missing_docs)]

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use machine::{host, hybrid, options, v2};
use runtime_core::cgroup::{self, systemd};
use runtime_core::spec::{MountKind, Spec};
use runtime_core::{features, plan, seccomp};
use serde_json::{Value, json};

/// Words that somebody may take for a name of one of the lists, beside those that are made of the claimed ones: mount(8),
/// the options and names of runc, crun, youki and podman, capabilities(7), libseccomp's names, later kernels' additions.
const WORDS: &str = "acl async atime auto bind bsdgroups context copy-symlink copyup data defaults defcontext dest-nofollow dev \
    diratime dirsync discard errors exec follow fscontext gid group grpid hidepid huge idmap inode64 iversion lazytime loop \
    loud mand max_batch_time mode move mpol mqueue newinstance noatime noauto nodev nodiratime noexec noexpose nofail \
    nofollow nogroup noiversion nolazytime noload nomand norelatime norro nosilent nostrictatime nosuid nosymfollow nosync \
    notmpcopyup nouser nr_inodes overlay owner private ptmxmode quiet ratime rasync rbind rdev rdiratime rdirsync relatime \
    remount rexec ridmap riversion rlazytime rmand rmove rnoatime rnodev rnodiratime rnoexec rnoiversion rnolazytime rnomand \
    rnorelatime rnostrictatime rnosuid rnosymfollow ro rootcontext rprivate rrelatime rro rrw rshared rsilent rslave \
    rstrictatime rsuid rsymfollow rsync rtmpcopyup runbindable rw seclabel shared silent size slave src-nofollow strictatime \
    suid symfollow sync sysfs tmpcopyup tmpfs uid umask unbindable user users volume-nocopy x-mount.idmap x-systemd.automount z Z \
    cgroup cgroup2 ipc mnt mount net network pid pid_for_children time time_for_children uts userns container \
    CAP_ALL CAP_CHECKPOINT_RESTORE CAP_LAST_CAP CAP_NET_ADMINISTRATOR CAP_SYS_EVERYTHING CAP_SYS_LOG ALL all \
    createContainer createRuntime createRuntimeContainer poststart postStart poststop postStop prestart preStart startContainer \
    stopContainer startcontainer create start stop \
    SCMP_ACT_ALLOW SCMP_ACT_DENY SCMP_ACT_USER_NOTIF SCMP_ACT_NOTIF SCMP_ACT_RET SCMP_ACT_KILL_GROUP SCMP_ACT_LOGGING \
    SCMP_CMP_AND SCMP_CMP_MASKED_NE SCMP_CMP_NOT SCMP_CMP_IN _SCMP_CMP_MIN EQ NE == \
    SCMP_ARCH_ALL SCMP_ARCH_ALPHA SCMP_ARCH_AMD64 SCMP_ARCH_ARM64 SCMP_ARCH_CSKY SCMP_ARCH_I386 SCMP_ARCH_NATIVE SCMP_ARCH_RISCV32 \
    SCMP_ARCH_SPARC SCMP_ARCH_SPARC64 SCMP_ARCH_X64 SCMP_ARCH_XTENSA x86_64 amd64 arm64 AUDIT_ARCH_X86_64 \
    SECCOMP_FILTER_FLAG_NEW_LISTENER SECCOMP_FILTER_FLAG_TSYNC_ESRCH SECCOMP_FILTER_FLAG_WAIT_KILLABLE SECCOMP_FLAG_LOG \
    MPOL_INTERLEAVE_WEIGHTED MPOL_MAX MPOL_F_MOF MPOL_F_MORON MPOL_F_SHARED MPOL_F_NODE MPOL_F_ADDR MPOL_MF_STRICT";

/// Every word that the specification's schemas list as a value, and every one of the claimed ones, also slightly changed.
fn candidates(claimed: &BTreeSet<String>) -> BTreeSet<String> {
    fn values(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| values(item, found)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                found.insert(name.clone());
                values(value, found);
            }),
            Value::String(text) => drop(found.insert(text.clone())),
            _ => {}
        }
    }
    let mut all: BTreeSet<String> = WORDS.split_whitespace().map(str::to_owned).collect();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            values(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(), &mut all);
        }
    }
    for name in claimed {
        let short = name.rsplit('_').next().unwrap();
        all.extend([name.clone(), name.to_lowercase(), name.to_uppercase(), short.to_owned(), format!("{name} ")]);
        all.extend(["r", "no", "rno", "nor", "x-"].map(|before| format!("{before}{name}")));
        all.extend(["x", "_X", "S", "64", "=1"].map(|after| format!("{name}{after}")));
        all.extend((1..name.len()).flat_map(|at| [name[at..].to_owned(), name[..at].to_owned()]));
    }
    all
}

/// A configuration with this in it, as it is read. `None`: it is refused.
fn read(version: &Value, pointer: &str, value: Value) -> Option<(Spec, Vec<String>)> {
    let mut config = json!({"ociVersion": version, "root": {"path": "rootfs"}, "linux": {}, "hooks": {},
        "process": {"args": ["sh"], "cwd": "/", "capabilities": {}}});
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    Spec::from_slice(config.to_string().as_bytes(), Path::new("/b")).ok()
}

/// The filter's program is made too: a name that can be read and not be compiled is refused all the same.
fn filters(version: &Value, edit: impl Fn(&mut Value)) -> bool {
    let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/socket",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
    edit(&mut profile);
    read(version, "/linux/seccomp", profile)
        .is_some_and(|(spec, _)| seccomp::compile(&spec.linux.seccomp.unwrap(), seccomp::NATIVE).is_ok())
}

fn takes_mount_option(version: &Value, option: &str) -> bool {
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    let mounts = [
        json!({"destination": "/a", "type": "tmpfs", "options": [option]}),
        json!({"destination": "/a", "source": "/s", "options": ["bind", option]}),
        json!({"destination": "/a", "type": "proc", "options": [option], "uidMappings": map, "gidMappings": map}),
    ];
    // What is not known is the file system's own, and of a bind it is refused.
    mounts.into_iter().any(|mount| {
        read(version, "/mounts", json!([mount])).is_some_and(|(spec, _)| match &spec.mounts[0].kind {
            MountKind::Filesystem { data, .. } | MountKind::Remount { data, .. } => data.is_empty(),
            _ => true,
        })
    })
}

#[test]
fn features_are_what_is_accepted() {
    let features = serde_json::to_value(features()).unwrap();
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    type Accepts<'a> = Box<dyn Fn(&Value, &str) -> bool + 'a>;
    let lists: [(&str, Accepts<'_>); 10] = [
        ("/mountOptions", Box::new(takes_mount_option)),
        (
            "/hooks",
            Box::new(|version, name| {
                read(version, "/hooks", json!({name: [{"path": "/hook"}]}))
                    .is_some_and(|(spec, _)| spec.hooks != Default::default())
            }),
        ),
        (
            "/linux/namespaces",
            Box::new(|version, name| {
                let mut linux = json!({"namespaces": [{"type": name}]});
                if name == "user" {
                    linux["uidMappings"] = map.clone();
                    linux["gidMappings"] = map.clone();
                }
                read(version, "/linux", linux).is_some()
            }),
        ),
        (
            "/linux/capabilities",
            Box::new(|version, name| {
                read(version, "/process/capabilities", json!({"bounding": [name]})).is_some_and(|(_, w)| w.is_empty())
            }),
        ),
        (
            "/linux/seccomp/actions",
            Box::new(|version, name| filters(version, |profile| profile["syscalls"][0]["action"] = name.into())),
        ),
        (
            "/linux/seccomp/operators",
            Box::new(|version, name| {
                filters(version, |p| p["syscalls"][0]["args"] = json!([{"index": 0, "value": 1, "op": name}]))
            }),
        ),
        (
            "/linux/seccomp/archs",
            Box::new(|version, name| filters(version, |profile| profile["architectures"] = json!([name]))),
        ),
        (
            "/linux/seccomp/knownFlags",
            Box::new(|version, name| filters(version, |profile| profile["flags"] = json!([name]))),
        ),
        (
            "/linux/memoryPolicy/modes",
            Box::new(|version, name| {
                let policy = |nodes: &str| json!({"mode": name, "nodes": nodes});
                ["", "0"].iter().any(|nodes| read(version, "/linux/memoryPolicy", policy(nodes)).is_some())
            }),
        ),
        (
            "/linux/memoryPolicy/flags",
            Box::new(|version, name| {
                let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [name]});
                read(version, "/linux/memoryPolicy", policy).is_some()
            }),
        ),
    ];
    for (pointer, accepts) in lists {
        let list = features.pointer(pointer).unwrap().as_array().unwrap();
        let claimed: BTreeSet<String> = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        assert_eq!(claimed.len(), list.len(), "{pointer} has a name twice");
        for version in [&features["ociVersionMin"], &features["ociVersionMax"]] {
            let accepted: BTreeSet<String> =
                candidates(&claimed).into_iter().filter(|name| accepts(version, name)).collect();
            assert_eq!(accepted, claimed, "{pointer}, version {version}");
        }
    }
    let flags = |name: &str| features["linux"]["seccomp"][name].as_array().unwrap().clone();
    assert!(flags("supportedFlags").iter().all(|flag| flags("knownFlags").contains(flag)));
}

/// Which versions are read, at both ends of what is claimed and beyond them.
#[test]
fn versions_are_what_is_accepted() {
    let features = serde_json::to_value(features()).unwrap();
    let reads = |version: &str| read(&version.into(), "/hooks", json!({})).is_some();
    assert!(reads(features["ociVersionMin"].as_str().unwrap()) && reads(features["ociVersionMax"].as_str().unwrap()));
    // A later minor version adds fields, which are unknown ones then (config.md, Extensibility).
    assert!(reads("1.99.0") && !reads("0.9.0") && !reads("2.0.0") && !reads("1.0"));
}

/// An annotation that is not listed as potentially unsafe is told to who asks, and changes nothing else: who reads annotations is in
/// `tests/layering.rs`. These are keys by
/// which other runtimes and engines have something done.
#[test]
fn other_annotations_change_nothing() {
    const KEYS: [&str; 12] = [
        "run.oci.keep_original_groups",
        "run.oci.hooks.stderr",
        "run.oci.handler",
        "run.oci.delegate-cgroup",
        "run.oci.mount_context_type",
        "module.wasm.image/variant",
        "org.criu.config",
        "org.opencontainers.runc.version",
        "org.systemd.properties.TasksMax",
        "io.kubernetes.cri-o.Devices",
        "io.podman.annotations.userns",
        "orlop.version",
    ];
    let features = serde_json::to_value(features()).unwrap();
    let listed: Vec<&str> = features["potentiallyUnsafeConfigAnnotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listed| listed.as_str().unwrap())
        .collect();
    // A value that ends with a dot is the beginning of many (features.md).
    assert_eq!(listed, ["org.systemd.property."]);
    let manager = systemd::Manager {
        sockets: vec![systemd::Socket::Private(PathBuf::from("/run/systemd/private"))],
        user: false,
        version: 256,
        root: PathBuf::from("/"),
    };
    let plan = |layout: cgroup::Layout, annotations: BTreeMap<String, String>| {
        let mut config: Value = serde_json::from_str(&runtime_core::spec::example(None, true)).unwrap();
        config["annotations"] = json!(annotations);
        let (mut spec, _) = Spec::from_slice(config.to_string().as_bytes(), Path::new("/bundle")).unwrap();
        let options_of_cgroup = cgroup::Options {
            systemd: Some(systemd::Options { manager: &manager, annotations: &annotations }),
            ..cgroup::Options::default()
        };
        let cgroup = cgroup::plan(&spec.linux, "id", &layout, options_of_cgroup).unwrap();
        // What is told of them, in the state: `spec/hooks/state`, `cli/state`.
        spec.annotations.clear();
        plan::create(&spec, &host(layout), cgroup, None, &options("id")).unwrap()
    };
    for layout in [v2, hybrid] {
        let with = |key: &str, value: &str| plan(layout(), BTreeMap::from([(key.to_owned(), value.to_owned())]));
        let without = plan(layout(), BTreeMap::new());
        for key in KEYS {
            assert_eq!(with(key, "1"), without, "{key}");
        }
        assert_ne!(with("org.systemd.property.CPUWeight", "uint64 1"), without);
    }
}
