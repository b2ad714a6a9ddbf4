//! bpf(2), as far as device programs of cgroup v2 need it.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Errno, Result, call, call_fd, raw};

const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const BPF_PROG_DETACH: usize = 9;
const BPF_PROG_GET_FD_BY_ID: usize = 13;
const BPF_PROG_QUERY: usize = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// One instruction of eBPF, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfInsn {
    /// Class, operation and source of the operand.
    pub code: u8,
    registers: u8,
    /// Offset of a jump (in instructions, from the next one) or of a memory access (in bytes).
    pub offset: i16,
    /// The immediate operand.
    pub immediate: i32,
}

impl BpfInsn {
    /// An instruction with the registers `destination` and `source` (0 to 10).
    #[must_use]
    pub const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        // Two bit fields of one byte: their order is that of the machine's bytes.
        let registers =
            if cfg!(target_endian = "little") { destination | source << 4 } else { destination << 4 | source };
        BpfInsn { code, registers, offset, immediate }
    }

    /// The destination register.
    #[must_use]
    pub const fn destination(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers & 15 } else { self.registers >> 4 }
    }

    /// The source register.
    #[must_use]
    pub const fn source(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers >> 4 } else { self.registers & 15 }
    }
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` (kernel 4.15).
pub fn bpf_load_device_program(program: &[BpfInsn], license: &CStr) -> Result<OwnedFd> {
    /// The head of `union bpf_attr` for BPF_PROG_LOAD.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
    }
    let attr = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"orlop_devices\0\0\0",
    };
    // The verifier gives up, with EAGAIN, when a signal is pending, also one that stops the process or that it ignores.
    for _ in 0..10_000 {
        // SAFETY: `attr`, the program and the license outlive the call; the result is a new descriptor.
        match unsafe { call_fd(libc::SYS_bpf, [BPF_PROG_LOAD, &raw const attr as usize, size_of::<Load>(), 0, 0, 0]) } {
            Err(Errno(libc::EAGAIN)) => {}
            result => return result,
        }
    }
    Err(Errno(libc::EAGAIN))
}

/// The head of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// Attaches a device program to a cgroup v2 directory: beside those that are there, or in one step in the place of
/// `replaced` (kernel 5.6).
pub fn bpf_attach_device_program(
    dir: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let attr = Attach {
        target: raw(dir) as u32,
        program: raw(program) as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 },
        replaced: replaced.map_or(0, |fd| raw(fd) as u32),
    };
    // SAFETY: `attr` outlives the call.
    unsafe { call(libc::SYS_bpf, [BPF_PROG_ATTACH, &raw const attr as usize, size_of::<Attach>(), 0, 0, 0]) }.map(drop)
}

/// Detaches a device program from a cgroup v2 directory.
pub fn bpf_detach_device_program(dir: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let attr = Attach {
        target: raw(dir) as u32,
        program: raw(program) as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    // SAFETY: `attr` outlives the call.
    unsafe { call(libc::SYS_bpf, [BPF_PROG_DETACH, &raw const attr as usize, size_of::<Attach>(), 0, 0, 0]) }.map(drop)
}

/// The ids of the device programs attached to a cgroup v2 directory itself. The kernel allows at most 64 of them.
pub fn bpf_query_device_programs(dir: BorrowedFd<'_>, ids: &mut [u32; 64]) -> Result<usize> {
    /// The head of `union bpf_attr` for BPF_PROG_QUERY.
    #[repr(C)]
    struct Query {
        target: u32,
        kind: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
    }
    let mut attr = Query {
        target: raw(dir) as u32,
        kind: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
    };
    // SAFETY: `attr` and `ids` outlive the call, `count` says how many ids fit.
    unsafe { call(libc::SYS_bpf, [BPF_PROG_QUERY, &raw mut attr as usize, size_of::<Query>(), 0, 0, 0]) }?;
    Ok(attr.count as usize)
}

/// A descriptor of the program with this id. ENOENT: it was freed in the meantime.
pub fn bpf_program_by_id(id: u32) -> Result<OwnedFd> {
    /// The head of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID.
    #[repr(C)]
    struct ById {
        id: u32,
        next: u32,
        flags: u32,
    }
    let attr = ById { id, next: 0, flags: 0 };
    // SAFETY: `attr` outlives the call; the result is a new descriptor.
    unsafe { call_fd(libc::SYS_bpf, [BPF_PROG_GET_FD_BY_ID, &raw const attr as usize, size_of::<ById>(), 0, 0, 0]) }
}
