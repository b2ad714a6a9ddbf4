//! Pieces of classic BPF.
//!
//! A *block* is a run of instructions that ends in a verdict on every way through it and jumps nowhere outside itself,
//! so blocks can be put anywhere and nested. Only [`skip`] and [`rule`] make jumps.

use crate::spec::{SeccompAction, SeccompArg, SeccompOp};
use crate::sys::SockFilter;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data` (`linux/seccomp.h`).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const fn instruction(code: u16, k: u32) -> SockFilter {
    SockFilter { code, jt: 0, jf: 0, k }
}

/// Loads the number of the system call.
pub(super) const LOAD_NUMBER: SockFilter = instruction(LOAD, NUMBER);
/// Loads the architecture of the caller.
pub(super) const LOAD_ARCH: SockFilter = instruction(LOAD, ARCH);

/// Ends the program with a verdict.
pub(super) const fn verdict(action: SeccompAction) -> SockFilter {
    let value = match action {
        SeccompAction::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        SeccompAction::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        SeccompAction::Trap => libc::SECCOMP_RET_TRAP,
        SeccompAction::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        SeccompAction::Trace(message) => libc::SECCOMP_RET_TRACE | message as u32,
        SeccompAction::Allow => libc::SECCOMP_RET_ALLOW,
        SeccompAction::Log => libc::SECCOMP_RET_LOG,
        SeccompAction::Notify => libc::SECCOMP_RET_USER_NOTIF,
    };
    instruction(RETURN, value)
}

/// Puts a test before a program that is written backwards: when its outcome, for what was loaded and `k`, is `when`,
/// the next `distance` instructions are skipped.
pub(super) fn skip(backwards: &mut Vec<SockFilter>, test: u16, k: u32, when: bool, distance: usize) {
    let to = |distance| if when { (distance, 0) } else { (0, distance) };
    match u8::try_from(distance) {
        Ok(distance) => {
            let (jt, jf) = to(distance);
            backwards.push(SockFilter { code: test, jt, jf, k });
        }
        // A conditional jump reaches 255 instructions, an unconditional one all: the other outcome jumps over that.
        Err(_) => {
            let (jf, jt) = to(1);
            backwards.push(instruction(JUMP, distance as u32));
            backwards.push(SockFilter { code: test, jt, jf, k });
        }
    }
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u8,
    pub(super) op: SeccompOp,
    /// With the mask: all bits that count.
    pub(super) mask: u64,
    pub(super) datum: u64,
}

impl Condition {
    /// `None`: it holds for every argument. On a narrow architecture only the lower 32 bits count, of both sides.
    pub(super) fn new(arg: &SeccompArg, wide: bool) -> Option<Condition> {
        let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
        let (mask, datum) = match arg.op {
            SeccompOp::MaskedEqual => (arg.value & width, arg.value_two),
            _ => (width, arg.value),
        };
        (mask != 0).then_some(Condition { index: arg.index, op: arg.op, mask, datum: datum & mask })
    }
}

/// Where a test of a condition leads.
#[derive(Clone, Copy)]
enum To {
    /// To the next instruction.
    Next,
    /// Behind this condition: it holds.
    Hold,
    /// Behind the rule: it does not match.
    Miss,
}

/// The block that answers `action` where all conditions hold, else goes on with `otherwise`.
pub(super) fn rule(
    conditions: &[Condition],
    action: SeccompAction,
    little_endian: bool,
    otherwise: &[SockFilter],
) -> Vec<SockFilter> {
    use To::{Hold, Miss, Next};
    let mut block = Vec::new();
    let mut misses = Vec::new();
    for condition in conditions {
        // Classic BPF compares 32 bits: the upper half decides alone, or leaves it to the lower half.
        type Test = (u16, To, To);
        let (high, low): (&[Test], Test) = match condition.op {
            SeccompOp::Equal | SeccompOp::MaskedEqual => (&[(EQUAL, Next, Miss)], (EQUAL, Next, Miss)),
            SeccompOp::NotEqual => (&[(EQUAL, Next, Hold)], (EQUAL, Miss, Next)),
            SeccompOp::GreaterThan => (&[(GREATER, Hold, Next), (EQUAL, Next, Miss)], (GREATER, Next, Miss)),
            SeccompOp::GreaterOrEqual => (&[(GREATER, Hold, Next), (EQUAL, Next, Miss)], (GREATER_EQUAL, Next, Miss)),
            SeccompOp::LessThan => (&[(GREATER, Miss, Next), (EQUAL, Next, Hold)], (GREATER_EQUAL, Miss, Next)),
            SeccompOp::LessOrEqual => (&[(GREATER, Miss, Next), (EQUAL, Next, Hold)], (GREATER, Miss, Next)),
        };
        let argument = ARGUMENTS + 8 * u32::from(condition.index);
        let mut holds = Vec::new();
        for (tests, shift, big_endian_offset) in [(high, 32, 0), (&[low], 0, 4)] {
            let (mask, datum) = ((condition.mask >> shift) as u32, (condition.datum >> shift) as u32);
            if mask == 0 {
                continue;
            }
            block.push(instruction(
                LOAD,
                argument + if little_endian { 4 - big_endian_offset } else { big_endian_offset },
            ));
            if mask != u32::MAX {
                block.push(instruction(AND, mask));
            }
            for &(code, yes, no) in tests {
                for (to, when) in [(yes, true), (no, false)] {
                    match to {
                        Next => {}
                        Hold => holds.push((block.len(), when)),
                        Miss => misses.push((block.len(), when)),
                    }
                }
                block.push(instruction(code, datum));
            }
        }
        land(&mut block, &holds);
    }
    block.push(verdict(action));
    land(&mut block, &misses);
    block.extend_from_slice(otherwise);
    block
}

/// Lets jumps, each an instruction and which of its outcomes, lead to the block's end. A rule has at most six
/// conditions of seven instructions: the distance always fits.
fn land(block: &mut [SockFilter], jumps: &[(usize, bool)]) {
    for &(at, when) in jumps {
        let distance = (block.len() - at - 1) as u8;
        if when {
            block[at].jt = distance;
        } else {
            block[at].jf = distance;
        }
    }
}
