//! What this runtime supports (`features.md`, `features-linux.md`): not what this machine does.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{cgroup, seccomp, spec, sys};

/// The Features structure. Its lists are the tables that the configuration is read by, so it can't promise what is
/// then refused.
#[must_use]
pub fn features() -> impl Serialize {
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: spec::OCI_VERSION,
        hooks: &spec::HOOKS,
        mount_options: spec::mount_options().collect(),
        linux: Linux {
            namespaces: spec::NAMESPACES.map(|(name, _)| name),
            capabilities: &spec::CAPABILITIES,
            cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
            seccomp: Seccomp {
                enabled: true,
                actions: spec::seccomp_actions().collect(),
                operators: spec::seccomp_operators().collect(),
                archs: spec::seccomp_architectures()
                    .filter(|(_, arch)| compiles(*arch))
                    .map(|(name, _)| name)
                    .collect(),
                known_flags: spec::seccomp_flags().map(|(name, _)| name).collect(),
                // The one list that asks the kernel, as features-linux.md allows and runc does.
                supported_flags: spec::seccomp_flags()
                    .filter(|(_, bit)| sys::seccomp_knows_flags(*bit))
                    .map(|(name, _)| name)
                    .collect(),
            },
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            memory_policy: MemoryPolicy {
                modes: spec::MEMORY_MODES.map(|(name, _)| name),
                flags: spec::MEMORY_FLAGS.map(|(name, _)| name),
            },
            intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
            mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
            net_devices: Enabled { enabled: true },
        },
        annotations: BTreeMap::from([("orlop.version", env!("CARGO_PKG_VERSION"))]),
        // Properties of the unit, with the systemd driver.
        potentially_unsafe_config_annotations: &[cgroup::systemd::ANNOTATION],
    }
}

/// Whether a filter can be made for this architecture here: there is a table of its calls, and it has this machine's byte
/// order.
fn compiles(arch: spec::SeccompArch) -> bool {
    let profile = spec::Seccomp {
        default_action: spec::SeccompAction::Allow,
        architectures: vec![arch],
        flags: None,
        listener_path: None,
        listener_metadata: String::new(),
        syscalls: Vec::new(),
    };
    seccomp::compile(&profile, seccomp::NATIVE).is_ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: [&'static str; 8],
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    memory_policy: MemoryPolicy,
    intel_rdt: IntelRdt,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: Vec<&'static str>,
    operators: Vec<&'static str>,
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: [&'static str; 7],
    flags: [&'static str; 3],
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}
