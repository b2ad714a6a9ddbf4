//! A seccomp profile becomes a BPF program.
//!
//! [`compile`] is pure and runs in the parent; the child only hands the program to seccomp(2)
//! ([`crate::sys::seccomp_set_mode_filter`]). `exec` puts its process under the program that `create` made, so a
//! program can be kept as bytes.
//!
//! - *profile*: `linux.seccomp` of the configuration: a default action and rules.
//! - *rule*: names of system calls, an action, and conditions on the arguments that must all hold.
//! - *verdict*: what the program answers the kernel, an action with its data (`SECCOMP_RET_*`).
//!
//! The program looks at the architecture of the caller, then searches the number of the system call in a binary tree
//! over ranges of equal answers, then tries that call's conditions. The kernel (5.11) sees that the answer of most
//! numbers depends on no argument and does not run the program for them at all.
//!
//! A profile means here what it means to runc, which compiles with libseccomp: the engines' profiles were written
//! against that, not against the specification, which says little. Where a line below copies either, it says so.
//!
//! Source: runtime-spec 1.3, `config-linux.md`, "Seccomp"; seccomp(2); `linux/seccomp.h`.

mod arch;
mod bpf;
#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};

use crate::spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompRule};
use crate::sys::SockFilter;
use crate::{Error, ErrorKind, Result};

pub use arch::NATIVE;
use arch::{Abi, Numbers, X32_BIT};
use bpf::{Condition, EQUAL, GREATER_EQUAL, LOAD_ARCH, LOAD_NUMBER};

/// What the kernel gets: everything that seccomp(2), `SECCOMP_SET_MODE_FILTER`, takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `SECCOMP_FILTER_FLAG_*`, with `NEW_LISTENER` where a rule notifies.
    pub flags: u32,
    /// The instructions, 1 to 4096.
    pub filter: Vec<SockFilter>,
}

/// The most instructions that the kernel accepts, `BPF_MAXINSNS` (`linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Begins the bytes of a kept program: a format and its version.
const MAGIC: u32 = 0x6f72_6c01;

impl Program {
    /// Whether seccomp(2) will return the fd of a listener, to be sent to the profile's `listenerPath`.
    #[must_use]
    pub fn notifies(&self) -> bool {
        u64::from(self.flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }

    /// The program for a file on this machine: 8 bytes of head, then 8 bytes an instruction, in native byte order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + 8 * self.filter.len());
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend(self.flags.to_ne_bytes());
        for instruction in &self.filter {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// Reads what [`Program::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] when the bytes are not a whole program: a filter cut short would be another filter.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program> {
        let damaged = |why| Error::new(ErrorKind::System, format!("read a seccomp program: {why}"));
        let (records, []) = bytes.as_chunks::<8>() else {
            return Err(damaged("it ends within an instruction"));
        };
        let halves = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| ([a, b, c, d], u32::from_ne_bytes([e, f, g, h]));
        let Some((head, instructions)) = records.split_first().map(|(head, rest)| (halves(head), rest)) else {
            return Err(damaged("it is empty"));
        };
        if u32::from_ne_bytes(head.0) != MAGIC {
            return Err(damaged("it is of another format"));
        }
        if !(1..=MAX_INSTRUCTIONS).contains(&instructions.len()) {
            return Err(damaged("it has no or too many instructions"));
        }
        let instruction = |record| {
            let ([a, b, jt, jf], k) = halves(record);
            SockFilter { code: u16::from_ne_bytes([a, b]), jt, jf, k }
        };
        Ok(Program { flags: head.1, filter: instructions.iter().map(instruction).collect() })
    }
}

/// What runc answers to system calls that are newer than the profile.
const ENOSYS: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u16);

/// Compiles a profile for a machine of the `native` architecture ([`NATIVE`]).
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] or [`ErrorKind::Unsupported`] with the JSON pointer, for
/// - two rules for one call that contradict each other,
/// - an architecture without a table of numbers here, or of the other byte order,
/// - a profile that needs more than 4096 instructions.
pub fn compile(profile: &Seccomp, native: SeccompArch) -> Result<Program> {
    let flags = flags(profile);
    let abis = abis(profile, native)?;
    let rules = resolve(profile);
    // Jumps only go forward: a program that is written from its end knows all distances.
    // libseccomp's answer to an architecture that the profile does not name; runc does not change it.
    let mut program = vec![bpf::verdict(SeccompAction::KillThread)];
    for (at, abi) in abis.iter().enumerate().rev() {
        if abis[..at].iter().any(|earlier| earlier.audit == abi.audit) {
            continue;
        }
        let ranges = ranges(profile, &rules, abis.iter().filter(|other| other.audit == abi.audit))?;
        let end = program.len();
        search(&ranges, &mut program);
        program.push(LOAD_NUMBER);
        let length = program.len() - end;
        bpf::skip(&mut program, EQUAL, abi.audit, false, length);
    }
    program.push(LOAD_ARCH);
    program.reverse();
    if program.len() > MAX_INSTRUCTIONS {
        let reason = format!("needs {} instructions, the kernel takes {MAX_INSTRUCTIONS}", program.len());
        return Err(Error::unsupported("/linux/seccomp", reason));
    }
    Ok(Program { flags, filter: program })
}

/// The flags for seccomp(2).
fn flags(profile: &Seccomp) -> u32 {
    use libc::{
        SECCOMP_FILTER_FLAG_NEW_LISTENER as NEW_LISTENER, SECCOMP_FILTER_FLAG_SPEC_ALLOW as SPEC_ALLOW,
        SECCOMP_FILTER_FLAG_TSYNC as TSYNC, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as WAIT_KILLABLE_RECV,
    };
    // `spec` made sure that then there is a listenerPath, and that the default action and write(2) do not notify.
    let notifies = profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify);
    // The flags' type is c_ulong; the kernel's highest is 1 << 5.
    let mut flags = profile.flags.map_or(SPEC_ALLOW, u64::from);
    // The process that gets the filter has one thread: there is nothing to synchronize, and the kernel refuses this
    // flag together with NEW_LISTENER. runc drops it too.
    flags &= !TSYNC;
    if notifies {
        flags |= NEW_LISTENER;
    } else {
        // It qualifies the listener; without one the kernel refuses it.
        flags &= !WAIT_KILLABLE_RECV;
    }
    flags as u32
}

/// The architectures of the profile, each once. The native one always counts as listed (libseccomp).
fn abis(profile: &Seccomp, native: SeccompArch) -> Result<Vec<Abi>> {
    let Some(native) = Abi::new(native) else {
        return Err(Error::unsupported("/linux/seccomp", format_args!("there is no table for {native:?}")));
    };
    let mut abis = vec![native];
    for (at, &arch) in profile.architectures.iter().enumerate() {
        let refused = |why| Error::unsupported(format_args!("/linux/seccomp/architectures/{at}"), why);
        let abi = Abi::new(arch).ok_or_else(|| refused(format!("there is no table of system calls for {arch:?}")))?;
        if abi.little_endian() != native.little_endian() {
            return Err(refused(format!("{arch:?} has the other byte order than {:?}", native.arch)));
        }
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// One name of one rule, looked up.
struct Named<'a> {
    /// The rule's index in the profile.
    at: usize,
    name: &'a str,
    rule: &'a SeccompRule,
    numbers: Numbers,
    /// Where the call can be reached through a multiplexer too: that one's numbers, and the selecting argument.
    multiplexed: Option<(Numbers, u64)>,
}

/// Looks all names up. Names that no kernel knows are skipped, as libseccomp skips names newer than itself: engines
/// write profiles for all kernels.
fn resolve(profile: &Seccomp) -> Vec<Named<'_>> {
    let mut named = Vec::new();
    for (at, rule) in profile.syscalls.iter().enumerate() {
        for name in &rule.names {
            let Some(numbers) = Numbers::of(name) else { continue };
            let multiplexed = arch::multiplexed(name).and_then(|(by, call)| Some((Numbers::of(by)?, call)));
            named.push(Named { at, name, rule, numbers, multiplexed });
        }
    }
    named
}

/// What the program answers to all numbers from one on, up to the next range.
type Range = (u32, Block);

/// A block. Nearly all are of one instruction, and a profile names some hundred calls on each architecture: memory for each
/// would be most of what compiling costs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    Verdict(SockFilter),
    Tests(Vec<SockFilter>),
}

impl Block {
    fn instructions(&self) -> &[SockFilter] {
        match self {
            Block::Verdict(verdict) => std::slice::from_ref(verdict),
            Block::Tests(instructions) => instructions,
        }
    }
}

/// Answers all numbers from `start` on with `block`, up to the next push.
fn push(ranges: &mut Vec<Range>, start: u32, block: Block) {
    ranges.pop_if(|last| last.0 == start);
    if ranges.last().is_none_or(|last| last.1 != block) {
        ranges.push((start, block));
    }
}

/// All numbers of one audit value, which is one architecture's but for x86_64 and x32.
fn ranges<'a>(profile: &Seccomp, rules: &[Named<'_>], abis: impl Iterator<Item = &'a Abi>) -> Result<Vec<Range>> {
    let [default, enosys, kill] = [profile.default_action, ENOSYS, SeccompAction::KillThread].map(bpf::verdict);
    let (mut x86_64, mut x32, mut other) = (None, None, None);
    for abi in abis {
        match abi.arch {
            SeccompArch::X86_64 => x86_64 = Some(abi),
            SeccompArch::X32 => x32 = Some(abi),
            _ => other = Some(abi),
        }
    }
    let mut ranges = Vec::new();
    if let Some(&abi) = other {
        table(&mut ranges, 0, profile, rules, abi)?;
        return Ok(ranges);
    }
    // libseccomp takes every number from X32_BIT on for x32, runc's answer to new calls only looks at that one bit.
    let mut unknown = (None, None);
    match x86_64 {
        Some(&abi) if table(&mut ranges, 0, profile, rules, abi)? => unknown.0 = Some(enosys),
        Some(_) => {}
        None => push(&mut ranges, 0, Block::Verdict(kill)),
    }
    match x32 {
        Some(&abi) if table(&mut ranges, X32_BIT, profile, rules, abi)? => unknown.1 = Some(enosys),
        Some(_) => {}
        None => push(&mut ranges, X32_BIT, Block::Verdict(kill)),
    }
    let beyond = if x32.is_some() { default } else { kill };
    push(&mut ranges, 2 * X32_BIT, Block::Verdict(unknown.0.unwrap_or(beyond)));
    push(&mut ranges, 3 * X32_BIT, Block::Verdict(unknown.1.unwrap_or(beyond)));
    if x32.is_none() {
        // -1 is what a tracer writes to skip a call: no architecture's number.
        push(&mut ranges, u32::MAX, Block::Verdict(default));
    }
    Ok(ranges)
}

/// The numbers of one architecture, from `start` on. Tells whether the numbers behind its last one are answered with
/// ENOSYS.
///
/// runc does that to system calls that are newer than the profile: libraries try a new call and fall back on ENOSYS,
/// but not on EPERM. Newer means: above the highest number that the profile names on that architecture, for whatever
/// action. Not where the default lets calls pass, or leaves them to a tracer.
fn table(ranges: &mut Vec<Range>, start: u32, profile: &Seccomp, rules: &[Named<'_>], abi: Abi) -> Result<bool> {
    let default = bpf::verdict(profile.default_action);
    let mut calls: Vec<Call> = Vec::with_capacity(rules.len());
    let mut newest = 0;
    for named in rules {
        let number = named.numbers.on(abi);
        newest = newest.max(number.unwrap_or(0));
        if named.rule.action == profile.default_action {
            // Not only to save work: such a rule does not exempt its call from the other rules (runc).
            continue;
        }
        calls.extend(number.map(|number| Call { number, named, selector: None }));
        if let Some((numbers, call)) = named.multiplexed {
            calls.extend(numbers.on(abi).map(|number| Call { number, named, selector: Some(call) }));
        }
    }
    let permissive =
        matches!(profile.default_action, SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace(_));
    let stub = newest != 0 && !permissive;
    if stub {
        // A multiplexer that the profile does not name itself may lie behind its highest number. runc's answer to new
        // calls comes first there too.
        calls.retain(|call| call.number <= newest);
    }
    calls.sort_by_key(|call| call.number);
    push(ranges, start, Block::Verdict(default));
    if stub && abi.arch == SeccompArch::S390x {
        // A number that is too big for the instruction arrives in a register, with 0 in its place, and the 0 stays
        // where the kernel does not know the call.
        push(ranges, 0, Block::Verdict(bpf::verdict(ENOSYS)));
        push(ranges, 1, Block::Verdict(default));
    }
    for calls in calls.chunk_by(|a, b| a.number == b.number) {
        push(ranges, calls[0].number, answer(calls, default, abi)?);
        push(ranges, calls[0].number + 1, Block::Verdict(default));
    }
    if stub {
        push(ranges, newest + 1, Block::Verdict(bpf::verdict(ENOSYS)));
    }
    Ok(stub)
}

/// One rule's say in what a number is answered.
struct Call<'a> {
    number: u32,
    named: &'a Named<'a>,
    /// The number is a multiplexer's: the first argument must be this.
    selector: Option<u64>,
}

/// What is answered to one number, by all rules that name it, in the profile's order.
///
/// The first rule without conditions decides alone (libseccomp). Otherwise rules are tried in the order in which
/// libseccomp lays them out, which is not the profile's.
fn answer(calls: &[Call<'_>], default: SockFilter, abi: Abi) -> Result<Block> {
    let mut matches: Vec<(Vec<Condition>, SeccompAction)> = Vec::new();
    for Call { named, selector, .. } in calls {
        let args = &named.rule.args;
        // Conditions on one argument are alternatives, and then so are all of the rule (runc).
        let alternatives =
            args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
        let together = (!alternatives).then_some(args.as_slice());
        for args in together.into_iter().chain(args.chunks(1).filter(|_| alternatives)) {
            // The selector takes the place of a condition on the first argument: behind a multiplexer that argument is
            // in memory, where no filter sees it (libseccomp).
            let select = selector.map(|call| SeccompArg { index: 0, value: call, value_two: 0, op: SeccompOp::Equal });
            let args = args.iter().filter(|arg| select.is_none() || arg.index != 0).chain(&select);
            let mut conditions: Vec<Condition> = args.filter_map(|arg| Condition::new(arg, abi.wide)).collect();
            if conditions.is_empty() {
                return Ok(Block::Verdict(bpf::verdict(named.rule.action)));
            }
            conditions.sort_by_key(|condition| condition.index);
            let covers = |earlier: &(Vec<Condition>, SeccompAction)| {
                conditions.starts_with(&earlier.0)
                    && (earlier.0.len() < conditions.len() || earlier.1 == named.rule.action)
            };
            if matches.iter().any(covers) {
                // An earlier rule that asks for less answers first: this one is never asked (libseccomp drops it).
                continue;
            }
            if matches.iter().any(|earlier| earlier.1 != named.rule.action && earlier.0.starts_with(&conditions)) {
                let reason =
                    format!("contradicts an earlier rule for {}: equal conditions, another action", named.name);
                return Err(Error::refused(format_args!("/linux/seccomp/syscalls/{}", named.at), reason));
            }
            matches.push((conditions, named.rule.action));
        }
    }
    matches.sort_by(|a, b| precedence(&a.0, &b.0));
    Ok(matches.iter().rfold(Block::Verdict(default), |otherwise, (conditions, action)| {
        Block::Tests(bpf::rule(conditions, *action, abi.little_endian(), otherwise.instructions()))
    }))
}

/// Which of two rules is tried first: the one whose first argument is later; of equal ones that which tests for
/// equality, then that which sets an upper bound; of these the one with the greater datum, or the smaller upper bound.
/// Then the next condition decides.
fn precedence(a: &[Condition], b: &[Condition]) -> Ordering {
    let class = |op| match op {
        SeccompOp::Equal | SeccompOp::NotEqual | SeccompOp::MaskedEqual => 0,
        SeccompOp::LessThan | SeccompOp::LessOrEqual => 1,
        SeccompOp::GreaterThan | SeccompOp::GreaterOrEqual => 2,
    };
    let key = |condition: &Condition| {
        let datum = if class(condition.op) == 1 { condition.datum } else { !condition.datum };
        (Reverse(condition.index), class(condition.op), datum)
    };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// Writes the binary tree over `ranges`, a block, before a program that is written backwards.
fn search(ranges: &[Range], backwards: &mut Vec<SockFilter>) {
    match ranges {
        [] => {}
        [only] => backwards.extend(only.1.instructions().iter().rev()),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            search(above, backwards);
            let end = backwards.len();
            search(below, backwards);
            let length = backwards.len() - end;
            bpf::skip(backwards, GREATER_EQUAL, above[0].0, true, length);
        }
    }
}
