//! Resources: set, changed, and told.

use k8s_cri::v1::{
    ContainerConfig, ContainerStatsFilter, ContainerStatsRequest, HugepageLimit, LinuxContainerResources,
    ListContainerStatsRequest, PodSandboxStatsRequest, UInt64Value, UpdateContainerResourcesRequest,
};

use super::super::containerd::IDLE;
use super::super::{knob, until};
use super::case;
use super::client::{Cri, ask, resources};
use crate::ctx::{Outcome, Stop, ensure, eq, fail};
use crate::frame::Case;

/// A limit, and the files of v1 and v2 that hold it.
struct Limit {
    controller: &'static str,
    files: &'static [&'static str],
    /// What may be in it: the shares' weight depends on the runtime's age.
    values: &'static [&'static str],
}

const fn limit(controller: &'static str, files: &'static [&'static str], values: &'static [&'static str]) -> Limit {
    Limit { controller, files, values }
}

const FIRST: &[Limit] = &[
    limit("memory", &["memory.limit_in_bytes", "memory.max"], &["67108864"]),
    limit("cpu", &["cpu.shares", "cpu.weight"], &["512", "20", "59"]),
    limit("cpu", &["cpu.cfs_quota_us", "cpu.max"], &["25000", "25000 50000"]),
    limit("cpuset", &["cpuset.cpus"], &["0"]),
];

const SECOND: &[Limit] = &[
    limit("memory", &["memory.limit_in_bytes", "memory.max"], &["134217728"]),
    limit("cpu", &["cpu.shares", "cpu.weight"], &["256", "10", "35"]),
    limit("cpu", &["cpu.cfs_quota_us", "cpu.max"], &["40000", "40000 50000"]),
    limit("cpuset", &["cpuset.cpus"], &["0"]),
];

fn asked(memory: i64, shares: i64, quota: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        memory_limit_in_bytes: memory,
        cpu_shares: shares,
        cpu_quota: quota,
        cpu_period: 50000,
        cpuset_cpus: "0".into(),
        ..LinuxContainerResources::default()
    }
}

/// Fails unless the cgroup of process `pid` has these limits.
fn limited(pid: &str, limits: &[Limit]) -> Outcome {
    for Limit { controller, files, values } in limits {
        let got = knob(pid, controller, files)?;
        ensure(values.contains(&got.as_str()), format_args!("{files:?}: expected one of {values:?}, got {got:?}"))?;
    }
    Ok(())
}

/// Skips unless the hierarchy of this run has what the limits are in. Where it has no `cpu`, containerd leaves cgroups alone.
fn needs(c: &Cri<'_>) -> Outcome {
    ["memory", "cpu", "cpuset"].iter().try_for_each(|controller| c.x.needs(controller))
}

/// A figure that must be there and not be nothing.
fn figure(what: &str, value: Option<UInt64Value>) -> Result<u64, Stop> {
    match value {
        Some(UInt64Value { value }) if value > 0 => Ok(value),
        other => fail(format!("{what}: {other:?}")),
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("resources/limits", "memory, processor time and processors", |c| {
            needs(c)?;
            let id = c.up(&c.pod()?, IDLE, |c| *resources(c) = asked(64 << 20, 512, 25000))?;
            limited(&c.pid(&id)?, FIRST)
        }),
        case("resources/swap", "memory with swap", |c| {
            c.x.needs("memory")?;
            let id = c.up(&c.pod()?, IDLE, |c| {
                (resources(c).memory_limit_in_bytes, resources(c).memory_swap_limit_in_bytes) = (32 << 20, 48 << 20);
            })?;
            let both = knob(&c.pid(&id)?, "memory", &["memory.memsw.limit_in_bytes", "memory.swap.max"])?;
            let want = if c.x.job.v2 { 16 << 20 } else { 48 << 20 };
            eq("limit", both, want.to_string())
        }),
        case("resources/oom-score", "which process is killed first", |c| {
            let score = |c: &mut ContainerConfig| resources(c).oom_score_adj = 345;
            let out = c.sh(&c.pod()?, "cat /proc/self/oom_score_adj", score)?.exits(0)?;
            eq("score", out.stdout.trim(), "345")
        }),
        case("resources/unified", "files of cgroup v2 by name", |c| {
            c.x.needs("cpu")?;
            c.x.needs_v2("hugetlb")?;
            let id = c.up(&c.pod()?, IDLE, |c| {
                resources(c).unified = [("hugetlb.2MB.max".into(), "4194304".into())].into();
            })?;
            eq("limit", knob(&c.pid(&id)?, "hugetlb", &["hugetlb.2MB.max"])?.as_str(), "4194304")
        }),
        case("resources/hugepages", "limits of huge pages", |c| {
            c.x.needs("cpu")?;
            c.x.needs("hugetlb")?;
            let id = c.up(&c.pod()?, IDLE, |c| {
                resources(c).hugepage_limits.push(HugepageLimit { page_size: "2MB".into(), limit: 6 << 20 });
            })?;
            let limit = knob(&c.pid(&id)?, "hugetlb", &["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"])?;
            eq("limit", limit.as_str(), "6291456")
        }),
        case("resources/update", "UpdateContainerResources of a container that runs", |c| {
            needs(c)?;
            let id = c.up(&c.pod()?, IDLE, |c| *resources(c) = asked(64 << 20, 512, 25000))?;
            let pid = c.pid(&id)?;
            limited(&pid, FIRST)?;
            let request = UpdateContainerResourcesRequest {
                container_id: id.clone(),
                linux: Some(asked(128 << 20, 256, 40000)),
                ..UpdateContainerResourcesRequest::default()
            };
            ask!(c, update_container_resources(request))?;
            limited(&pid, SECOND)?;
            c.get(&id, "true").map(drop)
        }),
        case("stats", "figures of a container and of its pod", |c| {
            needs(c)?;
            let pod = c.pod()?;
            let id = c.up(&pod, IDLE, |_| {})?;
            c.get(&id, "head -c 10000000 /dev/zero >/dev/null")?;
            let stats =
                ask!(c, container_stats(ContainerStatsRequest { container_id: id.clone() }))?.stats.unwrap_or_default();
            figure("processor time", stats.cpu.unwrap_or_default().usage_core_nano_seconds)?;
            figure("memory", stats.memory.unwrap_or_default().working_set_bytes)?;
            let filter = ContainerStatsFilter { pod_sandbox_id: pod.id.clone(), ..ContainerStatsFilter::default() };
            let all = ask!(c, list_container_stats(ListContainerStatsRequest { filter: Some(filter) }))?.stats;
            let ids: Vec<_> = all.into_iter().map(|s| s.attributes.unwrap_or_default().id).collect();
            eq("containers", ids, vec![id])?;
            let of_pod = || -> Result<_, Stop> {
                let request = PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
                Ok(ask!(c, pod_sandbox_stats(request))?.stats.unwrap_or_default().linux.unwrap_or_default())
            };
            let stats = of_pod()?;
            figure("processor time", stats.cpu.unwrap_or_default().usage_core_nano_seconds)?;
            figure("memory", stats.memory.unwrap_or_default().usage_bytes)?;
            eq("containers", stats.containers.len(), 1)?;
            until("figures of the network", || Ok(of_pod()?.network.unwrap_or_default().default_interface.is_some()))
        }),
    ]
}
