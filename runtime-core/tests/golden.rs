//! Every decision and every order, without privileges: the plans of the configurations that real engines wrote, against
//! files in `golden/`. `ORLOP_BLESS=1 cargo test -p runtime-core --test golden` writes them anew; read the difference.
#![allow(missing_docs)]

mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use runtime_core::cgroup::{self, Layout};
use runtime_core::intel_rdt::{self, Existing, Resctrl};
use runtime_core::plan::{self, CgroupEntry, CreateOptions, ExecTarget, Plan, Step};
use runtime_core::spec::{self, IdMapping, Ids, Process, Spec};
use runtime_core::user_mapping::Known;
use runtime_core::{Host, namespace};

use machine::{host, hybrid, options, v2};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn create(json: &[u8], layout: Layout, options: &CreateOptions) -> Plan {
    let (spec, _) = Spec::from_slice(json, Path::new("/bundle")).unwrap();
    let cgroup = cgroup::plan(&spec.linux, &options.id, &layout, cgroup::Options::default()).unwrap();
    let rdt = spec.linux.intel_rdt.as_ref().map(|wanted| {
        let resctrl = Resctrl("/sys/fs/resctrl".into());
        intel_rdt::plan(wanted, &options.id, &resctrl, &Existing::default()).unwrap()
    });
    plan::create(&spec, &host(layout), cgroup, rdt, options).unwrap()
}

fn exec(json: &[u8], namespaces: Vec<namespace::Kind>) -> Plan {
    let (process, _) = Process::from_slice(json).unwrap();
    plan::exec(&process, &host(hybrid()), exec_target(namespaces)).unwrap()
}

fn exec_target(namespaces: Vec<namespace::Kind>) -> ExecTarget {
    // The one plan that has everything.
    let place_in_resctrl = namespaces.contains(&namespace::Kind::Time);
    ExecTarget {
        pid: 4711,
        namespaces,
        user: None,
        cgroups: CgroupEntry::ByItself,
        place_in_resctrl,
        seccomp: None,
        listener: None,
        personality: None,
        memory_policy: None,
        id: "id".to_owned(),
        console_socket: Some(c"/run/console.sock".to_owned()),
        preserve_fds: 2,
        no_new_keyring: false,
        // The one plan that has everything.
        own_streams: place_in_resctrl,
    }
}

/// What belonged to the machine on which an engine wrote it is a word in capitals, also where a path must be absolute.
fn fixture(path: &Path) -> Vec<u8> {
    fs::read_to_string(path).unwrap().replace("\"WORK/", "\"/work/").replace("CGROUP/", "group/").into_bytes()
}

/// All plans that have a golden file, with its name.
fn plans() -> Vec<(String, Plan)> {
    let mut plans = Vec::new();
    let mut fixtures: Vec<_> = fs::read_dir(folder("fixtures"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    fixtures.sort();
    for path in fixtures {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let json = fixture(&path);
        if name.ends_with(".process") {
            use namespace::Kind::{Ipc, Mount, Network, Pid, User, Uts};
            plans.push((name, exec(&json, vec![Ipc, Uts, Network, Pid, Mount, User])));
        } else {
            plans.push((name, create(&json, v2(), &options("id"))));
        }
    }
    for name in ["docker-default", "podman-default", "ctr-default"] {
        let json = fixture(&folder("fixtures").join(format!("{name}.json")));
        plans.push((format!("{name}.hybrid"), create(&json, hybrid(), &options("id"))));
    }
    let everything = fs::read(folder("golden/everything.json")).unwrap();
    let all_options = CreateOptions {
        console_socket: Some(c"/run/console.sock".to_owned()),
        no_pivot: true,
        preserve_fds: 3,
        own_streams: true,
        ..options("everything")
    };
    plans.push(("everything".to_owned(), create(&everything, hybrid(), &all_options)));
    for name in ["bare", "mounts", "inside"] {
        let json = fs::read(folder("golden").join(format!("{name}.json"))).unwrap();
        plans.push((name.to_owned(), create(&json, v2(), &options(name))));
    }
    plans.extend(rootless());
    let process = fs::read(folder("golden/everything.process.json")).unwrap();
    plans.push(("everything.process".to_owned(), exec(&process, namespace::JOIN_ORDER.to_vec())));
    plans
}

/// What an ordinary user's containers do: what `spec --rootless` writes, the same with subordinate ids and another user,
/// and a container in the namespaces of another one; and what is executed in them.
fn rootless() -> Vec<(String, Plan)> {
    use namespace::Kind::{Cgroup, Ipc, Mount, Pid, User, Uts};
    let user = Host { euid: 1000, egid: 1000, capabilities: 0, selinux: false, ..host(v2()) };
    let create = |edit: &dyn Fn(&mut serde_json::Value)| {
        let ids = Ids { uid: 1000, gid: 1000 };
        let mut config: serde_json::Value = serde_json::from_str(&spec::example(Some(ids), true)).unwrap();
        edit(&mut config);
        let (spec, _) = Spec::from_slice(config.to_string().as_bytes(), Path::new("/bundle")).unwrap();
        let cgroup_options = cgroup::Options { rootless: true, ..cgroup::Options::default() };
        let cgroup = cgroup::plan(&spec.linux, "id", &user.cgroup, cgroup_options).unwrap();
        plan::create(&spec, &user, cgroup, None, &options("id")).unwrap()
    };
    let process = fixture(&folder("fixtures").join("docker-exec.process.json"));
    let (process, _) = Process::from_slice(&process).unwrap();
    let map = |first, size| vec![IdMapping { inside: 0, outside: first, size }];
    let target = ExecTarget {
        user: Some(Known { uids: map(100_000, 65536), gids: map(100_000, 65536), setgroups: true }),
        cgroups: CgroupEntry::Born,
        console_socket: None,
        preserve_fds: 0,
        ..exec_target(vec![Cgroup, Ipc, Uts, Pid, Mount, User])
    };
    vec![
        ("rootless".to_owned(), create(&|_| {})),
        (
            "rootless-subordinate".to_owned(),
            create(&|c| {
                let maps = serde_json::json!([
                    {"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}
                ]);
                c["linux"]["uidMappings"] = maps.clone();
                c["linux"]["gidMappings"] = maps;
                c["process"]["user"] = serde_json::json!({"uid": 33, "gid": 33, "additionalGids": [4, 5]});
                c["process"]["terminal"] = serde_json::json!(false);
            }),
        ),
        (
            "rootless-joined".to_owned(),
            create(&|c| {
                let join = |kind: &str| serde_json::json!({"type": kind, "path": format!("/proc/4711/ns/{kind}")});
                c["linux"]["namespaces"] =
                    serde_json::json!([{"type": "mount"}, {"type": "uts"}, join("user"), join("pid"), join("ipc")]);
                c["linux"]["uidMappings"] = serde_json::Value::Null;
                c["linux"]["gidMappings"] = serde_json::Value::Null;
                c["process"]["user"] = serde_json::json!({"uid": 33, "gid": 33});
                c["process"]["oomScoreAdj"] = serde_json::json!(100);
            }),
        ),
        ("rootless.process".to_owned(), plan::exec(&process, &user, target).unwrap()),
    ]
}

#[test]
fn plans_are_as_they_were() {
    let bless = std::env::var_os("ORLOP_BLESS").is_some();
    let mut differing = Vec::new();
    for (name, plan) in plans() {
        let file = folder("golden").join(format!("{name}.plan"));
        let text = plan.to_string();
        if bless {
            fs::write(&file, &text).unwrap();
        }
        let expect = fs::read_to_string(&file).unwrap_or_default();
        if text != expect {
            let first = text.lines().zip(expect.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
            differing.push(format!("{name}: {first:?}"));
        }
    }
    assert!(differing.is_empty(), "differ from golden/ (new, old):\n{}", differing.join("\n"));
}

#[test]
fn the_same_input_gives_the_same_plan() {
    for ((name, first), (_, second)) in plans().into_iter().zip(plans()) {
        assert_eq!(first, second, "{name}");
    }
}

#[test]
fn every_step_occurs_in_a_golden_plan() {
    let source = include_str!("../src/plan/step.rs");
    let body = source.split("pub enum Step {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants: BTreeSet<_> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|l| l.starts_with(|c: char| c.is_ascii_uppercase())))
        .map(|line| line.split([' ', '(', ',', '{']).next().unwrap().to_owned())
        .collect();
    assert!(variants.len() > 40, "the source of Step was not understood: {variants:?}");
    let mut seen = BTreeSet::new();
    fn note(step: &Step, seen: &mut BTreeSet<String>) {
        if let Step::Attempt { step, otherwise, .. } = step {
            note(step, seen);
            note(otherwise, seen);
        }
        let text = format!("{step:?}");
        seen.insert(text.split([' ', '(', ',', '{']).next().unwrap().to_owned());
    }
    for (_, plan) in plans() {
        plan.hop.iter().chain(&plan.init).for_each(|step| note(step, &mut seen));
    }
    let missing: Vec<_> = variants.difference(&seen).collect();
    assert!(missing.is_empty(), "in no golden plan: {missing:?}");
}

#[test]
fn what_the_machine_lacks_is_refused() {
    let lacking = Host { selinux: false, apparmor: false, ..host(v2()) };
    let idmapped = |kind: &str, user: bool, option: &str| {
        let map = serde_json::json!([{"containerID": 0, "hostID": 5, "size": 1}]);
        let mount = serde_json::json!({"destination": "/a", "type": kind, "options": ["idmap", option],
            "uidMappings": map, "gidMappings": map});
        let namespaces =
            if user { serde_json::json!([{"type": "user"}, {"type": "mount"}]) } else { serde_json::json!([]) };
        let maps = if user { map } else { serde_json::Value::Null };
        serde_json::json!({"mounts": [mount],
            "linux": {"namespaces": namespaces, "uidMappings": maps, "gidMappings": maps}})
    };
    let long = format!("lowerdir=/{}", "l".repeat(255));
    for (edit, expect) in [
        (
            serde_json::json!({"linux": {"mountLabel": "l"}}),
            "/linux/mountLabel: selinux is not enabled on this machine",
        ),
        (
            serde_json::json!({"process": {"args": ["sh"], "cwd": "/", "selinuxLabel": "l"}}),
            "/process/selinuxLabel: selinux is not enabled on this machine",
        ),
        (
            serde_json::json!({"process": {"args": ["sh"], "cwd": "/", "apparmorProfile": "p"}}),
            "/process/apparmorProfile: apparmor is not enabled on this machine",
        ),
        (idmapped("cgroup", true, "ro"), "/mounts/0: a cgroup mount can't be idmapped"),
        (
            idmapped("overlay", false, &long),
            "/mounts/0: options of more than 255 bytes and iversion don't go with an idmapping",
        ),
    ] {
        let mut config = serde_json::json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}});
        for (key, value) in edit.as_object().unwrap() {
            config[key] = value.clone();
        }
        let (spec, _) = Spec::from_slice(config.to_string().as_bytes(), Path::new("/bundle")).unwrap();
        let cgroup = cgroup::plan(&spec.linux, "id", &v2(), cgroup::Options::default()).unwrap();
        assert_eq!(plan::create(&spec, &lacking, cgroup, None, &options("id")).unwrap_err().to_string(), expect);
    }
}
