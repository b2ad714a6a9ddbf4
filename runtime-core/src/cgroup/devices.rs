//! Which devices a container may use: rules in, an access list out; the access list as writes for cgroup v1 or as an
//! eBPF program for v2.
//!
//! The rules of `config.json` are first run through a model of what the v1 device controller would make of them, as
//! runc does, on v2 as well: so the two mean the same, and a rule that v1 would silently not honour is refused.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use crate::spec::{Device, DeviceKind, DeviceRule};
use crate::sys::{self, BpfInsn, Errno};
use crate::{Error, Result};

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;
const ALL: u8 = READ | WRITE | MKNOD;

const POINTER: &str = "/linux/resources/devices";

/// Rules that every container has behind its own, so that they can't be taken away: engines rely on it (podman's
/// only rule is "deny all"). Where `linux.devices` lists the path, the default is left out, as runc does.
const DEFAULTS: [(&str, Target, u8); 11] = [
    ("", target('c', None, None), MKNOD),
    ("", target('b', None, None), MKNOD),
    ("/dev/null", target('c', Some(1), Some(3)), ALL),
    ("/dev/random", target('c', Some(1), Some(8)), ALL),
    ("/dev/full", target('c', Some(1), Some(7)), ALL),
    ("/dev/tty", target('c', Some(5), Some(0)), ALL),
    ("/dev/zero", target('c', Some(1), Some(5)), ALL),
    ("/dev/urandom", target('c', Some(1), Some(9)), ALL),
    ("", target('c', Some(136), None), ALL),  // pseudoterminals
    ("", target('c', Some(5), Some(2)), ALL), // /dev/ptmx
    // /dev/net/tun: runc 1.2.0 took it away, and 1.2.4 gave it back, as VPN clients in containers had been relying on it.
    ("", target('c', Some(10), Some(200)), ALL),
];

/// A set of devices. `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    major: Option<u32>,
    minor: Option<u32>,
    /// `b` or `c`.
    kind: char,
}

const fn target(kind: char, major: Option<u32>, minor: Option<u32>) -> Target {
    Target { major, minor, kind }
}

/// What the device controller holds: a default and the exceptions from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AccessList {
    allowed_by_default: bool,
    exceptions: BTreeMap<Target, u8>,
}

impl AccessList {
    /// The access list for `rules` alone.
    fn of(rules: &[DeviceRule]) -> Result<Self> {
        let mut list = AccessList::default();
        for (index, rule) in rules.iter().enumerate() {
            let pointer = format_args!("{POINTER}/{index}");
            let access = [(rule.read, READ), (rule.write, WRITE), (rule.mknod, MKNOD)];
            let access = access.into_iter().fold(0, |bits, (has, bit)| if has { bits | bit } else { bits });
            if access == 0 {
                return Err(Error::refused(format_args!("{pointer}/access"), "empty"));
            }
            let kind = match rule.kind {
                // "All devices" takes no numbers and no access: the kernel resets the list.
                None => {
                    list = AccessList { allowed_by_default: rule.allow, exceptions: BTreeMap::new() };
                    continue;
                }
                Some(DeviceKind::Char) => 'c',
                Some(DeviceKind::Block) => 'b',
                Some(DeviceKind::Fifo) => {
                    return Err(Error::refused(format_args!("{pointer}/type"), "a FIFO has no device rules"));
                }
            };
            list.apply(rule.allow, Target { major: rule.major, minor: rule.minor, kind }, access).map_err(|hole| {
                let reason = format!("can't make a hole in the wider rule `{hole}`: cgroup v1 would ignore it");
                Error::refused(pointer, reason)
            })?;
        }
        Ok(list)
    }

    /// The access list for `rules` and the default devices after them. `devices` are those of `linux.devices`.
    pub(super) fn new(rules: &[DeviceRule], devices: &[Device]) -> Result<Self> {
        let mut list = AccessList::of(rules)?;
        let replaced = |path: &str| devices.iter().any(|device| device.path.as_bytes() == path.as_bytes());
        for (path, target, access) in DEFAULTS {
            if path.is_empty() || !replaced(path) {
                list.apply(true, target, access).map_err(|hole| {
                    Error::refused(POINTER, format!("`{hole}` denies a device that is always allowed"))
                })?;
            }
        }
        Ok(list)
    }

    /// One rule: an exception is added, or taken away from. The error is the wider exception that stands in the way.
    fn apply(&mut self, allow: bool, target: Target, access: u8) -> std::result::Result<(), Exception> {
        if allow != self.allowed_by_default {
            *self.exceptions.entry(target).or_default() |= access;
            return Ok(());
        }
        let Target { major, minor, kind } = target;
        for (major, minor) in [(None, minor), (major, None), (None, None)] {
            let wider = Target { major, minor, kind };
            match self.exceptions.get(&wider) {
                Some(has) if wider != target && has & access != 0 => return Err(Exception(wider, *has)),
                _ => {}
            }
        }
        if let Some(has) = self.exceptions.get_mut(&target) {
            *has &= !access;
            if *has == 0 {
                self.exceptions.remove(&target);
            }
        }
        Ok(())
    }

    /// Whether all is allowed but the exceptions; otherwise they alone are.
    pub(super) fn allowed_by_default(&self) -> bool {
        self.allowed_by_default
    }

    /// The exceptions: kind (`b` or `c`), major, minor, access.
    pub(super) fn exceptions(&self) -> impl ExactSizeIterator<Item = (char, Option<u32>, Option<u32>, String)> {
        self.exceptions
            .iter()
            .map(|(Target { major, minor, kind }, access)| (*kind, *major, *minor, letters(*access).collect()))
    }

    /// The writes that bring a v1 device cgroup into this state, whatever it held before: file and value. The first
    /// one resets the list, so they are for a cgroup without processes.
    pub(super) fn writes(&self) -> impl Iterator<Item = (&'static str, String)> {
        let file = |allow: bool| if allow { "devices.allow" } else { "devices.deny" };
        let reset = (file(self.allowed_by_default), "a *:* rwm".to_owned());
        let exception = move |(target, access): (&Target, &u8)| {
            (file(!self.allowed_by_default), Exception(*target, *access).to_string())
        };
        std::iter::once(reset).chain(self.exceptions.iter().map(exception))
    }

    /// The program for a v2 cgroup, type `BPF_PROG_TYPE_CGROUP_DEVICE`.
    ///
    /// As few branches as there can be, because that is what loading it costs: the kernel's verifier walks both sides of
    /// each. An exact device is compared as one number, the kind once for all its exceptions, and there is one answer
    /// for all that match.
    pub(super) fn program(&self) -> Vec<BpfInsn> {
        // The context is `struct bpf_cgroup_dev_ctx { u32 access_type, major, minor }`; the low half of the first is
        // the type of the node, the high half the access.
        let mut program = vec![
            load(KIND, 0),
            BpfInsn::new(ALU | AND, KIND, 0, 0, 0xffff),
            load(ACCESS, 0),
            BpfInsn::new(ALU | SHIFT_RIGHT, ACCESS, 0, 0, 16),
            load(MAJOR, 4),
            load(MINOR, 8),
            BpfInsn::new(ALU_64 | MOVE | FROM_REGISTER, DEVICE, MAJOR, 0, 0),
            BpfInsn::new(ALU_64 | SHIFT_LEFT, DEVICE, 0, 0, 32),
            BpfInsn::new(ALU_64 | OR | FROM_REGISTER, DEVICE, MINOR, 0, 0),
        ];
        for (kind, number) in [('c', BPF_DEVCG_DEV_CHAR), ('b', BPF_DEVCG_DEV_BLOCK)] {
            let mut code = Vec::new();
            for (target, access) in self.exceptions.iter().filter(|(target, _)| target.kind == kind) {
                if exception(&mut code, *target, *access, !self.allowed_by_default) {
                    // What follows could never be reached, which the verifier refuses.
                    break;
                }
            }
            if !code.is_empty() {
                program.push(BpfInsn::new(JUMP_32 | IF_NOT_EQUAL, KIND, 0, code.len() as i16, number));
                program.append(&mut code);
            }
        }
        program.extend(answer(self.allowed_by_default));
        let matched = program.len();
        for (index, instruction) in program.iter_mut().enumerate() {
            if instruction.offset == MATCHED {
                instruction.offset = (matched - index - 1) as i16;
            }
        }
        if !self.exceptions.is_empty() {
            program.extend(answer(!self.allowed_by_default));
        }
        program
    }
}

/// An exception as the files of v1 take it: `c 1:3 rwm`.
#[derive(Debug)]
struct Exception(Target, u8);

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{} ", self.0.kind, number(self.0.major), number(self.0.minor))?;
        letters(self.1).try_for_each(|letter| f.write_char(letter))
    }
}

/// An access in the letters of v1 and of systemd.
fn letters(access: u8) -> impl Iterator<Item = char> {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter().filter(move |(bit, _)| access & bit != 0).map(|(_, c)| c)
}

// Operation codes, Documentation/bpf/standardization/instruction-set.rst. 32-bit jumps need kernel 5.1.
const LOAD_WORD: u8 = 0x61;
const LOAD_CONSTANT: u8 = 0x18;
const ALU: u8 = 0x04;
const ALU_64: u8 = 0x07;
const JUMP: u8 = 0x05;
const JUMP_32: u8 = 0x06;
const FROM_REGISTER: u8 = 0x08;
const AND: u8 = 0x50;
const OR: u8 = 0x40;
const SHIFT_LEFT: u8 = 0x60;
const SHIFT_RIGHT: u8 = 0x70;
const MOVE: u8 = 0xb0;
const ALWAYS: u8 = 0x00;
const IF_EQUAL: u8 = 0x10;
const IF_NOT_EQUAL: u8 = 0x50;
const IF_ANY_BIT: u8 = 0x40;
const EXIT: u8 = 0x95;

// Registers: the result, the argument, and ours.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// The major number in the upper half, the minor one in the lower.
const DEVICE: u8 = 6;
const WANTED: u8 = 7;

// <linux/bpf.h>
const BPF_DEVCG_ACC_MKNOD: i32 = 1;
const BPF_DEVCG_ACC_READ: i32 = 2;
const BPF_DEVCG_ACC_WRITE: i32 = 4;
const BPF_DEVCG_DEV_BLOCK: i32 = 1;
const BPF_DEVCG_DEV_CHAR: i32 = 2;

/// The offset of a jump to the answer for what an exception matches, until the program's length is known. No other jump
/// is as long.
const MATCHED: i16 = i16::MAX;

const fn load(register: u8, offset: i16) -> BpfInsn {
    BpfInsn::new(LOAD_WORD, register, CONTEXT, offset, 0)
}

fn answer(allow: bool) -> [BpfInsn; 2] {
    [BpfInsn::new(ALU | MOVE, RESULT, 0, 0, i32::from(allow)), BpfInsn::new(EXIT, 0, 0, 0, 0)]
}

/// Adds the instructions that jump to [`MATCHED`] for what the exception matches, of devices of its kind, and fall through
/// for the rest. True: nothing falls through.
fn exception(code: &mut Vec<BpfInsn>, target: Target, access: u8, allow: bool) -> bool {
    let bits = [(READ, BPF_DEVCG_ACC_READ), (WRITE, BPF_DEVCG_ACC_WRITE), (MKNOD, BPF_DEVCG_ACC_MKNOD)];
    let bits = bits.into_iter().fold(0, |all, (bit, kernel)| if access & bit != 0 { all | kernel } else { all });
    let all = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
    let if_number =
        |register, number: u32| BpfInsn::new(JUMP_32 | IF_EQUAL, register, 0, MATCHED, number.cast_signed());
    let is_device: &[BpfInsn] = match (target.major, target.minor) {
        (Some(major), Some(minor)) => &[
            // A constant of 64 bits takes two places.
            BpfInsn::new(LOAD_CONSTANT, WANTED, 0, 0, minor.cast_signed()),
            BpfInsn::new(0, 0, 0, 0, major.cast_signed()),
            BpfInsn::new(JUMP | IF_EQUAL | FROM_REGISTER, DEVICE, WANTED, MATCHED, 0),
        ],
        (Some(major), None) => &[if_number(MAJOR, major)],
        (None, Some(minor)) => &[if_number(MINOR, minor)],
        (None, None) => &[BpfInsn::new(JUMP | ALWAYS, 0, 0, MATCHED, 0)],
    };
    let length = is_device.len() as i16;
    if bits != all {
        if allow {
            // All of what is asked for must be allowed: open(2) with O_RDWR asks for two at once.
            code.push(BpfInsn::new(JUMP_32 | IF_ANY_BIT, ACCESS, 0, length, all & !bits));
        } else {
            // Any of it suffices to deny. (runc's program wants all of it, so that a denied write still passes as
            // O_RDWR; the v1 controller does not, and neither do we.)
            code.push(BpfInsn::new(JUMP_32 | IF_ANY_BIT, ACCESS, 0, 1, bits));
            code.push(BpfInsn::new(JUMP | ALWAYS, 0, 0, length, 0));
        }
    }
    code.extend_from_slice(is_device);
    bits == all && target.major.is_none() && target.minor.is_none()
}

/// Loads a program and makes it the only one of this cgroup. What was attached before (by an earlier container in a
/// directory that was left behind, or by an earlier call) is replaced in one step where it is one program: so there
/// is no instant without rules, and none with both.
pub(super) fn attach(dir: BorrowedFd<'_>, program: &[BpfInsn], fresh: bool) -> std::result::Result<(), Errno> {
    let program = sys::bpf_load_device_program(program, c"Apache-2.0")?;
    if fresh {
        return sys::bpf_attach_device_program(dir, program.as_fd(), None);
    }
    let mut ids = [0; 64];
    let count = sys::bpf_query_device_programs(dir, &mut ids)?;
    let mut before = Vec::new();
    for id in &ids[..count] {
        match sys::bpf_program_by_id(*id) {
            Ok(fd) => before.push(fd),
            // Freed by now, or somebody else's under a strict LSM policy. One more program only restricts further.
            Err(Errno(libc::ENOENT | libc::EPERM | libc::EACCES)) => {}
            Err(errno) => return Err(errno),
        }
    }
    match before.as_slice() {
        [one] => sys::bpf_attach_device_program(dir, program.as_fd(), Some(one.as_fd())),
        others => {
            sys::bpf_attach_device_program(dir, program.as_fd(), None)?;
            others.iter().try_for_each(|other| sys::bpf_detach_device_program(dir, other.as_fd()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+c 1:3 rwm` allows, `-a` denies all.
    fn rule(text: &str) -> DeviceRule {
        let fields: Vec<_> = text[1..].split([' ', ':']).collect();
        let access = fields.get(3).unwrap_or(&"rwm");
        let number = |i: usize| fields.get(i).and_then(|n| n.parse().ok());
        DeviceRule {
            allow: text.starts_with('+'),
            kind: match fields[0] {
                "c" => Some(DeviceKind::Char),
                "b" => Some(DeviceKind::Block),
                _ => None,
            },
            major: number(1),
            minor: number(2),
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }

    fn list(rules: &[&str]) -> std::result::Result<AccessList, String> {
        let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
        AccessList::of(&rules).map_err(|e| e.to_string())
    }

    #[test]
    fn rules_become_the_least_writes() {
        let check = |rules: &[&str], expect: Result<&[&str], &str>| {
            let writes = list(rules).map(|list| {
                list.writes()
                    .map(|(file, value)| format!("{}{value}", if file.ends_with("allow") { '+' } else { '-' }))
                    .collect::<Vec<_>>()
            });
            let expect = expect.map(|w| w.iter().map(ToString::to_string).collect()).map_err(str::to_owned);
            assert_eq!(writes, expect, "{rules:?}");
        };
        type Result<T, E> = std::result::Result<T, E>;
        check(&[], Ok(&["-a *:* rwm"]));
        check(&["+a"], Ok(&["+a *:* rwm"]));
        check(&["+c 1:3 rwm", "-a"], Ok(&["-a *:* rwm"]));
        check(&["-a", "+c 1:3 rw", "+c 1:3 m", "+b 8:* r"], Ok(&["-a *:* rwm", "+c 1:3 rwm", "+b 8:* r"]));
        check(&["-a", "-c 10:229 rwm"], Ok(&["-a *:* rwm"]));
        check(&["-a", "+c 1:3 rwm", "-c 1:3 wm"], Ok(&["-a *:* rwm", "+c 1:3 r"]));
        check(&["-a", "+c 1:3 rwm", "-c 1:3 rwm"], Ok(&["-a *:* rwm"]));
        check(
            &["-a", "+c 10:* rwm", "-c 10:229 w"],
            Err(
                "/linux/resources/devices/2: can't make a hole in the wider rule `c 10:* rwm`: cgroup v1 would ignore it",
            ),
        );
        check(&["-a", "+c *:* m", "-c 10:229 w"], Ok(&["-a *:* rwm", "+c *:* m"]));
        check(&["+a", "-c 10:229 w"], Ok(&["+a *:* rwm", "-c 10:229 w"]));
        check(
            &["+a", "-c 10:* w", "+c 10:229 w"],
            Err(
                "/linux/resources/devices/2: can't make a hole in the wider rule `c 10:* w`: cgroup v1 would ignore it",
            ),
        );
        // Sorted by numbers with "all" first, then by type, as runc writes them.
        check(
            &["-a", "+c 5:2 r", "+b 5:2 r", "+c 5:* r", "+c *:* m", "+b *:* m"],
            Ok(&["-a *:* rwm", "+b *:* m", "+c *:* m", "+c 5:* r", "+b 5:2 r", "+c 5:2 r"]),
        );
    }

    #[test]
    fn default_devices_follow_the_rules() {
        let null = Device {
            path: c"/dev/null".into(),
            kind: DeviceKind::Char,
            major: 1,
            minor: 3,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        let count = |rules: &[&str], devices: &[Device]| {
            let rules: Vec<_> = rules.iter().map(|text| rule(text)).collect();
            AccessList::new(&rules, devices).map(|list| list.exceptions.len()).map_err(|e| e.to_string())
        };
        assert_eq!(count(&[], &[]), Ok(11));
        assert_eq!(count(&["-a", "-c 1:3 rwm"], &[]), Ok(11));
        assert_eq!(count(&["-a"], &[null]), Ok(10));
        assert_eq!(count(&["+a"], &[]), Ok(0));
        let empty = "/linux/resources/devices/0/access: empty";
        assert_eq!(count(&["-c 1:3 x"], &[]), Err(empty.into()));
        let hole =
            "/linux/resources/devices/2: can't make a hole in the wider rule `c 10:* rwm`: cgroup v1 would ignore it";
        assert_eq!(count(&["-a", "+c 10:* rwm", "-c 10:229 w"], &[]), Err(hole.into()));
    }

    #[test]
    fn programs_are_compiled() {
        let head = [
            BpfInsn::new(0x61, 2, 1, 0, 0),
            BpfInsn::new(0x54, 2, 0, 0, 0xffff),
            BpfInsn::new(0x61, 3, 1, 0, 0),
            BpfInsn::new(0x74, 3, 0, 0, 16),
            BpfInsn::new(0x61, 4, 1, 4, 0),
            BpfInsn::new(0x61, 5, 1, 8, 0),
            BpfInsn::new(0xbf, 6, 4, 0, 0),
            BpfInsn::new(0x67, 6, 0, 0, 32),
            BpfInsn::new(0x4f, 6, 5, 0, 0),
        ];
        let check = |rules: &[&str], tail: &[BpfInsn]| {
            assert_eq!(list(rules).unwrap().program(), [&head, tail].concat(), "{rules:?}");
        };
        let deny = [BpfInsn::new(0xb4, 0, 0, 0, 0), BpfInsn::new(0x95, 0, 0, 0, 0)];
        let allow = [BpfInsn::new(0xb4, 0, 0, 0, 1), BpfInsn::new(0x95, 0, 0, 0, 0)];
        check(&["-a"], &deny);
        check(&["+a"], &allow);
        check(
            &["-a", "+c 1:3 rwm"],
            &[
                &[
                    BpfInsn::new(0x56, 2, 0, 3, 2),
                    BpfInsn::new(0x18, 7, 0, 0, 3),
                    BpfInsn::new(0, 0, 0, 0, 1),
                    BpfInsn::new(0x1d, 6, 7, 2, 0),
                ][..],
                &deny,
                &allow,
            ]
            .concat(),
        );
        check(
            &["-a", "+b 8:* r"],
            &[
                &[BpfInsn::new(0x56, 2, 0, 2, 1), BpfInsn::new(0x46, 3, 0, 1, 5), BpfInsn::new(0x16, 4, 0, 2, 8)][..],
                &deny,
                &allow,
            ]
            .concat(),
        );
        // What is behind "all" is nowhere.
        check(
            &["+a", "-c *:* rwm", "-c 1:3 rwm"],
            &[&[BpfInsn::new(0x56, 2, 0, 1, 2), BpfInsn::new(0x05, 0, 0, 2, 0)][..], &allow, &deny].concat(),
        );
    }

    /// An interpreter of the instructions that we use.
    fn run(program: &[BpfInsn], context: [u32; 3]) -> u32 {
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            at += 1;
            let (d, imm) = (i.destination() as usize, i.immediate.cast_unsigned());
            let (low, other) = (registers[d] as u32, registers[i.source() as usize]);
            let (result, jump) = match i.code {
                0x61 => (context[i.offset as usize / 4].into(), false),
                0x18 => {
                    at += 1;
                    (u64::from(program[at - 1].immediate.cast_unsigned()) << 32 | u64::from(imm), false)
                }
                0x54 => ((low & imm).into(), false),
                0x74 => ((low >> imm).into(), false),
                0xb4 => (imm.into(), false),
                0xbf => (other, false),
                0x67 => (registers[d] << imm, false),
                0x4f => (registers[d] | other, false),
                0x05 => (registers[d], true),
                0x16 => (registers[d], low == imm),
                0x56 => (registers[d], low != imm),
                0x46 => (registers[d], low & imm != 0),
                0x1d => (registers[d], registers[d] == other),
                0x95 => return registers[0] as u32,
                code => panic!("instruction {code:#x}"),
            };
            registers[d] = result;
            if jump {
                at += i.offset as usize;
            }
        }
    }

    /// What the v1 controller answers, security/device_cgroup.c.
    fn v1_allows(list: &AccessList, kind: char, major: u32, minor: u32, access: u8) -> bool {
        let matches = |(target, has): (&Target, &u8)| {
            target.kind == kind
                && target.major.is_none_or(|m| m == major)
                && target.minor.is_none_or(|m| m == minor)
                && if list.allowed_by_default { has & access != 0 } else { access & !has == 0 }
        };
        list.exceptions.iter().any(matches) != list.allowed_by_default
    }

    #[test]
    fn programs_answer_as_the_v1_controller() {
        let lists = [
            &["-a"][..],
            &["-a", "+c 1:3 rw", "+c 1:5 r", "+b *:* m", "+c 136:* rwm", "+b 8:0 w"],
            &["+a", "-c 1:3 w", "-b *:* m", "-c *:229 r", "-b 4294967295:8 rwm"],
            &["-a", "+c *:3 m", "+b 4294967295:* rw"],
            &["-a", "+c 1:3 rwm", "+c 4294967295:4294967295 rwm", "+c *:* rwm", "+b 8:1 rwm"],
            &["+a", "-b *:* rwm", "-b 8:1 w", "-c 5:5 rwm"],
        ];
        let numbers = [0, 1, 3, 5, 8, 136, 229, u32::MAX];
        for rules in lists {
            let list = list(rules).unwrap();
            let program = list.program();
            for (kind, kernel_kind) in [('b', BPF_DEVCG_DEV_BLOCK), ('c', BPF_DEVCG_DEV_CHAR)] {
                for major in numbers {
                    for minor in numbers {
                        for access in 1..=ALL {
                            let kernel_access = (access >> 2) | (access & 3) << 1;
                            let context = [u32::from(kernel_access) << 16 | kernel_kind.cast_unsigned(), major, minor];
                            assert_eq!(
                                run(&program, context) == 1,
                                v1_allows(&list, kind, major, minor, access),
                                "{rules:?}: {kind} {major}:{minor} {access}"
                            );
                        }
                    }
                }
            }
        }
    }

    /// The kernel's v1 device controller (security/device_cgroup.c), as it is written there: a behaviour and a list of
    /// exceptions that is searched from its beginning. A `*` is `u32::MAX`.
    #[derive(Default)]
    struct Controller {
        allow: bool,
        exceptions: Vec<(char, [u32; 2], u8)>,
    }

    impl Controller {
        fn write(&mut self, allow: bool, rule: &DeviceRule) {
            let Some(kind) = rule.kind else {
                *self = Controller { allow, exceptions: Vec::new() };
                return;
            };
            let kind = if kind == DeviceKind::Block { 'b' } else { 'c' };
            let numbers = [rule.major, rule.minor].map(|n| n.unwrap_or(u32::MAX));
            let access = u8::from(rule.read) | u8::from(rule.write) << 1 | u8::from(rule.mknod) << 2;
            let same = self.exceptions.iter().position(|(k, n, _)| (*k, *n) == (kind, numbers));
            match (same, allow == self.allow) {
                (Some(at), false) => self.exceptions[at].2 |= access,
                (None, false) => self.exceptions.push((kind, numbers, access)),
                (Some(at), true) => {
                    self.exceptions[at].2 &= !access;
                    self.exceptions.retain(|(.., access)| *access != 0);
                }
                (None, true) => {}
            }
        }

        /// Whether a rule would take something out of the middle of a wider exception, which the kernel ignores without a
        /// word and runc refuses.
        fn makes_a_hole(&self, rule: &DeviceRule) -> bool {
            let kind = match rule.kind {
                None => return false,
                Some(DeviceKind::Block) => 'b',
                Some(_) => 'c',
            };
            let numbers = [rule.major, rule.minor].map(|n| n.unwrap_or(u32::MAX));
            let access = u8::from(rule.read) | u8::from(rule.write) << 1 | u8::from(rule.mknod) << 2;
            rule.allow == self.allow
                && self.exceptions.iter().any(|(k, n, has)| {
                    let wider = (0..2).all(|i| n[i] == numbers[i] || n[i] == u32::MAX) && *n != numbers;
                    *k == kind && wider && has & access != 0
                })
        }

        fn permits(&self, kind: char, numbers: [u32; 2], access: u8) -> bool {
            let found = self.exceptions.iter().any(|(k, n, has)| {
                let matches = *k == kind && (0..2).all(|i| n[i] == u32::MAX || n[i] == numbers[i]);
                // Partially where exceptions deny, as a whole where they allow.
                matches && if self.allow { access & has != 0 } else { access & !has == 0 }
            });
            found != self.allow
        }
    }

    /// Numbers that are the same in each run (xorshift64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }

        fn rule(&mut self) -> DeviceRule {
            // Few numbers, so that rules meet.
            let number = |r: &mut Random| [None, Some(1), Some(2), Some(3)][r.below(4) as usize];
            let kind = match self.below(8) {
                0 => None,
                1..=3 => Some(DeviceKind::Block),
                _ => Some(DeviceKind::Char),
            };
            let (major, minor, access) = (number(self), number(self), 1 + self.below(7));
            let [read, write, mknod] = [READ, WRITE, MKNOD].map(|bit| access as u8 & bit != 0);
            DeviceRule { allow: self.below(2) == 0, kind, major, minor, read, write, mknod }
        }
    }

    /// 4,000 lists of rules, each with all questions that can be asked: the program, and the writes for v1, against what
    /// the kernel's own controller would make of the rules as they are.
    #[test]
    fn lists_of_rules_mean_what_they_mean_to_the_kernel() {
        let mut random = Random(0x0bad_5eed);
        let (mut refused, mut asked) = (0, 0);
        for _ in 0..4000 {
            let rules: Vec<_> = (0..random.below(9)).map(|_| random.rule()).collect();
            let mut controller = Controller::default();
            let mut hole = false;
            for rule in &rules {
                hole |= controller.makes_a_hole(rule);
                controller.write(rule.allow, rule);
            }
            let list = match AccessList::of(&rules) {
                Ok(list) => list,
                Err(error) => {
                    assert!(hole, "{error}: {rules:?}");
                    refused += 1;
                    continue;
                }
            };
            assert!(!hole, "{rules:?}");
            let mut written = Controller { allow: true, ..Controller::default() };
            for (file, value) in list.writes() {
                let allow = file == "devices.allow";
                written.write(allow, &rule(&format!("{}{value}", if allow { '+' } else { '-' })));
            }
            let program = list.program();
            for (kind, kernel_kind) in [('b', BPF_DEVCG_DEV_BLOCK), ('c', BPF_DEVCG_DEV_CHAR)] {
                for (major, minor) in (0..=4).flat_map(|major| (0..=4).map(move |minor| (major, minor))) {
                    for access in 1..=ALL {
                        let kernel_access = (access >> 2) | (access & 3) << 1;
                        let context = [u32::from(kernel_access) << 16 | kernel_kind.cast_unsigned(), major, minor];
                        let expect = controller.permits(kind, [major, minor], access);
                        let what = || format!("{rules:?}: {kind} {major}:{minor} {access}");
                        assert_eq!(run(&program, context) == 1, expect, "{}", what());
                        assert_eq!(written.permits(kind, [major, minor], access), expect, "{}", what());
                        asked += 1;
                    }
                }
            }
        }
        assert!(refused > 200 && asked > 500_000, "{refused} lists refused, {asked} questions asked");
    }
}
