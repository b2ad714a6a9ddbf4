//! `process`, also the document of `exec --process`.

use std::collections::HashSet;
use std::ffi::CString;

use super::json::Node;
use super::types::{Capabilities, ConsoleSize, ExecCpuAffinity, Process, Rlimit, Scheduler, User};
use crate::Result;

/// Reads `process`; unknown capabilities go to `warnings`.
pub(super) fn process(at: Node<'_>, warnings: &mut Vec<String>) -> Result<Process> {
    let o = at.object()?;

    // The texts of cwd and args are runc's: engines and their tests look for them.
    let cwd = o.field("cwd");
    let path = cwd.text()?.ok_or_else(|| cwd.refuse("Cwd property must not be empty"))?;
    if !path.starts_with('/') {
        return Err(cwd.refuse("Cwd must be an absolute path"));
    }
    let args = o.field("args");
    let argv = args.strings()?;
    match argv.first() {
        None => return Err(args.refuse("args must not be empty")),
        Some(program) if program.is_empty() => return Err(args.refuse("the program's name must not be empty")),
        Some(_) => {}
    }

    let terminal = o.field("terminal").flag()?;
    Ok(Process {
        terminal,
        // config.md: runtimes MUST ignore it without a terminal.
        console_size: if terminal { console_size(o.field("consoleSize"))? } else { None },
        user: user(o.field("user"))?,
        args: argv,
        env: environment(o.field("env"))?,
        cwd: cwd.to_cstring(path)?,
        capabilities: capabilities(o.field("capabilities"), warnings)?,
        rlimits: rlimits(o.field("rlimits"))?,
        no_new_privileges: o.field("noNewPrivileges").flag()?,
        oom_score_adj: o.field("oomScoreAdj").int_in(-1000, 1000)?,
        scheduler: scheduler(o.field("scheduler"))?,
        io_priority: io_priority(o.field("ioPriority"))?,
        exec_cpu_affinity: exec_cpu_affinity(o.field("execCPUAffinity"))?,
        apparmor_profile: o.field("apparmorProfile").cstring()?,
        selinux_label: o.field("selinuxLabel").cstring()?,
    })
}

fn console_size(at: Node<'_>) -> Result<Option<ConsoleSize>> {
    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    let (height, width) = (o.field("height"), o.field("width"));
    Ok(Some(ConsoleSize { height: height.required(height.int())?, width: width.required(width.int())? }))
}

/// Absent ids are 0, as in runc: a caller may leave the whole object out.
fn user(at: Node<'_>) -> Result<User> {
    /// NGROUPS_MAX of the kernel: setgroups(2) refuses more.
    const GROUPS_MAX: usize = 65536;

    let o = at.object()?;
    let groups = o.field("additionalGids");
    let additional_gids = groups.list(|at| at.required(at.id()))?;
    if additional_gids.len() > GROUPS_MAX {
        return Err(groups.refuse(format_args!("more than {GROUPS_MAX} groups")));
    }
    Ok(User {
        uid: o.field("uid").id()?.unwrap_or_default(),
        gid: o.field("gid").id()?.unwrap_or_default(),
        umask: o.field("umask").int_in(0, 0o777)?,
        additional_gids,
    })
}

/// Of a name that occurs twice the last occurrence stays, in its own place, as runc has it since 1.3 (and Go's os/exec).
fn environment(at: Node<'_>) -> Result<Vec<CString>> {
    let variables = at.list(|at| {
        let variable = at.str()?.unwrap_or_default();
        // The value may be a secret: no message shows it.
        match variable.find('=') {
            None => Err(at.refuse("invalid environment variable: missing '='")),
            Some(0) => Err(at.refuse("invalid environment variable: name cannot be empty")),
            Some(end) => {
                Ok((&variable.as_bytes()[..end], at.to_cstring(variable)?)).map(|(name, v)| (name.to_vec(), v))
            }
        }
    })?;
    let mut seen = HashSet::with_capacity(variables.len());
    let mut kept: Vec<CString> =
        variables.into_iter().rev().filter_map(|(name, variable)| seen.insert(name).then_some(variable)).collect();
    kept.reverse();
    Ok(kept)
}

/// The capabilities of capabilities(7), in the order of their numbers (Linux 5.9 and later have these).
pub(crate) const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn capabilities(at: Node<'_>, warnings: &mut Vec<String>) -> Result<Capabilities> {
    let o = at.object()?;
    let mut set = |name| -> Result<u64> {
        let bits = o.field(name).list(|at| {
            let name = at.required(at.text())?;
            Ok(match CAPABILITIES.iter().position(|known| *known == name) {
                Some(number) => 1 << number,
                None => {
                    warnings.push(format!("{at}: unknown capability {name:?} is ignored"));
                    0
                }
            })
        })?;
        Ok(bits.into_iter().fold(0, |all, bit: u64| all | bit))
    };
    Ok(Capabilities {
        bounding: set("bounding")?,
        effective: set("effective")?,
        inheritable: set("inheritable")?,
        permitted: set("permitted")?,
        ambient: set("ambient")?,
    })
}

/// getrlimit(2), with the kernel's numbers (asm-generic/resource.h).
#[allow(clippy::unnecessary_cast, reason = "their type depends on the libc")]
const RLIMITS: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS as u32),
    ("RLIMIT_CORE", libc::RLIMIT_CORE as u32),
    ("RLIMIT_CPU", libc::RLIMIT_CPU as u32),
    ("RLIMIT_DATA", libc::RLIMIT_DATA as u32),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE as u32),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS as u32),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK as u32),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE as u32),
    ("RLIMIT_NICE", libc::RLIMIT_NICE as u32),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE as u32),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC as u32),
    ("RLIMIT_RSS", libc::RLIMIT_RSS as u32),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO as u32),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME as u32),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING as u32),
    ("RLIMIT_STACK", libc::RLIMIT_STACK as u32),
];

fn rlimits(at: Node<'_>) -> Result<Vec<Rlimit>> {
    let mut seen = HashSet::new();
    at.list(|at| {
        let o = at.object()?;
        let (kind, soft, hard) = (o.field("type"), o.field("soft"), o.field("hard"));
        let limit = Rlimit {
            resource: kind.required(kind.one_of("resource limit", &RLIMITS))?,
            soft: soft.required(soft.int())?,
            hard: hard.required(hard.int())?,
        };
        if !seen.insert(limit.resource) {
            return Err(kind.refuse("this resource is limited twice"));
        }
        // setrlimit(2) would refuse it too, but only in the container's init and without a name.
        if limit.soft > limit.hard {
            return Err(
                soft.refuse(format_args!("the soft limit {} is above the hard limit {}", limit.soft, limit.hard))
            );
        }
        Ok(limit)
    })
}

/// linux/sched.h.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FIFO: u32 = 1;
const RR: u32 = 2;
const DEADLINE: u32 = 6;

/// linux/sched.h.
const SCHED_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn scheduler(at: Node<'_>) -> Result<Option<Scheduler>> {
    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    let policy = o.field("policy");
    let scheduler = Scheduler {
        policy: policy.required(policy.one_of("scheduling policy", &POLICIES))?,
        nice: o.field("nice").int_in(-20, 19)?.unwrap_or_default(),
        priority: o.field("priority").int_in(0, 99)?.unwrap_or_default(),
        flags: o.field("flags").bits("scheduling flag", &SCHED_FLAGS)?,
        runtime: o.field("runtime").int()?.unwrap_or_default(),
        deadline: o.field("deadline").int()?.unwrap_or_default(),
        period: o.field("period").int()?.unwrap_or_default(),
    };
    // sched_setattr(2): each policy has its own fields, and refuses the others' with a bare EINVAL.
    match (scheduler.policy, scheduler.priority) {
        (FIFO | RR, 0) => {
            return Err(o.field("priority").refuse("SCHED_FIFO and SCHED_RR need a priority from 1 to 99"));
        }
        (FIFO | RR, _) | (_, 0) => {}
        _ => return Err(o.field("priority").refuse("can only be set with SCHED_FIFO and SCHED_RR")),
    }
    if scheduler.policy != DEADLINE {
        for (name, value) in
            [("runtime", scheduler.runtime), ("deadline", scheduler.deadline), ("period", scheduler.period)]
        {
            if value != 0 {
                return Err(o.field(name).refuse("can only be set with SCHED_DEADLINE"));
            }
        }
    }
    Ok(Some(scheduler))
}

/// linux/ioprio.h.
const IO_CLASSES: [(&str, u16); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

fn io_priority(at: Node<'_>) -> Result<Option<u16>> {
    if at.is_null() {
        return Ok(None);
    }
    let o = at.object()?;
    let (class, priority) = (o.field("class"), o.field("priority"));
    let class = class.required(class.one_of("I/O priority class", &IO_CLASSES))?;
    let priority = priority.required(priority.int_in(0u16, 7))?;
    Ok(Some(class << 13 | priority))
}

fn exec_cpu_affinity(at: Node<'_>) -> Result<Option<ExecCpuAffinity>> {
    /// More CPUs than any kernel can be built for (NR_CPUS is at most 8192): a typo must not cost memory.
    const CPU_MAX: usize = 8191;

    let o = at.object()?;
    let cpus = |at| number_set(at, "CPU", CPU_MAX);
    let affinity = ExecCpuAffinity { initial: cpus(o.field("initial"))?, r#final: cpus(o.field("final"))? };
    Ok((affinity != ExecCpuAffinity::default()).then_some(affinity))
}

/// A list of numbers (`0-3,7`) as a bit set; absent and empty are `None`. `noun` is what is numbered, for errors.
pub(super) fn number_set(at: Node<'_>, noun: &str, max: usize) -> Result<Option<Vec<u64>>> {
    let Some(list) = at.text()?.map(str::trim).filter(|list| !list.is_empty()) else { return Ok(None) };
    let number = |text: &str| match text.trim().parse() {
        Ok(number) if number <= max => Ok(number),
        Ok(number) => Err(at.refuse(format_args!("{noun} {number} is above {max}"))),
        Err(_) => Err(at.refuse(format_args!("{list:?} is not a list of {noun}s"))),
    };
    let mut set = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last {
            return Err(at.refuse(format_args!("{range:?} is not a range of {noun}s")));
        }
        if set.len() <= last / 64 {
            set.resize(last / 64 + 1, 0);
        }
        for number in first..=last {
            set[number / 64] |= 1u64 << (number % 64);
        }
    }
    Ok(Some(set))
}
