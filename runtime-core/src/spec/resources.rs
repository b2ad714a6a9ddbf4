//! `linux.resources`, also the document of `update --resources`.

use super::json::Node;
use super::types::{
    BlockIo, Cpu, DeviceKind, DeviceRule, Memory, NetworkResources, Rdma, Resources, ThrottleDevice, WeightDevice,
};
use crate::Result;

/// Reads `linux.resources`.
pub(super) fn resources(at: Node<'_>) -> Result<Resources> {
    let o = at.object()?;
    let pids = o.field("pids");
    Ok(Resources {
        devices: o.field("devices").list(device_rule)?,
        memory: memory(o.field("memory"))?,
        cpu: cpu(o.field("cpu"))?,
        pids_limit: pids.object()?.field("limit").int()?,
        block_io: block_io(o.field("blockIO"))?,
        hugepage_limits: o.field("hugepageLimits").list(hugepage_limit)?,
        network: network(o.field("network"))?,
        rdma: o.field("rdma").map(rdma)?,
        unified: o.field("unified").map(unified)?,
    })
}

/// The types of the device cgroup (`u` and `p` are for nodes only).
const RULE_TYPES: [(&str, Option<DeviceKind>); 3] =
    [("a", None), ("b", Some(DeviceKind::Block)), ("c", Some(DeviceKind::Char))];

fn device_rule(at: Node<'_>) -> Result<DeviceRule> {
    let o = at.object()?;
    let access = o.field("access");
    // An empty list of accesses would allow or deny nothing; runc refuses it too.
    let letters = access.text()?.ok_or_else(|| access.refuse("device access cannot be empty"))?;
    if let Some(other) = letters.chars().find(|c| !"rwm".contains(*c)) {
        return Err(access.refuse(format_args!("unknown device access {other:?}, it must be made of r, w and m")));
    }
    let allow = o.field("allow");
    Ok(DeviceRule {
        allow: allow.required(allow.bool())?,
        kind: o.field("type").one_of("device type", &RULE_TYPES)?.flatten(),
        major: number_or_all(o.field("major"))?,
        minor: number_or_all(o.field("minor"))?,
        read: letters.contains('r'),
        write: letters.contains('w'),
        mknod: letters.contains('m'),
    })
}

/// A device number; absent and, as in runc, -1 are all.
fn number_or_all(at: Node<'_>) -> Result<Option<u32>> {
    Ok(at.int_in(-1, i64::from(u32::MAX))?.and_then(|n| u32::try_from(n).ok()))
}

fn memory(at: Node<'_>) -> Result<Memory> {
    let o = at.object()?;
    let bytes = |name| o.field(name).int_in(-1, i64::MAX);
    let swappiness = o.field("swappiness");
    Ok(Memory {
        limit: bytes("limit")?,
        reservation: bytes("reservation")?,
        swap: bytes("swap")?,
        kernel: bytes("kernel")?,
        kernel_tcp: bytes("kernelTCP")?,
        // Engines write an unset value as -1, which is 2^64-1 in this field; runc takes it so.
        swappiness: match swappiness.int()? {
            Some(u64::MAX) => None,
            Some(v @ 101..) => return Err(swappiness.refuse(format_args!("{v} is not between 0 and 100"))),
            v => v,
        },
        disable_oom_killer: o.field("disableOOMKiller").flag()?,
        use_hierarchy: o.field("useHierarchy").bool()?,
        check_before_update: o.field("checkBeforeUpdate").flag()?,
    })
}

fn cpu(at: Node<'_>) -> Result<Cpu> {
    let o = at.object()?;
    Ok(Cpu {
        shares: o.field("shares").int()?,
        quota: o.field("quota").int()?,
        burst: o.field("burst").int()?,
        period: o.field("period").int()?,
        realtime_runtime: o.field("realtimeRuntime").int()?,
        realtime_period: o.field("realtimePeriod").int()?,
        cpus: o.field("cpus").text()?.map(str::to_owned),
        mems: o.field("mems").text()?.map(str::to_owned),
        idle: o.field("idle").int()?,
    })
}

fn block_io(at: Node<'_>) -> Result<BlockIo> {
    let o = at.object()?;
    Ok(BlockIo {
        weight: o.field("weight").int()?,
        leaf_weight: o.field("leafWeight").int()?,
        weight_device: o.field("weightDevice").list(weight_device)?,
        throttle_read_bps: o.field("throttleReadBpsDevice").list(throttle_device)?,
        throttle_write_bps: o.field("throttleWriteBpsDevice").list(throttle_device)?,
        throttle_read_iops: o.field("throttleReadIOPSDevice").list(throttle_device)?,
        throttle_write_iops: o.field("throttleWriteIOPSDevice").list(throttle_device)?,
    })
}

fn weight_device(at: Node<'_>) -> Result<WeightDevice> {
    let o = at.object()?;
    let (major, minor) = (o.field("major"), o.field("minor"));
    let device = WeightDevice {
        major: major.required(major.int())?,
        minor: minor.required(minor.int())?,
        weight: o.field("weight").int()?,
        leaf_weight: o.field("leafWeight").int()?,
    };
    if device.weight.is_none() && device.leaf_weight.is_none() {
        return Err(at.refuse("weight or leafWeight must be set"));
    }
    Ok(device)
}

fn throttle_device(at: Node<'_>) -> Result<ThrottleDevice> {
    let o = at.object()?;
    let (major, minor, rate) = (o.field("major"), o.field("minor"), o.field("rate"));
    Ok(ThrottleDevice {
        major: major.required(major.int())?,
        minor: minor.required(minor.int())?,
        rate: rate.required(rate.int())?,
    })
}

fn hugepage_limit(at: Node<'_>) -> Result<(String, u64)> {
    let o = at.object()?;
    let (page_size, limit) = (o.field("pageSize"), o.field("limit"));
    let size = page_size.required(page_size.text())?;
    // It becomes part of a file's name, so it must not lead out of the cgroup (runc 1.1.10).
    let number = size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB"));
    if !number.is_some_and(|n| !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit())) {
        return Err(page_size.refuse(format_args!("{size:?} is not a page size such as 64KB, 2MB or 1GB")));
    }
    Ok((size.to_owned(), limit.required(limit.int())?))
}

fn network(at: Node<'_>) -> Result<NetworkResources> {
    let o = at.object()?;
    Ok(NetworkResources {
        class_id: o.field("classID").int()?,
        priorities: o.field("priorities").list(|at| {
            let o = at.object()?;
            let (name, priority) = (o.field("name"), o.field("priority"));
            Ok((name.required(name.text())?.to_owned(), priority.required(priority.int())?))
        })?,
    })
}

fn rdma(device: &str, at: Node<'_>) -> Result<(String, Rdma)> {
    let o = at.object()?;
    let limits = Rdma { hca_handles: o.field("hcaHandles").int()?, hca_objects: o.field("hcaObjects").int()? };
    if limits == Rdma::default() {
        return Err(at.refuse("hcaHandles or hcaObjects must be set"));
    }
    Ok((device.to_owned(), limits))
}

fn unified(file: &str, at: Node<'_>) -> Result<(String, String)> {
    // It is a file's name, so it must not lead out of the cgroup.
    if file.is_empty() || file == "." || file == ".." || file.contains(['/', '\0']) {
        return Err(at.refuse(format_args!("unified resource {file:?} must be a file name (no slashes)")));
    }
    Ok((file.to_owned(), at.required(at.str())?.to_owned()))
}
