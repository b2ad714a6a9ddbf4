//! Machines that exist nowhere but in tests.

use std::ffi::CString;
use std::path::Path;

use runtime_core::Host;
use runtime_core::cgroup::{Hierarchy, Layout};
use runtime_core::plan::CreateOptions;

/// One where root may do everything.
pub(crate) fn host(cgroup: Layout) -> Host {
    Host {
        euid: 0,
        egid: 0,
        capabilities: (1 << 41) - 1,
        last_capability: 40,
        in_user_namespace: false,
        setgroups: true,
        page_size: 4096,
        cgroup,
        apparmor: false,
        selinux: true,
        kcore: true,
    }
}

fn hierarchy(mount: &str, controllers: &[&str]) -> Hierarchy {
    let controllers = controllers.iter().map(|&c| c.to_owned()).collect();
    Hierarchy { controllers, mount: Path::new("/sys/fs/cgroup").join(mount), own: "/".into() }
}

/// cgroup v2 alone.
pub(crate) fn v2() -> Layout {
    let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];
    Layout { v1: Vec::new(), unified: Some(hierarchy("", &controllers)) }
}

/// The controllers on v1, and v2 without any.
pub(crate) fn hybrid() -> Layout {
    let single = ["blkio", "cpuset", "devices", "freezer", "memory", "pids"].map(|c| hierarchy(c, &[c]));
    let mut v1 = single.to_vec();
    v1.push(hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]));
    v1.push(hierarchy("systemd", &["name=systemd"]));
    Layout { v1, unified: Some(hierarchy("unified", &[])) }
}

/// `create ID`, without flags.
pub(crate) fn options(id: &str) -> CreateOptions {
    CreateOptions {
        id: id.to_owned(),
        bundle: "/bundle".to_owned(),
        state_directory: CString::new(format!("/run/orlop/{id}")).unwrap(),
        ..CreateOptions::default()
    }
}
