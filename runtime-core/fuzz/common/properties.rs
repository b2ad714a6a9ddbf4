//! What must hold for any input: shared by the fuzz targets and by `tests/any_config.rs`.

use std::path::Path;

use runtime_core::cgroup::systemd::{self, Manager, Socket};
use runtime_core::cgroup::{self, Layout};
use runtime_core::intel_rdt::{self, Existing, Resctrl};
use runtime_core::plan::{self, ExecTarget, Plan};
use runtime_core::spec::{Linux, Process, Resources, Spec};
use runtime_core::{Error, ErrorKind, Host, namespace};
use serde_json::Value;

use crate::machine::{self, host, hybrid, v2};

/// A refusal names the place (a JSON pointer into the document, or line and column where it is not JSON), on one line.
fn check_refusal(error: &Error, text: &[u8]) {
    let message = error.to_string();
    assert!(!message.contains(|c: char| c.is_control()), "more than one line, or a control character: {message:?}");
    assert!(matches!(error.kind(), ErrorKind::InvalidSpec | ErrorKind::Unsupported), "{:?}: {message}", error.kind());
    if message.starts_with("parse ") {
        return;
    }
    let (pointer, reason) = message.split_once(": ").unwrap_or_else(|| panic!("no pointer: {message}"));
    assert!(!reason.is_empty(), "no reason: {message}");
    check_pointer(pointer, text);
}

/// The pointer leads to a value of the document, or to where one is missing.
fn check_pointer(pointer: &str, text: &[u8]) {
    let keys = pointer.strip_prefix('/').unwrap_or_else(|| panic!("{pointer:?} is no pointer"));
    // A key with characters that a line can't hold is written with escapes.
    if keys.is_empty() || keys.contains('\\') {
        return;
    }
    // What is beyond serde_json's own value (a number of any size) was a document all the same.
    let Ok(document) = serde_json::from_slice::<Value>(text) else { return };
    let mut at = &document;
    for key in keys.split('/') {
        let key = key.replace("~1", "/").replace("~0", "~");
        let next = match at {
            Value::Object(fields) => fields.get(&key),
            Value::Array(items) => items.get(key.parse::<usize>().unwrap_or_else(|_| panic!("{pointer}: {key:?}"))),
            Value::Null => None,
            other => panic!("{pointer}: nothing can be below {other}"),
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

fn check_warnings(warnings: &[String]) {
    for warning in warnings {
        assert!(!warning.is_empty() && !warning.contains(char::is_control), "{warning:?}");
    }
}

/// Any bytes as `config.json` and as a process document: read, or refused by name.
pub(crate) fn spec(text: &[u8]) -> Option<Spec> {
    match Process::from_slice(text) {
        Ok((_, warnings)) => check_warnings(&warnings),
        Err(error) => check_refusal(&error, text),
    }
    match Spec::from_slice(text, Path::new("/bundle")) {
        Ok((spec, warnings)) => {
            check_warnings(&warnings);
            // What `exec` starts from is the same process, read without the rest.
            let process = Process::of_config(text).unwrap_or_else(|e| panic!("a second reading: {e}"));
            assert_eq!(process, spec.process);
            Some(spec)
        }
        Err(error) => {
            check_refusal(&error, text);
            if let Err(error) = Process::of_config(text) {
                check_refusal(&error, text);
            }
            None
        }
    }
}

/// Any bytes as a configuration: planned on several machines, or refused by name. The plan can be shown.
pub(crate) fn plan(text: &[u8]) -> bool {
    let Some(spec) = spec(text) else { return false };
    let user = Host { euid: 1000, egid: 1000, capabilities: 0, apparmor: true, ..host(v2()) };
    let nested = Host { in_user_namespace: true, selinux: false, kcore: false, ..host(hybrid()) };
    let bare = host(Layout { v1: Vec::new(), unified: None });
    let mut planned = false;
    for host in [host(v2()), user, nested, bare] {
        planned |= create(&spec, &host, text);
        if let Some(process) = &spec.process {
            exec(process, &host, text);
        }
    }
    planned
}

/// A line a step, whatever the names in it hold.
fn check_shown(plan: &Plan) {
    let text = plan.to_string();
    let runtime = [&plan.at_birth, &plan.at_root_ready, &plan.at_ready].map(Vec::len).iter().sum::<usize>();
    let cgroup = plan.cgroup.as_ref().map_or(0, |cgroup| {
        let unit = cgroup.unit.as_ref().map_or(0, |unit| 1 + unit.properties.len());
        unit + cgroup.dirs.len() + cgroup.writes.len() + cgroup.devices.iter().len()
    });
    let rdt = plan.rdt.as_ref().map_or(0, |rdt| rdt.make.len() + rdt.writes.len());
    let hop = plan.topology.hop_joins.as_ref().map_or(0, |_| 2 + plan.hop.len());
    let clone = 1 + plan.topology.around_clone.iter().len();
    let lines = 2 + plan.open.len() + cgroup + rdt + hop + clone + plan.init.len() + runtime + plan.warnings.len();
    assert_eq!(text.lines().count(), lines, "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    check_warnings(&plan.warnings);
}

fn create(spec: &Spec, host: &Host, text: &[u8]) -> bool {
    let manager = Manager {
        sockets: vec![Socket::Private("/run/systemd/private".into())],
        user: host.euid != 0,
        version: 252,
        root: "/".into(),
    };
    // Engines that let systemd make cgroups write paths of this form.
    let by_systemd = spec.linux.cgroups_path.as_ref().is_some_and(|path| path.contains(':'));
    let systemd = by_systemd.then_some(systemd::Options { manager: &manager, annotations: &spec.annotations });
    let options =
        cgroup::Options { owner: cgroup::owner(spec), rootless: host.euid != 0, systemd, ..Default::default() };
    let resctrl = Resctrl("/sys/fs/resctrl".into());
    let rdt = spec.linux.intel_rdt.as_ref();
    let rdt = rdt.map(|wanted| intel_rdt::plan(wanted, "id", &resctrl, &Existing::default())).transpose();
    let plan = rdt.and_then(|rdt| {
        let cgroup = cgroup::plan(&spec.linux, "id", &host.cgroup, options)?;
        plan::create(spec, host, cgroup, rdt, &machine::options("id"))
    });
    match plan {
        Ok(plan) => {
            check_shown(&plan);
            true
        }
        Err(error) => {
            check_refusal(&error, text);
            false
        }
    }
}

fn exec(process: &Process, host: &Host, text: &[u8]) {
    let target = ExecTarget {
        pid: 4711,
        namespaces: namespace::JOIN_ORDER.to_vec(),
        user: None,
        cgroups: plan::CgroupEntry::ByItself,
        place_in_resctrl: true,
        seccomp: None,
        listener: None,
        personality: None,
        memory_policy: None,
        id: "id".to_owned(),
        console_socket: None,
        preserve_fds: 0,
        no_new_keyring: false,
        own_streams: true,
    };
    match plan::exec(process, host, target) {
        Ok(plan) => check_shown(&plan),
        Err(error) => check_refusal(&error, text),
    }
}

/// Any bytes as the document of `update --resources`: limits for a cgroup of each kind, or refused by name.
pub(crate) fn resources(text: &[u8]) -> bool {
    let resources = match Resources::from_slice(text) {
        Ok(resources) => resources,
        Err(error) => {
            check_refusal(&error, text);
            return false;
        }
    };
    let linux = Linux { resources, ..Linux::default() };
    for layout in [v2(), hybrid()] {
        if let Err(error) = cgroup::plan(&linux, "id", &layout, cgroup::Options::default()) {
            let message = error.to_string();
            assert!(message.starts_with('/') && !message.contains('\n'), "{message:?}");
        }
    }
    true
}
