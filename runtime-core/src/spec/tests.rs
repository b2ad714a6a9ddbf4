//! What is read, and what is refused and how.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::ErrorKind;

const BUNDLE: &str = "/bundle";

/// The files that real engines wrote, `(name, text)`, with an absolute path for the placeholder of the engine's directory.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all: Vec<_> = std::fs::read_dir(directory)
        .expect("tests/fixtures")
        .map(|entry| entry.expect("tests/fixtures").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap().replace("\"WORK/", "\"/WORK/");
            (path.file_name().unwrap().to_str().unwrap().to_owned(), text.into_bytes())
        })
        .collect();
    all.sort();
    assert!(all.len() > 50);
    all
}

#[test]
fn every_fixture_loads_without_a_warning() {
    for (name, text) in fixtures() {
        let warnings = if name.ends_with(".process.json") {
            Process::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}")).1
        } else {
            Spec::from_slice(&text, Path::new(BUNDLE)).unwrap_or_else(|e| panic!("{name}: {e}")).1
        };
        assert_eq!(warnings, [""; 0], "{name}");
    }
}

#[test]
fn the_examples_load() {
    for rootless in [None, Some(Ids { uid: 1000, gid: 100 })] {
        for cgroup_namespace in [false, true] {
            let text = example(rootless, cgroup_namespace);
            let (spec, warnings) = Spec::from_slice(text.as_bytes(), Path::new(BUNDLE)).unwrap();
            assert_eq!(warnings, [""; 0]);
            let linux = spec.linux;
            assert_eq!(linux.namespaces.cgroup == Namespace::New, cgroup_namespace);
            assert_eq!(linux.namespaces.network == Namespace::New, rootless.is_none());
            assert_eq!(linux.namespaces.user == Namespace::New, rootless.is_some());
            let mapping = |outside| rootless.map(|_| IdMapping { inside: 0, outside, size: 1 }).into_iter().collect();
            let [uids, gids]: [Vec<_>; 2] = [mapping(1000), mapping(100)];
            assert_eq!((linux.uid_mappings, linux.gid_mappings), (uids, gids));
        }
    }
}

/// A small valid configuration.
fn base() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/"},
        "linux": {"namespaces": [
            {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "network"}, {"type": "uts"},
        ]},
    })
}

/// [`base`] with other values: `(pointer, value)`. Missing objects on the way are made.
fn edited(edits: &[(&str, &str)]) -> Value {
    let mut config = base();
    for (pointer, value) in edits {
        let mut place = &mut config;
        for key in pointer.split('/').skip(1) {
            place = &mut place[key];
        }
        *place = serde_json::from_str(value).unwrap_or_else(|e| panic!("{pointer} {value}: {e}"));
    }
    config
}

fn read(config: &Value) -> Result<(Spec, Vec<String>)> {
    Spec::from_slice(config.to_string().as_bytes(), Path::new(BUNDLE))
}

/// [`base`] with one other value, read without a warning.
fn with(pointer: &str, value: &str) -> Spec {
    let (spec, warnings) = read(&edited(&[(pointer, value)])).unwrap_or_else(|e| panic!("{pointer} {value}: {e}"));
    assert_eq!(warnings, [""; 0], "{pointer} {value}");
    spec
}

fn process_with(field: &str, value: &str) -> Process {
    with(&format!("/process/{field}"), value).process.unwrap()
}

fn strings(list: &[&str]) -> Vec<CString> {
    list.iter().map(|s| CString::new(*s).unwrap()).collect()
}

#[test]
fn the_least_configuration() {
    let expected = Spec {
        oci_version: "1.0.2-dev".into(),
        root: Root { path: "/bundle/rootfs".into(), readonly: false },
        process: None,
        hostname: None,
        domainname: None,
        mounts: vec![],
        hooks: Hooks::default(),
        annotations: BTreeMap::new(),
        linux: Linux::default(),
    };
    let least = br#"{"ociVersion": "1.0.2-dev", "root": {"path": "rootfs"}}"#;
    assert_eq!(Spec::from_slice(least, Path::new(BUNDLE)).unwrap(), (expected.clone(), vec![]));

    // null is as absent; of a key that occurs twice the last counts; what is unknown and what is of other platforms is
    // ignored.
    let odd = br#"{"ociVersion": 7, "ociVersion": "1.0.2-dev", "root": {"path": "rootfs", "readonly": null, "x": 1},
        "process": null, "hostname": null, "domainname": "", "mounts": null, "hooks": null, "annotations": null,
        "linux": {"namespaces": null, "uidMappings": null, "resources": null, "seccomp": null, "sysctl": null,
                  "intelRdt": null, "netDevices": {}, "memoryPolicy": null, "cgroupsPath": "", "mountLabel": ""},
        "windows": {"layerFolders": 3}, "solaris": [], "vm": {}, "zos": {}, "freebsd": {}, "x-vendor": [1.5]}"#;
    assert_eq!(Spec::from_slice(odd, Path::new(BUNDLE)).unwrap(), (expected, vec![]));
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    for (text, expected) in [
        ("", "parse config.json: EOF while parsing a value at line 1 column 0"),
        (
            "{\"ociVersion\": \"1.3.0\",\n \"root\": {",
            "parse config.json: EOF while parsing an object at line 2 column 10",
        ),
        ("{\"a\": 1e999}", "parse config.json: number out of range at line 1 column 11"),
        ("{} {}", "parse config.json: trailing characters at line 1 column 4"),
        (
            "{\"a\": \"\u{1}\"}",
            "parse config.json: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 8",
        ),
    ] {
        let error = Spec::from_slice(text.as_bytes(), Path::new(BUNDLE)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidSpec, expected));
    }
    for text in ["[".repeat(1000).into_bytes(), b"{\"a\": \"\xff\"}".to_vec()] {
        let error = Spec::from_slice(&text, Path::new(BUNDLE)).unwrap_err().to_string();
        assert!(error.starts_with("parse config.json: ") && error.contains(" at line 1 column "), "{error}");
    }
    let error = crate::Bundle::load("/nonexistent").unwrap_err();
    assert_eq!(error.to_string(), "JSON specification file /nonexistent/config.json not found");
}

#[test]
fn what_is_refused_and_how() {
    let check = |edits: &[(&str, &str)], expected: &str| {
        let error = read(&edited(edits)).map(|(spec, _)| panic!("{edits:?} gives {spec:?}")).unwrap_err();
        assert_eq!(error.to_string(), expected, "{edits:?}");
        assert!(matches!(error.kind(), ErrorKind::InvalidSpec | ErrorKind::Unsupported));
    };
    for (pointer, value, expected) in REFUSALS {
        check(&[(pointer, value)], expected);
    }

    let all_but = |kind: &str| {
        let kinds = ["mount", "pid", "ipc", "network", "uts"];
        let rest: Vec<_> = kinds.iter().filter(|k| **k != kind).map(|k| json!({"type": k})).collect();
        Value::from(rest).to_string()
    };
    for (kind, pointer, value, reason) in [
        ("uts", "/hostname", r#""h""#, ": unable to set hostname without a private UTS namespace"),
        ("uts", "/domainname", r#""d""#, ": unable to set domainname without a private UTS namespace"),
        (
            "uts",
            "/linux/sysctl",
            r#"{"kernel.domainname": "x"}"#,
            "/kernel.domainname: sysctl \"kernel.domainname\" is not in a separate kernel namespace",
        ),
        (
            "mount",
            "/linux/maskedPaths",
            r#"["/m"]"#,
            ": unable to restrict sys entries without a private MNT namespace",
        ),
        (
            "mount",
            "/linux/readonlyPaths",
            r#"["/m"]"#,
            ": unable to restrict sys entries without a private MNT namespace",
        ),
        (
            "ipc",
            "/linux/sysctl",
            r#"{"kernel.sem": "1"}"#,
            "/kernel.sem: sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace",
        ),
        (
            "ipc",
            "/linux/sysctl",
            r#"{"fs/mqueue/msg_max": "1"}"#,
            "/fs~1mqueue~1msg_max: sysctl \"fs.mqueue.msg_max\" is not allowed in the hosts ipc namespace",
        ),
        (
            "network",
            "/linux/sysctl",
            r#"{"net.ipv4.ip_forward": "1"}"#,
            "/net.ipv4.ip_forward: sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
        ),
    ] {
        check(&[("/linux/namespaces", &all_but(kind)), (pointer, value)], &format!("{pointer}{reason}"));
    }

    let user = ("/linux/namespaces", r#"[{"type": "user"}]"#);
    let good = ("/linux/gidMappings", r#"[{"containerID": 0, "hostID": 1000, "size": 1}]"#);
    let lines = |count| {
        let line = |i: u32| json!({"containerID": i * 2, "hostID": 1000 + i * 2, "size": 1});
        Value::from((0..count).map(line).collect::<Vec<_>>()).to_string()
    };
    for (value, expected) in [
        ("[]", ": must be set for a new user namespace"),
        (r#"[{"containerID": 0, "hostID": 1, "size": 0}]"#, "/0/size: 0 is not between 1 and 4294967295"),
        (r#"[{"containerID": 0, "size": 1}]"#, "/0/hostID: must be set"),
        (
            r#"[{"containerID": 0, "hostID": 4294967295, "size": 1}]"#,
            "/0/hostID: 4294967295 is not between 0 and 4294967294",
        ),
        (
            r#"[{"containerID": 0, "hostID": 2, "size": 4294967295}]"#,
            "/0/hostID: 2 and 4294967295 ids from there are beyond 2^32-2",
        ),
        (
            r#"[{"containerID": 0, "hostID": 10, "size": 5}, {"containerID": 4, "hostID": 100, "size": 5}]"#,
            "/1/containerID: these ids overlap those of mapping 0",
        ),
        (
            r#"[{"containerID": 0, "hostID": 10, "size": 5}, {"containerID": 5, "hostID": 6, "size": 5}]"#,
            "/1/hostID: these ids overlap those of mapping 0",
        ),
        (&lines(341), ": 341 mappings, the kernel takes 340"),
    ] {
        check(&[user, good, ("/linux/uidMappings", value)], &format!("/linux/uidMappings{expected}"));
    }
    assert_eq!(
        read(&edited(&[user, good, ("/linux/uidMappings", &lines(340))])).unwrap().0.linux.uid_mappings.len(),
        340
    );

    let time = |path: &str| format!(r#"[{{"type": "time"{path}}}]"#);
    for (namespaces, offsets, expected) in [
        (time(""), r#"{"realtime": {}}"#, r#"/realtime: unknown clock "realtime""#),
        (
            time(""),
            r#"{"boottime": {"nanosecs": 1000000000}}"#,
            "/boottime/nanosecs: 1000000000 is not between 0 and 999999999",
        ),
        (
            time(r#", "path": "/t""#),
            r#"{"boottime": {"secs": 1}}"#,
            ": the offsets of an existing time namespace can't be changed",
        ),
    ] {
        check(
            &[("/linux/namespaces", &namespaces), ("/linux/timeOffsets", offsets)],
            &format!("/linux/timeOffsets{expected}"),
        );
    }
}

/// An edit of [`base`]: pointer, value, and the whole message.
#[rustfmt::skip]
const REFUSALS: &[(&str, &str, &str)] = &[
    ("", "[]", "/: must be an object, not an array"),
    ("/ociVersion", "null", "/ociVersion: must be set"),
    ("/ociVersion", "1", "/ociVersion: must be a string, not an integer"),
    ("/ociVersion", r#""2.0.0""#, r#"/ociVersion: version "2.0.0" is not supported, only 1.x is"#),
    ("/ociVersion", r#""0.1.0""#, r#"/ociVersion: version "0.1.0" is not supported, only 1.x is"#),
    ("/ociVersion", r#""1.3""#, r#"/ociVersion: "1.3" is not a version as SemVer 2.0.0 has it"#),
    ("/ociVersion", r#""v1.3.0""#, r#"/ociVersion: "v1.3.0" is not a version as SemVer 2.0.0 has it"#),
    ("/ociVersion", r#""1.03.0""#, r#"/ociVersion: "1.03.0" is not a version as SemVer 2.0.0 has it"#),
    ("/ociVersion", r#""1.3.0-""#, r#"/ociVersion: "1.3.0-" is not a version as SemVer 2.0.0 has it"#),
    ("/root", "null", "/root: must be set"),
    ("/root", "[]", "/root: must be an object, not an array"),
    ("/root/path", "null", "/root/path: must be set"),
    ("/root/path", r#""""#, "/root/path: must be set"),
    ("/root/path", r#""a\u0000b""#, "/root/path: must not hold a NUL byte"),
    ("/root/readonly", r#""yes""#, "/root/readonly: must be a boolean, not a string"),
    ("/process", "[]", "/process: must be an object, not an array"),
    ("/process/cwd", "null", "/process/cwd: Cwd property must not be empty"),
    ("/process/cwd", r#""tmp""#, "/process/cwd: Cwd must be an absolute path"),
    ("/process/cwd", r#""/\u0000""#, "/process/cwd: must not hold a NUL byte"),
    ("/process/args", "[]", "/process/args: args must not be empty"),
    ("/process/args", "null", "/process/args: args must not be empty"),
    ("/process/args", r#"[""]"#, "/process/args: the program's name must not be empty"),
    ("/process/args", r#"["a", null]"#, "/process/args/1: must be set"),
    ("/process/args", r#"["a", "\u0000"]"#, "/process/args/1: must not hold a NUL byte"),
    ("/process/env", r#"["A"]"#, "/process/env/0: invalid environment variable: missing '='"),
    ("/process/env", r#"["=A"]"#, "/process/env/0: invalid environment variable: name cannot be empty"),
    ("/process/env", r#"["A=secret\u0000"]"#, "/process/env/0: must not hold a NUL byte"),
    ("/process/terminal", "1", "/process/terminal: must be a boolean, not an integer"),
    ("/process/user", r#"{"uid": 4294967295}"#, "/process/user/uid: 4294967295 is not between 0 and 4294967294"),
    ("/process/user", r#"{"gid": -1}"#, "/process/user/gid: -1 is not between 0 and 4294967294"),
    ("/process/user", r#"{"additionalGids": [1, 4294967295]}"#,
        "/process/user/additionalGids/1: 4294967295 is not between 0 and 4294967294"),
    ("/process/user", r#"{"umask": 512}"#, "/process/user/umask: 512 is not between 0 and 511"),
    ("/process/user", r#"{"uid": 1.5}"#,
        "/process/user/uid: must be an integer, not a number with a fraction, an exponent or more than 64 bits"),
    ("/process/user", r#"{"uid": 99999999999999999999}"#,
        "/process/user/uid: must be an integer, not a number with a fraction, an exponent or more than 64 bits"),
    ("/process/capabilities", r#"{"bounding": "CAP_KILL"}"#,
        "/process/capabilities/bounding: must be an array, not a string"),
    ("/process/rlimits", r#"[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]"#,
        r#"/process/rlimits/0/type: unknown resource limit "RLIMIT_X""#),
    ("/process/rlimits", r#"[{"type": "RLIMIT_AS", "soft": 1, "hard": 1}, {"type": "RLIMIT_AS", "soft": 1, "hard": 1}]"#,
        "/process/rlimits/1/type: this resource is limited twice"),
    ("/process/rlimits", r#"[{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]"#,
        "/process/rlimits/0/soft: the soft limit 2 is above the hard limit 1"),
    ("/process/rlimits", r#"[{"type": "RLIMIT_AS", "soft": 2}]"#, "/process/rlimits/0/hard: must be set"),
    ("/process/oomScoreAdj", "1001", "/process/oomScoreAdj: 1001 is not between -1000 and 1000"),
    ("/process/scheduler", "{}", "/process/scheduler/policy: must be set"),
    ("/process/scheduler", r#"{"policy": "SCHED_X"}"#,
        r#"/process/scheduler/policy: unknown scheduling policy "SCHED_X""#),
    ("/process/scheduler", r#"{"policy": "SCHED_OTHER", "flags": ["X"]}"#,
        r#"/process/scheduler/flags/0: unknown scheduling flag "X""#),
    ("/process/scheduler", r#"{"policy": "SCHED_OTHER", "nice": 20}"#,
        "/process/scheduler/nice: 20 is not between -20 and 19"),
    ("/process/scheduler", r#"{"policy": "SCHED_OTHER", "priority": 1}"#,
        "/process/scheduler/priority: can only be set with SCHED_FIFO and SCHED_RR"),
    ("/process/scheduler", r#"{"policy": "SCHED_FIFO"}"#,
        "/process/scheduler/priority: SCHED_FIFO and SCHED_RR need a priority from 1 to 99"),
    ("/process/scheduler", r#"{"policy": "SCHED_BATCH", "period": 1}"#,
        "/process/scheduler/period: can only be set with SCHED_DEADLINE"),
    ("/process/ioPriority", r#"{"class": "IOPRIO_CLASS_NONE", "priority": 0}"#,
        r#"/process/ioPriority/class: unknown I/O priority class "IOPRIO_CLASS_NONE""#),
    ("/process/ioPriority", r#"{"class": "IOPRIO_CLASS_BE", "priority": 8}"#,
        "/process/ioPriority/priority: 8 is not between 0 and 7"),
    ("/process/execCPUAffinity", r#"{"final": "0-"}"#, r#"/process/execCPUAffinity/final: "0-" is not a list of CPUs"#),
    ("/process/execCPUAffinity", r#"{"initial": "3-1"}"#,
        r#"/process/execCPUAffinity/initial: "3-1" is not a range of CPUs"#),
    ("/process/execCPUAffinity", r#"{"initial": "99999999"}"#,
        "/process/execCPUAffinity/initial: CPU 99999999 is above 8191"),
    ("/process/apparmorProfile", r#""a\u0000""#, "/process/apparmorProfile: must not hold a NUL byte"),
    ("/process/selinuxLabel", "{}", "/process/selinuxLabel: must be a string, not an object"),
    ("/process", r#"{"args": ["a"], "cwd": "/", "terminal": true, "consoleSize": {"height": 65536, "width": 1}}"#,
        "/process/consoleSize/height: 65536 is not between 0 and 65535"),
    ("/hostname", r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
        "/hostname: 65 bytes long, the kernel takes 64"),
    ("/hostname", r#""\u0000""#, "/hostname: must not hold a NUL byte"),
    ("/domainname", "7", "/domainname: must be a string, not an integer"),
    ("/annotations", r#"{"a/b": 1}"#, "/annotations/a~1b: must be a string, not an integer"),
    ("/annotations", r#"{"a\nb": 1}"#, "/annotations/a\\nb: must be a string, not an integer"),
    ("/hooks", r#"{"poststop": [{"path": "x"}]}"#, r#"/hooks/poststop/0/path: "x" must be an absolute path"#),
    ("/hooks", r#"{"prestart": [{}]}"#, "/hooks/prestart/0/path: must be set"),
    ("/hooks", r#"{"createRuntime": [{"path": "/x", "timeout": 0}]}"#,
        "/hooks/createRuntime/0/timeout: 0 is not between 1 and 4294967295"),
    ("/hooks", r#"{"createContainer": [{"path": "/x", "timeout": -1}]}"#,
        "/hooks/createContainer/0/timeout: -1 is not between 1 and 4294967295"),
    ("/hooks", r#"{"startContainer": [{"path": "/x", "args": [1]}]}"#,
        "/hooks/startContainer/0/args/0: must be a string, not an integer"),
    ("/hooks", r#"{"poststart": [{"path": "/x", "env": ["\u0000"]}]}"#,
        "/hooks/poststart/0/env/0: must not hold a NUL byte"),
    // mounts
    ("/mounts", "{}", "/mounts: must be an array, not an object"),
    ("/mounts", r#"["x"]"#, "/mounts/0: must be an object, not a string"),
    ("/mounts", r#"[{"type": "tmpfs"}]"#, "/mounts/0/destination: must be set"),
    ("/mounts", r#"[{"type": "tmpfs", "destination": "/\u0000"}]"#, "/mounts/0/destination: must not hold a NUL byte"),
    ("/mounts", r#"[{"destination": "/a"}]"#, "/mounts/0/type: must be set, as the mount is not a bind"),
    ("/mounts", r#"[{"destination": "/a", "type": "bind", "source": "/"}]"#,
        r#"/mounts/0/type: a bind mount needs "bind" or "rbind" in its options"#),
    ("/mounts", r#"[{"destination": "/a", "options": ["rbind"]}]"#, "/mounts/0/source: must be set"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "ro", "mode=1"]}]"#,
        "/mounts/0/options/2: bind mounts cannot have any filesystem-specific options applied"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap"]}]"#,
        "/mounts/0/options/1: without uidMappings and gidMappings, an idmapped mount needs a user namespace"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["rbind", "ridmap"]}]"#,
        "/mounts/0/options/1: without uidMappings and gidMappings, an idmapped mount needs a user namespace"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "copy-symlink", "dest-nofollow"]}]"#,
        "/mounts/0/options/1: copy-symlink and dest-nofollow exclude each other"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap=uids=0-1-10"]}]"#,
        "/mounts/0/options/1: without a user namespace both uids and gids must be given"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap=uids=0-1;gids=0-1-1"]}]"#,
        r#"/mounts/0/options/1: "0-1" is not three numbers, each but the last up to 4294967294"#),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap=moon"]}]"#,
        r#"/mounts/0/options/1: "moon" is neither uids=... nor gids=..."#),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap=uids=@0-1-1;gids=0-1-1"]}]"#,
        r#"/mounts/0/options/1: "@0-1-1" is in no mapping of the container's user namespace"#),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap=uids=0-1-1;gids=0-1-1"],
        "uidMappings": [{"containerID": 1, "hostID": 2, "size": 1}]}]"#,
        "/mounts/0/uidMappings: the mount has mappings in its options"),
    ("/mounts", r#"[{"destination": "/a", "type": "tmpfs", "options": ["ro", "src-nofollow"]}]"#,
        "/mounts/0/options/1: src-nofollow is for bind mounts only"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "src-nofollow", "copy-symlink"]}]"#,
        "/mounts/0/options/2: copy-symlink and src-nofollow exclude each other"),
    ("/mounts", r#"[{"destination": "/a", "options": ["remount", "bind", "mode=1"]}]"#,
        "/mounts/0/options/2: bind mounts cannot have any filesystem-specific options applied"),
    ("/mounts", r#"[{"destination": "/a", "options": ["remount", "iversion"]}]"#,
        "/mounts/0/options: the option iversion can't be changed by remount"),
    ("/mounts", r#"[{"destination": "/a", "options": ["remount", "idmap"],
        "uidMappings": [{"containerID": 1, "hostID": 2, "size": 1}],
        "gidMappings": [{"containerID": 1, "hostID": 2, "size": 1}]}]"#,
        "/mounts/0/options: a mount in place can't be idmapped"),
    ("/mounts", r#"[{"destination": "/a", "type": "tmpfs", "options": [null]}]"#, "/mounts/0/options/0: must be set"),
    ("/mounts", r#"[{"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}]"#,
        "/mounts/0/options: tmpcopyup is for tmpfs only"),
    ("/mounts", r#"[{"destination": "/a", "type": "tmpfs", "options": ["a\u0000"]}]"#,
        "/mounts/0/options/0: must not hold a NUL byte"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind"], "uidMappings": [{}]}]"#,
        "/mounts/0/uidMappings/0/containerID: must be set"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind"],
        "gidMappings": [{"containerID": 1, "hostID": 2, "size": 1}]}]"#,
        "/mounts/0/uidMappings: must be set along with gidMappings"),
    ("/mounts", r#"[{"destination": "/a", "source": "/", "options": ["bind", "idmap"],
        "uidMappings": [{"containerID": 1, "hostID": 2, "size": 1}], "gidMappings": []}]"#,
        "/mounts/0/gidMappings: must be set along with uidMappings"),
    // linux
    ("/linux/intelRdt", r#"{"closID": ".."}"#, r#"/linux/intelRdt/closID: ".." can't be a class of service"#),
    ("/linux/intelRdt", r#"{"closID": "info"}"#, r#"/linux/intelRdt/closID: "info" can't be a class of service"#),
    ("/linux/intelRdt", r#"{"closID": "a/b"}"#, r#"/linux/intelRdt/closID: must be the name of a directory, or "/""#),
    ("/linux/intelRdt", r#"{"memBwSchema": "L3:0=f"}"#, r#"/linux/intelRdt/memBwSchema: must start with "MB:""#),
    ("/linux/intelRdt", r#"{"memBwSchema": "MB:0=1\nL3:0=f"}"#,
        "/linux/intelRdt/memBwSchema: must not hold a newline"),
    ("/linux/intelRdt", r#"{"schemata": ["L3:0=f", "MB:0=1\n"]}"#,
        "/linux/intelRdt/schemata/1: must not hold a newline"),
    ("/linux/intelRdt", r#"{"enableMonitoring": 1}"#,
        "/linux/intelRdt/enableMonitoring: must be a boolean, not an integer"),
    ("/linux/memoryPolicy", "{}", "/linux/memoryPolicy/mode: must be set"),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_MOON"}"#,
        r#"/linux/memoryPolicy/mode: unknown memory policy "MPOL_MOON""#),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND"}"#, "/linux/memoryPolicy/nodes: must be set for MPOL_BIND"),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_LOCAL", "nodes": "0"}"#,
        "/linux/memoryPolicy/nodes: MPOL_LOCAL takes no nodes"),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND", "nodes": "1024"}"#,
        "/linux/memoryPolicy/nodes: node 1024 is above 1023"),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND", "nodes": "a"}"#,
        r#"/linux/memoryPolicy/nodes: "a" is not a list of nodes"#),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_MOON"]}"#,
        r#"/linux/memoryPolicy/flags/0: unknown memory policy flag "MPOL_F_MOON""#),
    ("/linux/memoryPolicy",
        r#"{"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}"#,
        "/linux/memoryPolicy/flags: MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other"),
    ("/linux", r#"{"netDevices": {"eth0": {}}}"#,
        "/linux/netDevices: unable to move network devices without a private NET namespace"),
    ("/linux/netDevices", r#"{"../x": {}}"#, r#"/linux/netDevices/..~1x: "../x" is not the name of a network device"#),
    ("/linux/netDevices", r#"{"eth0": {"name": "a name"}}"#,
        r#"/linux/netDevices/eth0/name: "a name" is not the name of a network device"#),
    ("/linux/netDevices", r#"{"eth0": {"name": "e%d%d"}}"#,
        r#"/linux/netDevices/eth0/name: "e%d%d" is not the name of a network device"#),
    ("/linux/netDevices", r#"{"eth0": {"name": "sixteen-byte-nam"}}"#,
        r#"/linux/netDevices/eth0/name: "sixteen-byte-nam" is not the name of a network device"#),
    ("/linux/netDevices", r#"{"a": {"name": "x"}, "b": {"name": "x"}}"#,
        r#"/linux/netDevices/b/name: "x" is also the name of a"#),
    ("/linux/namespaces", r#"[{"type": "moon"}]"#, r#"/linux/namespaces/0/type: unknown namespace "moon""#),
    ("/linux/namespaces", r#"[{}]"#, "/linux/namespaces/0/type: must be set"),
    ("/linux/namespaces", r#"[{"type": "pid"}, {"type": "pid", "path": "/p"}]"#,
        r#"/linux/namespaces/1/type: duplicated namespace "pid""#),
    ("/linux/namespaces", r#"[{"type": "pid", "path": "p"}]"#,
        r#"/linux/namespaces/0/path: "p" must be an absolute path"#),
    ("/linux/uidMappings", r#"[{"containerID": 0, "hostID": 0, "size": 1}]"#,
        "/linux/uidMappings: User namespace mappings specified, but USER namespace isn't enabled in the config"),
    ("/linux/timeOffsets", r#"{"monotonic": {"secs": 1}}"#,
        "/linux/timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config"),
    ("/linux/devices", r#"[{"path": "dev/x", "type": "c", "major": 1, "minor": 3}]"#,
        r#"/linux/devices/0/path: "dev/x" must be an absolute path"#),
    ("/linux/devices", r#"[{"path": "/x", "type": "a", "major": 1, "minor": 3}]"#,
        r#"/linux/devices/0/type: unknown device type "a""#),
    ("/linux/devices", r#"[{"path": "/x", "type": "u", "minor": 3}]"#, "/linux/devices/0/major: must be set"),
    ("/linux/devices", r#"[{"path": "/x", "type": "b", "major": -1, "minor": 3}]"#,
        "/linux/devices/0/major: -1 is not between 0 and 4095"),
    ("/linux/devices", r#"[{"path": "/x", "type": "b", "major": 1, "minor": 1048576}]"#,
        "/linux/devices/0/minor: 1048576 is not between 0 and 1048575"),
    ("/linux/devices", r#"[{"path": "/x", "type": "p", "uid": 4294967295}]"#,
        "/linux/devices/0/uid: 4294967295 is not between 0 and 4294967294"),
    ("/linux/cgroupsPath", r#""/a\u0000""#, "/linux/cgroupsPath: must not hold a NUL byte"),
    ("/linux/rootfsPropagation", r#""up""#, r#"/linux/rootfsPropagation: unknown propagation "up""#),
    ("/linux/maskedPaths", r#"["/a", "b"]"#, r#"/linux/maskedPaths/1: "b" must be an absolute path"#),
    ("/linux/readonlyPaths", r#"["b"]"#, r#"/linux/readonlyPaths/0: "b" must be an absolute path"#),
    ("/linux/personality", r#"{"domain": "BSD"}"#, r#"/linux/personality/domain: unknown personality domain "BSD""#),
    ("/linux/personality", r#"{"domain": "LINUX", "flags": ["X"]}"#, "/linux/personality/flags: is not supported"),
    ("/linux/sysctl", r#"{"kernel.core_pattern": "x"}"#,
        r#"/linux/sysctl/kernel.core_pattern: sysctl "kernel.core_pattern" is not in a separate kernel namespace"#),
    ("/linux/sysctl", r#"{"kernel/hostname": "x"}"#,
        r#"/linux/sysctl/kernel~1hostname: sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field"#),
    ("/linux/sysctl", r#"{"net/../kernel/core_pattern": "x"}"#,
        r#"/linux/sysctl/net~1..~1kernel~1core_pattern: sysctl "net/../kernel/core_pattern" is not a name"#),
    ("/linux/sysctl", r#"{"net.//.kernel.core_pattern": "x"}"#,
        r#"/linux/sysctl/net.~1~1.kernel.core_pattern: sysctl "net.//.kernel.core_pattern" is not a name"#),
    ("/linux/sysctl", r#"{"": "x"}"#, r#"/linux/sysctl/: sysctl "" is not a name"#),
    ("/linux/sysctl", r#"{"net.x": 1}"#, "/linux/sysctl/net.x: must be a string, not an integer"),
    // linux.resources
    ("/linux/resources/devices", r#"[{"allow": true, "type": "u", "access": "r"}]"#,
        r#"/linux/resources/devices/0/type: unknown device type "u""#),
    ("/linux/resources/devices", r#"[{"allow": true}]"#,
        "/linux/resources/devices/0/access: device access cannot be empty"),
    ("/linux/resources/devices", r#"[{"allow": true, "access": "rx"}]"#,
        "/linux/resources/devices/0/access: unknown device access 'x', it must be made of r, w and m"),
    ("/linux/resources/devices", r#"[{"access": "r"}]"#, "/linux/resources/devices/0/allow: must be set"),
    ("/linux/resources/devices", r#"[{"allow": true, "access": "r", "major": -2}]"#,
        "/linux/resources/devices/0/major: -2 is not between -1 and 4294967295"),
    ("/linux/resources/memory", r#"{"limit": -2}"#,
        "/linux/resources/memory/limit: -2 is not between -1 and 9223372036854775807"),
    ("/linux/resources/memory", r#"{"swappiness": 101}"#,
        "/linux/resources/memory/swappiness: 101 is not between 0 and 100"),
    ("/linux/resources/cpu", r#"{"period": -1}"#,
        "/linux/resources/cpu/period: -1 is not between 0 and 18446744073709551615"),
    ("/linux/resources/cpu", r#"{"cpus": 3}"#, "/linux/resources/cpu/cpus: must be a string, not an integer"),
    ("/linux/resources/pids", r#"{"limit": 1e3}"#,
        "/linux/resources/pids/limit: must be an integer, not a number with a fraction, an exponent or more than 64 bits"),
    ("/linux/resources/blockIO", r#"{"weight": 65536}"#,
        "/linux/resources/blockIO/weight: 65536 is not between 0 and 65535"),
    ("/linux/resources/blockIO", r#"{"weightDevice": [{"major": 8, "minor": 0}]}"#,
        "/linux/resources/blockIO/weightDevice/0: weight or leafWeight must be set"),
    ("/linux/resources/blockIO", r#"{"throttleReadIOPSDevice": [{"major": 8, "minor": 0}]}"#,
        "/linux/resources/blockIO/throttleReadIOPSDevice/0/rate: must be set"),
    ("/linux/resources/hugepageLimits", r#"[{"pageSize": "../../x/2MB", "limit": 1}]"#,
        r#"/linux/resources/hugepageLimits/0/pageSize: "../../x/2MB" is not a page size such as 64KB, 2MB or 1GB"#),
    ("/linux/resources/network", r#"{"priorities": [{"priority": 1}]}"#,
        "/linux/resources/network/priorities/0/name: must be set"),
    ("/linux/resources/rdma", r#"{"mlx5_1": {}}"#,
        "/linux/resources/rdma/mlx5_1: hcaHandles or hcaObjects must be set"),
    ("/linux/resources/unified", r#"{"../x": "1"}"#,
        r#"/linux/resources/unified/..~1x: unified resource "../x" must be a file name (no slashes)"#),
    ("/linux/resources/unified", r#"{"memory.high": 1}"#,
        "/linux/resources/unified/memory.high: must be a string, not an integer"),
    // linux.seccomp
    ("/linux/seccomp", r#"{"syscalls": [{}]}"#, "/linux/seccomp/defaultAction: must be set"),
    ("/linux/seccomp", r#"{"defaultAction": "KILL"}"#,
        r#"/linux/seccomp/defaultAction: unknown seccomp action "KILL""#),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
        "/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#,
        "/linux/seccomp/defaultErrnoRet: can only be set with SCMP_ACT_ERRNO and SCMP_ACT_TRACE"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 65537}"#,
        "/linux/seccomp/defaultErrnoRet: 65537 is not between 0 and 4095"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}"#,
        r#"/linux/seccomp/architectures/0: unknown architecture "x86""#),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#,
        r#"/linux/seccomp/flags/0: unknown seccomp flag "X""#),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}"#,
        "/linux/seccomp/listenerMetadata: must not be set without listenerPath"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        "/linux/seccomp/listenerPath: must be set for SCMP_ACT_NOTIFY"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        "/linux/seccomp/syscalls/0/names: SCMP_ACT_NOTIFY cannot be used for the write syscall"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}"#,
        "/linux/seccomp/syscalls/0/names: must hold at least one name"),
    ("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        "/linux/seccomp/syscalls/0/args/0/index: 6 is not between 0 and 5"),
    (
        "/linux/seccomp",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 1, "value": 0, "op": "EQ"}]}]}"#,
        r#"/linux/seccomp/syscalls/0/args/0/op: unknown operator "EQ""#,
    ),
];

#[test]
fn versions() {
    for version in ["1.0.0", "1.0.0-rc5", "1.0.2-dev", "1.3.0", "1.99.0", "1.3.0-rc.1+build.007", "1.0.0+-"] {
        assert_eq!(with("/ociVersion", &json!(version).to_string()).oci_version, version);
    }
    for (version, expected) in [
        ("1.0.0-00", None),
        ("1.0.0-01a", Some(1)),
        ("1.0.0+", None),
        ("1.0.0.0", None),
        ("1.0.+1", None),
        ("0.0.0", Some(0)),
        ("99999999999999999999.0.0", None),
        ("1.0.0-a..b", None),
        ("", None),
    ] {
        assert_eq!(major(version), expected, "{version}");
    }
}

#[test]
fn paths_are_taken_from_the_bundle() {
    assert_eq!(with("/root", r#"{"path": "/r", "readonly": true}"#).root, Root { path: "/r".into(), readonly: true });
    assert_eq!(with("/root", r#"{"path": "a/b"}"#).root.path, Path::new("/bundle/a/b"));
    for (source, expected) in [("s", "/bundle/s"), ("/s", "/s"), ("../s", "/bundle/../s")] {
        let mounts = json!([{"destination": "/a", "source": source, "options": ["bind"]}]).to_string();
        let kind = MountKind::Bind { source: CString::new(expected).unwrap(), recursive: false };
        assert_eq!(with("/mounts", &mounts).mounts[0].kind, kind);
    }
    let seccomp = with("/linux/seccomp", r#"{"defaultAction": "SCMP_ACT_LOG", "listenerPath": "l"}"#).linux.seccomp;
    assert_eq!(seccomp.unwrap().listener_path.unwrap(), Path::new("/bundle/l"));
}

// Documents in which every field is set.

const FULL_PROCESS: &str = r#"{"terminal": true, "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6], "username": "w"},
            "args": ["a", ""], "commandLine": "of Windows", "env": ["A=1", "B=", "A=2", "C=="], "cwd": "/w", "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "sys_admin", "CAP_CHOWN"],
                             "effective": ["CAP_KILL"], "inheritable": ["cap_kill"], "permitted": ["CAP_NEXT"], "ambient": []},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 18446744073709551615, "hard": 18446744073709551615},
                        {"type": "RLIMIT_CORE", "soft": 0, "hard": 1}],
            "oomScoreAdj": -1000, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 7},
            "scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"],
                          "nice": -20, "runtime": 1, "deadline": 2, "period": 3},
            "execCPUAffinity": {"initial": "", "final": "0-1, 3,64"},
            "apparmorProfile": "p", "selinuxLabel": "l"}"#;

const FULL_HOOKS: &str = r#"{"prestart": [{"path": "/1"}], "createRuntime": [{"path": "/2", "args": []}], "createContainer": [],
            "startContainer": [{"path": "/4", "args": ["x", "y"], "env": ["A=1", "odd"], "timeout": 7}],
            "poststart": [{"path": "/5"}, {"path": "/5b"}], "poststop": [{"path": "/6"}]}"#;

const FULL_LINUX: &str = r#"{"namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}, {"type": "mount", "path": ""}, {"type": "ipc"},
                           {"type": "uts", "path": "/u"}, {"type": "user"}, {"type": "cgroup"}, {"type": "time"}],
            "uidMappings": [{"containerID": 0, "hostID": 4294967294, "size": 1}, {"containerID": 1, "hostID": 5, "size": 9}],
            "gidMappings": [{"containerID": 0, "hostID": 7, "size": 4294967288}],
            "timeOffsets": {"monotonic": {"secs": -1}, "boottime": {"nanosecs": 999999999}},
            "devices": [{"path": "/c", "type": "c", "major": 10, "minor": 229, "fileMode": 8624, "uid": 1, "gid": 2},
                        {"path": "/u", "type": "u", "major": 4095, "minor": 1048575},
                        {"path": "/b", "type": "b", "major": 8, "minor": 0},
                        {"path": "/p", "type": "p", "major": -1, "minor": -1, "fileMode": 0}],
            "cgroupsPath": "a:b:c", "rootfsPropagation": "rslave", "maskedPaths": ["/m"], "readonlyPaths": ["/r"],
            "sysctl": {"net.x": "1", "net/ipv4/conf/eth0.1/mtu": "2", "kernel.domainname": "d", "kernel.sem": "",
                       "fs.mqueue.x": "3"},
            "mountLabel": "l", "personality": {"domain": "LINUX32", "flags": []},
            "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]},
            "netDevices": {"eth0": {"name": "net%d"}, "eth1": {}},
            "intelRdt": {"closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=3"],
                         "enableMonitoring": true}}"#;

const FULL_RESOURCES: &str = r#"{
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "a", "major": -1, "minor": null, "access": "m"},
                    {"allow": true, "type": "c", "major": 10, "minor": 0, "access": "wr"}],
        "memory": {"limit": -1, "reservation": 0, "swap": 9223372036854775807, "kernel": 1, "kernelTCP": 2, "swappiness": 100,
                   "disableOOMKiller": true, "useHierarchy": false, "checkBeforeUpdate": true},
        "cpu": {"shares": 1, "quota": -1, "burst": 2, "period": 3, "realtimeRuntime": -4, "realtimePeriod": 5, "cpus": "0-1",
                "mems": "", "idle": 1},
        "pids": {"limit": -1},
        "blockIO": {"weight": 10, "leafWeight": 65535, "weightDevice": [{"major": 8, "minor": 1, "weight": 2}],
                    "throttleReadBpsDevice": [{"major": 1, "minor": 1, "rate": 18446744073709551615}],
                    "throttleWriteBpsDevice": [{"major": 2, "minor": 2, "rate": 2}],
                    "throttleReadIOPSDevice": [{"major": 3, "minor": 3, "rate": 3}],
                    "throttleWriteIOPSDevice": [{"major": 4, "minor": 4, "rate": 4}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 18446744073709551615}, {"pageSize": "64KB", "limit": 0}],
        "network": {"classID": 4294967295, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"b": {"hcaObjects": 0}, "a": {"hcaHandles": 3, "hcaObjects": 4}},
        "unified": {"memory.high": "1", "io.max": ""}}"#;

const FULL_SECCOMP: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "listenerMetadata": "m",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["a", "b"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2, "args": [
                {"index": 5, "value": 18446744073709551615, "op": "SCMP_CMP_NE"},
                {"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["c"], "action": "SCMP_ACT_NOTIFY", "args": []}]}"#;

#[test]
fn a_process() {
    assert_eq!(
        with("/x", "1").process.unwrap(),
        Process {
            terminal: false,
            console_size: None,
            user: User::default(),
            args: strings(&["sh"]),
            env: vec![],
            cwd: c"/".into(),
            capabilities: Capabilities::default(),
            rlimits: vec![],
            no_new_privileges: false,
            oom_score_adj: None,
            scheduler: None,
            io_priority: None,
            exec_cpu_affinity: None,
            apparmor_profile: None,
            selinux_label: None,
        }
    );
    let (process, warnings) = Process::from_slice(FULL_PROCESS.as_bytes()).unwrap();
    assert_eq!(
        process,
        Process {
            terminal: true,
            console_size: Some(ConsoleSize { height: 24, width: 80 }),
            user: User { uid: 1, gid: 2, umask: Some(0o77), additional_gids: vec![5, 6] },
            args: strings(&["a", ""]),
            env: strings(&["B=", "A=2", "C=="]),
            cwd: c"/w".into(),
            capabilities: Capabilities { bounding: 1 | 1 << 40, effective: 1 << 5, ..Capabilities::default() },
            rlimits: vec![
                Rlimit { resource: libc::RLIMIT_NOFILE, soft: u64::MAX, hard: u64::MAX },
                Rlimit { resource: libc::RLIMIT_CORE, soft: 0, hard: 1 },
            ],
            no_new_privileges: true,
            oom_score_adj: Some(-1000),
            scheduler: Some(Scheduler {
                policy: 6,
                nice: -20,
                priority: 0,
                flags: 1 | 4,
                runtime: 1,
                deadline: 2,
                period: 3,
            }),
            io_priority: Some(3 << 13 | 7),
            exec_cpu_affinity: Some(ExecCpuAffinity { initial: None, r#final: Some(vec![0b1011, 1]) }),
            apparmor_profile: Some(c"p".into()),
            selinux_label: Some(c"l".into()),
        }
    );
    // The specification wants warnings; the names are as case-sensitive as runc's.
    assert_eq!(
        warnings,
        [
            r#"/capabilities/bounding/2: unknown capability "sys_admin" is ignored"#,
            r#"/capabilities/inheritable/0: unknown capability "cap_kill" is ignored"#,
            r#"/capabilities/permitted/0: unknown capability "CAP_NEXT" is ignored"#,
        ]
    );

    // config.md: the size MUST be ignored without a terminal.
    assert_eq!(process_with("consoleSize", r#"{"height": "x"}"#).console_size, None);
    for unset in [r#"{"initial": "", "final": ""}"#, "{}", "null"] {
        assert_eq!(process_with("execCPUAffinity", unset).exec_cpu_affinity, None);
    }
    for field in ["apparmorProfile", "selinuxLabel"] {
        let process = process_with(field, r#""""#);
        assert_eq!((process.apparmor_profile, process.selinux_label), (None, None));
    }
    for (policy, number) in [("OTHER", 0), ("BATCH", 3), ("ISO", 4), ("IDLE", 5)] {
        let scheduler = process_with("scheduler", &format!(r#"{{"policy": "SCHED_{policy}"}}"#)).scheduler.unwrap();
        assert_eq!(scheduler, Scheduler { policy: number, ..Scheduler::default() });
    }
    let refused = Process::from_slice(br#"{"cwd": "x", "args": ["a"]}"#).unwrap_err().to_string();
    assert_eq!(refused, "/cwd: Cwd must be an absolute path");
    let broken = Process::from_slice(b"{").unwrap_err().to_string();
    assert_eq!(broken, "parse process document: EOF while parsing an object at line 1 column 1");
}

#[test]
fn the_process_alone() {
    for (name, text) in fixtures() {
        if !name.ends_with(".process.json") {
            let spec = Spec::from_slice(&text, Path::new(BUNDLE)).unwrap().0;
            assert_eq!(Process::of_config(&text).unwrap(), spec.process, "{name}");
        }
    }
    assert_eq!(Process::of_config(b"{\"process\": null}").unwrap(), None);
    assert_eq!(Process::of_config(b"{}").unwrap(), None);
    let error = Process::of_config(br#"{"process": {"args": [], "cwd": "/"}}"#).unwrap_err().to_string();
    assert_eq!(error, "/process/args: args must not be empty");
}

#[test]
fn the_mount_options() {
    use PropagationKind::{Private, Shared, Slave, Unbindable};
    use libc::{
        MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODEV as NODEV,
        MOUNT_ATTR_NODIRATIME as NODIRATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
        MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW, MOUNT_ATTR_RDONLY as RDONLY, MOUNT_ATTR_STRICTATIME as STRICTATIME,
        MS_DIRSYNC, MS_I_VERSION, MS_LAZYTIME, MS_MANDLOCK, MS_RDONLY, MS_SYNCHRONOUS,
    };
    let mount = |options: &[&str]| {
        let mounts = json!([{"destination": "/a", "type": "tmpfs", "source": "t", "options": options}]);
        let mut spec = with("/mounts", &mounts.to_string());
        spec.mounts.remove(0)
    };
    let fs = |sb_flags, data: &[&str]| MountKind::Filesystem {
        fstype: c"tmpfs".into(),
        source: c"t".into(),
        data: strings(data),
        sb_flags,
        copy_up: false,
    };
    let plain = Mount {
        destination: c"/a".into(),
        kind: fs(0, &[]),
        attr_set: 0,
        attr_clear: 0,
        rec_attr_set: 0,
        rec_attr_clear: 0,
        propagation: vec![],
        idmap: None,
        source_link: SourceLink::Follow,
        over_link: false,
    };
    assert_eq!(mount(&["defaults", "loud", "silent"]), plain);

    // Attributes and their recursive twins: set, clear.
    for (options, set, clear) in [
        ("nosuid", NOSUID, 0),
        ("nodev", NODEV, 0),
        ("noexec", NOEXEC, 0),
        ("nodiratime", NODIRATIME, 0),
        ("nosymfollow", NOSYMFOLLOW, 0),
        ("suid", 0, NOSUID),
        ("dev", 0, NODEV),
        ("exec", 0, NOEXEC),
        ("diratime", 0, NODIRATIME),
        ("symfollow", 0, NOSYMFOLLOW),
        ("nosuid nodev noexec", NOSUID | NODEV | NOEXEC, 0),
        // The last one wins.
        ("nosuid suid", 0, NOSUID),
        ("suid nosuid", NOSUID, 0),
        // One policy at a time, and the whole field is cleared for it.
        ("noatime", NOATIME, ATIME),
        ("relatime", 0, ATIME),
        ("strictatime", STRICTATIME, ATIME),
        ("noatime strictatime", STRICTATIME, ATIME),
        ("strictatime relatime", 0, ATIME),
        ("atime", 0, ATIME),
        ("noatime atime", 0, ATIME),
        ("strictatime atime", STRICTATIME, ATIME),
        ("norelatime", 0, 0),
        ("nostrictatime", 0, 0),
        ("relatime norelatime", 0, 0),
        ("strictatime nostrictatime", 0, 0),
        ("noatime nostrictatime", NOATIME, ATIME),
        ("noatime nodiratime", NOATIME | NODIRATIME, ATIME),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        assert_eq!(mount(&options), Mount { attr_set: set, attr_clear: clear, ..plain.clone() }, "{options:?}");
        let recursive: Vec<String> = options.iter().map(|o| format!("r{o}")).collect();
        let recursive: Vec<&str> = recursive.iter().map(String::as_str).collect();
        let expected = Mount { rec_attr_set: set, rec_attr_clear: clear, ..plain.clone() };
        assert_eq!(mount(&recursive), expected, "{recursive:?}");
    }
    assert_eq!(mount(&["rro"]), Mount { rec_attr_set: RDONLY, ..plain.clone() });
    assert_eq!(mount(&["rrw"]), Mount { rec_attr_clear: RDONLY, ..plain.clone() });

    // Superblock flags: set, attributes to set, to clear.
    for (options, flags, set, clear) in [
        ("ro", MS_RDONLY, RDONLY, 0),
        ("rw", 0, 0, RDONLY),
        ("ro rw", 0, 0, RDONLY),
        ("sync", MS_SYNCHRONOUS, 0, 0),
        ("sync async", 0, 0, 0),
        ("dirsync", MS_DIRSYNC, 0, 0),
        ("mand", MS_MANDLOCK, 0, 0),
        ("mand nomand", 0, 0, 0),
        ("lazytime", MS_LAZYTIME, 0, 0),
        ("nolazytime", 0, 0, 0),
        ("iversion", MS_I_VERSION, 0, 0),
        ("noiversion", 0, 0, 0),
    ] {
        let expected = Mount { kind: fs(flags, &[]), attr_set: set, attr_clear: clear, ..plain.clone() };
        assert_eq!(mount(&options.split(' ').collect::<Vec<_>>()), expected, "{options}");
    }

    // What is not known is the file system's own, as for runc.
    for (options, data) in [
        (vec!["mode=755", "nosuidx", "x-a=b"], vec!["mode=755", "nosuidx", "x-a=b"]),
        (vec!["mode=755,size=1k,", "RO"], vec!["mode=755", "size=1k", "RO"]),
        (vec![r#"context="a,b""#, r"lowerdir=/a\,b"], vec![r#"context="a,b""#, r"lowerdir=/a\,b"]),
    ] {
        assert_eq!(mount(&options), Mount { kind: fs(0, &data), ..plain.clone() });
    }

    let propagation: Vec<_> = [(Private, "private"), (Shared, "shared"), (Slave, "slave"), (Unbindable, "unbindable")]
        .into_iter()
        .flat_map(|(kind, name)| [(kind, false, name.to_owned()), (kind, true, format!("r{name}"))])
        .collect();
    let names: Vec<&str> = propagation.iter().map(|(.., name)| name.as_str()).collect();
    let expected = propagation.iter().map(|&(kind, recursive, _)| Propagation { kind, recursive }).collect();
    assert_eq!(mount(&names), Mount { propagation: expected, ..plain.clone() });

    let MountKind::Filesystem { copy_up, .. } = mount(&["tmpcopyup"]).kind else { panic!() };
    assert!(copy_up);
}

#[test]
fn idmapped_mounts() {
    let maps = |outside| vec![IdMapping { inside: 0, outside, size: 10 }];
    let json = |outside| json!([{"containerID": 0, "hostID": outside, "size": 10}]);
    let check = |options: &[&str], own: bool, user: &Value, expected: Option<MountIdmap>| {
        let mut mount = json!({"destination": "/a", "source": "/s", "options": options});
        if own {
            mount["uidMappings"] = json(5);
            mount["gidMappings"] = json(6);
        }
        let mut config = edited(&[("/mounts", &json!([mount]).to_string())]);
        if !user.is_null() {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(user.clone());
        }
        if user.is_object() && user.get("path").is_none() {
            config["linux"]["uidMappings"] = json(100);
            config["linux"]["gidMappings"] = json(200);
        }
        assert_eq!(read(&config).unwrap().0.mounts[0].idmap, expected, "{config}");
    };
    let mapped = |uids, gids, recursive| {
        Some(MountIdmap { ids: MountIds::Mappings { uids: maps(uids), gids: maps(gids) }, recursive })
    };
    let (none, new, joined) = (Value::Null, json!({"type": "user"}), json!({"type": "user", "path": "/u"}));
    for user in [&none, &new, &joined] {
        check(&["bind"], false, user, None);
        check(&["bind", "idmap"], true, user, mapped(5, 6, false));
        check(&["rbind", "ridmap"], true, user, mapped(5, 6, true));
        check(&["rbind", "ridmap", "idmap"], true, user, mapped(5, 6, true));
        // As runc: without the option too.
        check(&["rbind"], true, user, mapped(5, 6, false));
    }
    check(&["bind", "idmap"], false, &new, mapped(100, 200, false));
    let namespace = MountIds::Namespace("/u".into());
    check(&["rbind", "ridmap"], false, &joined, Some(MountIdmap { ids: namespace, recursive: true }));

    // crun's: ranges in the option itself, with @ as the container sees them.
    let range = |(inside, outside, size)| IdMapping { inside, outside, size };
    let ranges = |uids: &[(u32, u32, u32)], gids: &[(u32, u32, u32)], recursive| {
        let all = |list: &[(u32, u32, u32)]| list.iter().copied().map(range).collect();
        Some(MountIdmap { ids: MountIds::Mappings { uids: all(uids), gids: all(gids) }, recursive })
    };
    let option = "idmap=uids=0-1-10#10-11-5;gids=0-100-10";
    check(&["bind", option], false, &none, ranges(&[(0, 1, 10), (10, 11, 5)], &[(0, 100, 10)], false));
    check(&["rbind", "ridmap=uids=@1-3-7"], false, &new, ranges(&[(1, 103, 7)], &[(0, 200, 10)], true));
}

#[test]
fn mount_kinds() {
    let check = |mount: Value, expected: MountKind| {
        let mounts = Value::from(vec![mount]).to_string();
        assert_eq!(with("/mounts", &mounts).mounts[0].kind, expected, "{mounts}");
    };
    let bind = |recursive| MountKind::Bind { source: c"/s".into(), recursive };
    for kind in ["none", "bind", "tmpfs", "cgroup", ""] {
        for (options, recursive) in [(vec!["bind", "ro"], false), (vec!["rbind"], true), (vec!["rbind", "bind"], true)]
        {
            check(json!({"destination": "/a", "type": kind, "source": "/s", "options": options}), bind(recursive));
        }
    }
    for (options, bind, data, sb_set, sb_clear) in [
        (vec!["remount", "ro", "size=1k", "nolazytime"], false, vec!["size=1k"], libc::MS_RDONLY, libc::MS_LAZYTIME),
        (vec!["bind", "remount", "rw"], true, vec![], 0, libc::MS_RDONLY),
        (vec!["sync", "async", "remount", "async", "sync"], false, vec![], libc::MS_SYNCHRONOUS, 0),
    ] {
        let expected = MountKind::Remount { bind, data: strings(&data), sb_set, sb_clear };
        check(json!({"destination": "/a", "options": options}), expected);
    }
    for kind in ["cgroup", "cgroup2"] {
        check(json!({"destination": "/a", "type": kind, "source": "cgroup", "options": ["ro"]}), MountKind::Cgroup);
    }
    check(
        json!({"destination": "/a", "type": "proc", "uidMappings": [], "gidMappings": null}),
        MountKind::Filesystem { fstype: c"proc".into(), source: c"".into(), data: vec![], sb_flags: 0, copy_up: false },
    );

    let odd = r#"[{"destination": "a", "type": "cgroup", "options": ["nsdelegate"]}]"#;
    let (spec, warnings) = read(&edited(&[("/mounts", odd)])).unwrap();
    assert_eq!(spec.mounts[0].destination.as_c_str(), c"/a");
    assert_eq!(
        warnings,
        [
            "/mounts/0/options/0: a cgroup mount has no options of its own, ignored",
            "/mounts/0/destination: mount destination a is not absolute, taken as relative to / (this is deprecated)",
        ]
    );
}

#[test]
fn hooks_and_annotations() {
    let hooks = with("/hooks", FULL_HOOKS).hooks;
    let hook =
        |path: &str| Hook { path: CString::new(path).unwrap(), args: strings(&[path]), env: vec![], timeout: None };
    assert_eq!(
        hooks,
        Hooks {
            prestart: vec![hook("/1")],
            create_runtime: vec![hook("/2")],
            create_container: vec![],
            start_container: vec![Hook {
                path: c"/4".into(),
                args: strings(&["x", "y"]),
                env: strings(&["A=1", "odd"]),
                timeout: Some(7),
            }],
            poststart: vec![hook("/5"), hook("/5b")],
            poststop: vec![hook("/6")],
        }
    );
    let annotations = with("/annotations", r#"{"b": "", "a": "1", "b": "2"}"#).annotations;
    assert_eq!(annotations, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
}

#[test]
fn the_linux_section() {
    let linux = with("/linux", FULL_LINUX).linux;
    let device =
        |path: &CStr, kind, major, minor| Device { path: path.into(), kind, major, minor, mode: 0o666, uid: 0, gid: 0 };
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    assert_eq!(
        linux,
        Linux {
            namespaces: Namespaces {
                mount: Namespace::New,
                pid: Namespace::New,
                network: Namespace::Path("/n".into()),
                ipc: Namespace::New,
                uts: Namespace::Path("/u".into()),
                user: Namespace::New,
                cgroup: Namespace::New,
                time: Namespace::New,
            },
            uid_mappings: vec![
                IdMapping { inside: 0, outside: u32::MAX - 1, size: 1 },
                IdMapping { inside: 1, outside: 5, size: 9 },
            ],
            gid_mappings: vec![IdMapping { inside: 0, outside: 7, size: u32::MAX - 7 }],
            time_offsets: vec![
                TimeOffset { boottime: true, secs: 0, nanosecs: 999_999_999 },
                TimeOffset { boottime: false, secs: -1, nanosecs: 0 },
            ],
            devices: vec![
                Device { mode: 0o660, uid: 1, gid: 2, ..device(c"/c", DeviceKind::Char, 10, 229) },
                device(c"/u", DeviceKind::Char, 4095, 1_048_575),
                device(c"/b", DeviceKind::Block, 8, 0),
                Device { mode: 0, ..device(c"/p", DeviceKind::Fifo, 0, 0) },
            ],
            cgroups_path: Some("a:b:c".into()),
            resources: Resources::default(),
            sysctl: [
                ("fs.mqueue.x", "3"),
                ("kernel.domainname", "d"),
                ("kernel.sem", ""),
                ("net.x", "1"),
                ("net/ipv4/conf/eth0.1/mtu", "2"),
            ]
            .map(pair)
            .into(),
            seccomp: None,
            rootfs_propagation: Some(PropagationKind::Slave),
            masked_paths: strings(&["/m"]),
            readonly_paths: strings(&["/r"]),
            mount_label: Some(c"l".into()),
            personality: Some(8),
            memory_policy: Some(MemoryPolicy { mode: 3 | 1 << 15, nodes: vec![0b1100] }),
            net_devices: [("eth0", "net%d"), ("eth1", "eth1")]
                .map(|(name, inside)| NetDevice { name: name.into(), inside: inside.into() })
                .into(),
            intel_rdt: Some(IntelRdt {
                clos_id: Some("gold".into()),
                schemas: vec!["L3:0=f".into(), "MB:0=20".into()],
                schemata: vec!["L2:0=3".into()],
                monitoring: true,
            }),
        }
    );
    for (key, path) in [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu"),
        ("net/ipv4/conf/eth0.1/mtu", "net/ipv4/conf/eth0.1/mtu"),
        ("x", "x"),
    ] {
        assert_eq!(sysctl_path(key), path);
    }
    // Engines write both for a namespace that they have prepared.
    let joined = r#"{"namespaces": [{"type": "user", "path": "/u"}], "uidMappings": [{"containerID": 1, "hostID": 1, "size": 1}]}"#;
    assert_eq!(with("/linux", joined).linux.uid_mappings, [IdMapping { inside: 1, outside: 1, size: 1 }]);
    assert_eq!(with("/linux", r#"{"personality": {"domain": "LINUX"}}"#).linux.personality, Some(0));
}

#[test]
fn the_resources() {
    let rule = |allow, kind, major, minor, access: &str| DeviceRule {
        allow,
        kind,
        major,
        minor,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    };
    let throttle = |number, rate| vec![ThrottleDevice { major: number, minor: number, rate }];
    let expected = Resources {
        devices: vec![
            rule(false, None, None, None, "rwm"),
            rule(true, None, None, None, "m"),
            rule(true, Some(DeviceKind::Char), Some(10), Some(0), "rw"),
        ],
        memory: Memory {
            limit: Some(-1),
            reservation: Some(0),
            swap: Some(i64::MAX),
            kernel: Some(1),
            kernel_tcp: Some(2),
            swappiness: Some(100),
            disable_oom_killer: true,
            use_hierarchy: Some(false),
            check_before_update: true,
        },
        cpu: Cpu {
            shares: Some(1),
            quota: Some(-1),
            burst: Some(2),
            period: Some(3),
            realtime_runtime: Some(-4),
            realtime_period: Some(5),
            cpus: Some("0-1".into()),
            mems: None,
            idle: Some(1),
        },
        pids_limit: Some(-1),
        block_io: BlockIo {
            weight: Some(10),
            leaf_weight: Some(u16::MAX),
            weight_device: vec![WeightDevice { major: 8, minor: 1, weight: Some(2), leaf_weight: None }],
            throttle_read_bps: throttle(1, u64::MAX),
            throttle_write_bps: throttle(2, 2),
            throttle_read_iops: throttle(3, 3),
            throttle_write_iops: throttle(4, 4),
        },
        hugepage_limits: vec![("2MB".into(), u64::MAX), ("64KB".into(), 0)],
        network: NetworkResources { class_id: Some(u32::MAX), priorities: vec![("eth0".into(), 5)] },
        rdma: vec![
            ("a".into(), Rdma { hca_handles: Some(3), hca_objects: Some(4) }),
            ("b".into(), Rdma { hca_handles: None, hca_objects: Some(0) }),
        ],
        unified: vec![("io.max".into(), String::new()), ("memory.high".into(), "1".into())],
    };
    assert_eq!(with("/linux/resources", FULL_RESOURCES).linux.resources, expected);
    assert_eq!(Resources::from_slice(FULL_RESOURCES.as_bytes()).unwrap(), expected);
    assert_eq!(Resources::from_slice(b"{}").unwrap(), Resources::default());

    // Absent and 0 are two things.
    for (pids, expected) in [("null", None), ("{}", None), (r#"{"limit": null}"#, None), (r#"{"limit": 0}"#, Some(0))] {
        assert_eq!(with("/linux/resources/pids", pids).linux.resources.pids_limit, expected);
    }
    // Before 1.3 they were one.
    for (limit, expected) in [("0", None), ("-1", Some(-1)), ("5", Some(5))] {
        let document =
            edited(&[("/ociVersion", r#""1.0.2-dev""#), ("/linux/resources/pids", &format!("{{\"limit\": {limit}}}"))]);
        assert_eq!(read(&document).unwrap().0.linux.resources.pids_limit, expected);
    }
    let memory = with("/linux/resources/memory", r#"{"swappiness": 18446744073709551615}"#).linux.resources.memory;
    assert_eq!(memory, Memory::default());
    assert_eq!(
        Resources::from_slice(b"{\"pids\": 1}").unwrap_err().to_string(),
        "/pids: must be an object, not an integer"
    );
}

#[test]
fn a_seccomp_profile() {
    let read = |value: &str| with("/linux/seccomp", value).linux.seccomp;
    for off in ["null", "{}", r#"{"syscalls": [], "defaultAction": ""}"#] {
        assert_eq!(read(off), None);
    }
    let plain = Seccomp {
        default_action: SeccompAction::Allow,
        architectures: vec![],
        flags: None,
        listener_path: None,
        listener_metadata: String::new(),
        syscalls: vec![],
    };
    for (action, errno, expected) in [
        ("ALLOW", "null", SeccompAction::Allow),
        ("ERRNO", "null", SeccompAction::Errno(1)),
        ("ERRNO", "38", SeccompAction::Errno(38)),
        ("ERRNO", "0", SeccompAction::Errno(0)),
        ("TRACE", "null", SeccompAction::Trace(1)),
        ("TRACE", "65535", SeccompAction::Trace(65535)),
        ("KILL", "null", SeccompAction::KillThread),
        ("KILL_THREAD", "null", SeccompAction::KillThread),
        ("KILL_PROCESS", "null", SeccompAction::KillProcess),
        ("TRAP", "null", SeccompAction::Trap),
        ("LOG", "null", SeccompAction::Log),
    ] {
        let value = format!(r#"{{"defaultAction": "SCMP_ACT_{action}", "defaultErrnoRet": {errno}}}"#);
        assert_eq!(read(&value), Some(Seccomp { default_action: expected, ..plain.clone() }));
    }
    for (flags, expected) in [
        ("null", None),
        ("[]", Some(0)),
        (r#"["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#, Some(0x21)),
        (r#"["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]"#, Some(6)),
    ] {
        let value = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "flags": {flags}}}"#);
        assert_eq!(read(&value), Some(Seccomp { flags: expected, ..plain.clone() }));
    }
    let full = read(FULL_SECCOMP);
    assert_eq!(
        full,
        Some(Seccomp {
            architectures: vec![SeccompArch::X86_64, SeccompArch::X86],
            listener_path: Some("/l".into()),
            listener_metadata: "m".into(),
            syscalls: vec![
                SeccompRule {
                    names: vec!["a".into(), "b".into()],
                    action: SeccompAction::Errno(2),
                    args: vec![
                        SeccompArg { index: 5, value: u64::MAX, value_two: 0, op: SeccompOp::NotEqual },
                        SeccompArg { index: 0, value: 1, value_two: 2, op: SeccompOp::MaskedEqual },
                    ],
                },
                SeccompRule { names: vec!["c".into()], action: SeccompAction::Notify, args: vec![] },
            ],
            ..plain
        })
    );
}

#[test]
fn the_tables_are_sorted() {
    fn sorted<'a>(names: impl Iterator<Item = &'a str>) {
        let names: Vec<_> = names.collect();
        assert!(names.is_sorted(), "{names:?}");
    }
    sorted(mount_options());
    sorted(seccomp_actions());
    sorted(seccomp_architectures().map(|(name, _)| name));
    sorted(seccomp_flags().map(|(name, _)| name));
    sorted(seccomp_operators());
    sorted(NAMESPACES.into_iter().map(|(name, _)| name));
}

/// Every field is set.
fn full() -> Value {
    edited(&[
        ("/process", FULL_PROCESS),
        ("/hooks", FULL_HOOKS),
        ("/linux", FULL_LINUX),
        ("/linux/resources", FULL_RESOURCES),
        ("/linux/seccomp", FULL_SECCOMP),
    ])
}

/// Every pointer of a document, with `*` for an index: places of one shape are read by the same code.
fn shapes(value: &Value, pointer: &str, shape: &str, all: &mut BTreeMap<String, String>) {
    all.entry(shape.to_owned()).or_insert_with(|| pointer.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                shapes(item, &format!("{pointer}/{i}"), &format!("{shape}/*"), all);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                shapes(item, &format!("{pointer}/{key}"), &format!("{shape}/{key}"), all);
            }
        }
        _ => {}
    }
}

#[test]
fn a_wrong_value_anywhere_is_refused_with_a_pointer() {
    let wrong = [
        "null",
        "true",
        "-1",
        "0",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "1e300",
        "0.5",
        r#""""#,
        r#""\u0000""#,
        r#""x""#,
        r#""/x""#,
        "[]",
        "[null]",
        "[[]]",
        r#"["\u0000"]"#,
        "{}",
        r#"{"": null}"#,
        r#"[{}]"#,
    ];
    let full = full();
    read(&full).unwrap();
    let mut seen = BTreeSet::new();
    for (name, text) in [("full".to_owned(), full.to_string().into_bytes())].into_iter().chain(fixtures()) {
        let config: Value = serde_json::from_slice(&text).unwrap();
        let process = name.ends_with(".process.json");
        let mut all = BTreeMap::new();
        shapes(&config, "", "", &mut all);
        for (shape, pointer) in all {
            if !seen.insert((process, shape)) {
                continue;
            }
            for value in wrong {
                let mut config = config.clone();
                *config.pointer_mut(&pointer).unwrap() = serde_json::from_str(value).unwrap();
                let text = config.to_string();
                let result = if process {
                    Process::from_slice(text.as_bytes()).map(drop)
                } else {
                    Spec::from_slice(text.as_bytes(), Path::new(BUNDLE)).map(drop)
                };
                if let Err(error) = result {
                    let error = error.to_string();
                    assert!(
                        error.starts_with('/') && error.contains(": ") && !error.contains(['\n', '\0']),
                        "{pointer} = {value}: {error}"
                    );
                }
            }
        }
    }
}

/// Cut anywhere, a document is refused with line and column.
#[test]
fn a_truncated_document_is_refused() {
    let text = example(None, true);
    let end = text.trim_end().len();
    for length in 0..end {
        let error = Spec::from_slice(&text.as_bytes()[..length], Path::new(BUNDLE)).unwrap_err().to_string();
        assert!(error.starts_with("parse config.json: ") && error.contains(" at line "), "{error}");
    }
}

/// Everything that the `oci-spec` crate's model reads from a document is read with the same meaning: through the model and
/// back it is the same [`Spec`]. (A field under a wrong name would be lost on the way.)
#[test]
fn oci_spec_reads_the_same() {
    let mut full = full();
    // What oci-spec 0.10 rejects or loses although it is valid: these faults are why it is not used to parse.
    for (pointer, value) in [
        ("/process/scheduler/flags", json!(["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_PARAMS"])),
        ("/process/capabilities/bounding", json!(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"])),
        ("/process/capabilities/inheritable", json!(["CAP_KILL"])),
        ("/process/capabilities/permitted", json!(["CAP_BPF"])),
        ("/process/execCPUAffinity/initial", json!("1")),
        ("/process/execCPUAffinity/final", json!("0-1,3,64")),
        ("/linux/resources/hugepageLimits/0/limit", json!(i64::MAX)),
    ] {
        let place = full.pointer_mut(pointer).unwrap();
        let valid = std::mem::replace(place, value);
        assert!(valid != *place, "{pointer}");
    }

    let documents = fixtures().into_iter().filter(|(name, _)| !name.ends_with(".process.json"));
    for (name, text) in documents.chain([("full".to_owned(), full.to_string().into_bytes())]) {
        let (ours, warnings) = Spec::from_slice(&text, Path::new(BUNDLE)).unwrap();
        assert_eq!(warnings, [""; 0], "{name}");
        let model: oci_spec::runtime::Spec = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let through = Spec::from_slice(&serde_json::to_vec(&model).unwrap(), Path::new(BUNDLE)).unwrap().0;
        assert_eq!(ours, through, "{name}");

        // And some of it directly.
        let process = model.process().as_ref().unwrap();
        let our_process = ours.process.as_ref().unwrap();
        let theirs = |list: &Option<Vec<String>>| -> Vec<CString> {
            list.iter().flatten().map(|s| CString::new(s.as_str()).unwrap()).collect()
        };
        assert_eq!(our_process.args, theirs(process.args()), "{name}");
        assert_eq!(
            (our_process.user.uid, our_process.user.gid),
            (process.user().uid(), process.user().gid()),
            "{name}"
        );
        assert_eq!(our_process.no_new_privileges, process.no_new_privileges().unwrap_or_default(), "{name}");
        assert_eq!(ours.mounts.len(), model.mounts().as_ref().map_or(0, Vec::len), "{name}");
        let linux = model.linux().as_ref().unwrap();
        assert_eq!(ours.linux.masked_paths, theirs(linux.masked_paths()), "{name}");
        let rules = |s: &oci_spec::runtime::LinuxSeccomp| s.syscalls().as_ref().map_or(0, Vec::len);
        assert_eq!(
            ours.linux.seccomp.as_ref().map(|s| s.syscalls.len()),
            linux.seccomp().as_ref().map(rules),
            "{name}"
        );
        let theirs = linux.resources().as_ref().unwrap();
        assert_eq!(ours.linux.resources.devices.len(), theirs.devices().as_ref().map_or(0, Vec::len), "{name}");
        assert_eq!(
            ours.linux.resources.memory.limit,
            theirs.memory().as_ref().and_then(oci_spec::runtime::LinuxMemory::limit),
            "{name}"
        );
        assert_eq!(
            ours.linux.resources.cpu.shares,
            theirs.cpu().as_ref().and_then(oci_spec::runtime::LinuxCpu::shares),
            "{name}"
        );
    }
}
