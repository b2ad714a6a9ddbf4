//! `linux.seccomp`.

use std::path::Path;

use super::json::Node;
use super::types::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompRule};
use crate::Result;

/// An action's name, before `errnoRet` is known.
#[derive(Clone, Copy)]
enum Action {
    Plain(SeccompAction),
    Errno,
    Trace,
}

const ACTIONS: [(&str, Action); 9] = [
    ("SCMP_ACT_ALLOW", Action::Plain(SeccompAction::Allow)),
    ("SCMP_ACT_ERRNO", Action::Errno),
    ("SCMP_ACT_KILL", Action::Plain(SeccompAction::KillThread)),
    ("SCMP_ACT_KILL_PROCESS", Action::Plain(SeccompAction::KillProcess)),
    ("SCMP_ACT_KILL_THREAD", Action::Plain(SeccompAction::KillThread)),
    ("SCMP_ACT_LOG", Action::Plain(SeccompAction::Log)),
    ("SCMP_ACT_NOTIFY", Action::Plain(SeccompAction::Notify)),
    ("SCMP_ACT_TRACE", Action::Trace),
    ("SCMP_ACT_TRAP", Action::Plain(SeccompAction::Trap)),
];

const OPERATORS: [(&str, SeccompOp); 7] = [
    ("SCMP_CMP_EQ", SeccompOp::Equal),
    ("SCMP_CMP_GE", SeccompOp::GreaterOrEqual),
    ("SCMP_CMP_GT", SeccompOp::GreaterThan),
    ("SCMP_CMP_LE", SeccompOp::LessOrEqual),
    ("SCMP_CMP_LT", SeccompOp::LessThan),
    ("SCMP_CMP_MASKED_EQ", SeccompOp::MaskedEqual),
    ("SCMP_CMP_NE", SeccompOp::NotEqual),
];

const ARCHITECTURES: [(&str, SeccompArch); 23] = [
    ("SCMP_ARCH_AARCH64", SeccompArch::Aarch64),
    ("SCMP_ARCH_ARM", SeccompArch::Arm),
    ("SCMP_ARCH_LOONGARCH64", SeccompArch::LoongArch64),
    ("SCMP_ARCH_M68K", SeccompArch::M68k),
    ("SCMP_ARCH_MIPS", SeccompArch::Mips),
    ("SCMP_ARCH_MIPS64", SeccompArch::Mips64),
    ("SCMP_ARCH_MIPS64N32", SeccompArch::Mips64N32),
    ("SCMP_ARCH_MIPSEL", SeccompArch::Mipsel),
    ("SCMP_ARCH_MIPSEL64", SeccompArch::Mipsel64),
    ("SCMP_ARCH_MIPSEL64N32", SeccompArch::Mipsel64N32),
    ("SCMP_ARCH_PARISC", SeccompArch::Parisc),
    ("SCMP_ARCH_PARISC64", SeccompArch::Parisc64),
    ("SCMP_ARCH_PPC", SeccompArch::Ppc),
    ("SCMP_ARCH_PPC64", SeccompArch::Ppc64),
    ("SCMP_ARCH_PPC64LE", SeccompArch::Ppc64le),
    ("SCMP_ARCH_RISCV64", SeccompArch::Riscv64),
    ("SCMP_ARCH_S390", SeccompArch::S390),
    ("SCMP_ARCH_S390X", SeccompArch::S390x),
    ("SCMP_ARCH_SH", SeccompArch::Sh),
    ("SCMP_ARCH_SHEB", SeccompArch::Sheb),
    ("SCMP_ARCH_X32", SeccompArch::X32),
    ("SCMP_ARCH_X86", SeccompArch::X86),
    ("SCMP_ARCH_X86_64", SeccompArch::X86_64),
];

/// linux/seccomp.h.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1 << 0),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
];

/// The names of the actions, sorted.
pub(crate) fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

/// The flags, sorted by name, with their bits.
pub(crate) fn flags() -> impl Iterator<Item = (&'static str, u32)> {
    FLAGS.into_iter()
}

/// The names of the operators, sorted.
pub(crate) fn operators() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

/// The architectures, sorted by name.
pub(crate) fn architectures() -> impl Iterator<Item = (&'static str, SeccompArch)> {
    ARCHITECTURES.into_iter()
}

/// Reads `linux.seccomp`. A relative listener's path is taken from `bundle`.
pub(super) fn seccomp(at: Node<'_>, bundle: &Path) -> Result<Option<Seccomp>> {
    let o = at.object()?;
    let default = o.field("defaultAction");
    // As runc: an object without a default action and without rules means no filter.
    if default.is_empty() && o.field("syscalls").is_empty() {
        return Ok(None);
    }

    let default_action = action(default, o.field("defaultErrnoRet"))?;
    // Even the call that would hand the listener over would wait for the listener.
    if default_action == SeccompAction::Notify {
        return Err(default.refuse("SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    let flags = o.field("flags");
    let listener = o.field("listenerPath");
    let listener_path = listener.text()?.map(|path| bundle.join(path));
    let metadata = o.field("listenerMetadata");
    let listener_metadata = metadata.str()?.unwrap_or_default().to_owned();
    if listener_path.is_none() && !listener_metadata.is_empty() {
        return Err(metadata.refuse("must not be set without listenerPath"));
    }

    let mut architectures = Vec::new();
    o.field("architectures").list(|at| {
        let arch = at.required(at.one_of("architecture", &ARCHITECTURES))?;
        if !architectures.contains(&arch) {
            architectures.push(arch);
        }
        Ok(())
    })?;
    let syscalls = o.field("syscalls").list(|at| {
        let rule = rule(at)?;
        if rule.action == SeccompAction::Notify && listener_path.is_none() {
            return Err(listener.refuse("must be set for SCMP_ACT_NOTIFY"));
        }
        Ok(rule)
    })?;

    Ok(Some(Seccomp {
        default_action,
        architectures,
        flags: if flags.is_null() { None } else { Some(flags.bits("seccomp flag", &FLAGS)?) },
        listener_path,
        listener_metadata,
        syscalls,
    }))
}

fn rule(at: Node<'_>) -> Result<SeccompRule> {
    let o = at.object()?;
    let names = o.field("names");
    let rule = SeccompRule {
        names: names.list(|at| at.required(at.text()).map(str::to_owned))?,
        action: action(o.field("action"), o.field("errnoRet"))?,
        args: o.field("args").list(argument)?,
    };
    if rule.names.is_empty() {
        return Err(names.refuse("must hold at least one name"));
    }
    // runc's text and reason: the process writes to the socket that hands the listener over, and would wait for itself.
    if rule.action == SeccompAction::Notify && rule.names.iter().any(|name| name == "write") {
        return Err(names.refuse("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
    }
    Ok(rule)
}

fn action(at: Node<'_>, errno: Node<'_>) -> Result<SeccompAction> {
    /// MAX_ERRNO of the kernel, to which SECCOMP_RET_ERRNO is clamped (seccomp(2)).
    const ERRNO_MAX: u16 = 4095;
    const EPERM: u16 = libc::EPERM as u16;

    match at.required(at.one_of("seccomp action", &ACTIONS))? {
        Action::Errno => Ok(SeccompAction::Errno(errno.int_in(0, ERRNO_MAX)?.unwrap_or(EPERM))),
        Action::Trace => Ok(SeccompAction::Trace(errno.int()?.unwrap_or(EPERM))),
        // config-linux.md: the runtime MUST fail.
        Action::Plain(_) if !errno.is_null() => {
            Err(errno.refuse("can only be set with SCMP_ACT_ERRNO and SCMP_ACT_TRACE"))
        }
        Action::Plain(action) => Ok(action),
    }
}

fn argument(at: Node<'_>) -> Result<SeccompArg> {
    let o = at.object()?;
    let (index, value, op) = (o.field("index"), o.field("value"), o.field("op"));
    Ok(SeccompArg {
        index: index.required(index.int_in(0, 5))?,
        value: value.required(value.int())?,
        value_two: o.field("valueTwo").int()?.unwrap_or_default(),
        op: op.required(op.one_of("operator", &OPERATORS))?,
    })
}
