//! The architectures: how the kernel names them to a filter, and the numbers of their system calls.
//!
//! The numbers come from the crate `syscalls` (made from the kernel's tables). They are laid out when the program is
//! compiled: all names once, sorted, in one text, and beside each name its number on every architecture. So a profile's
//! name is looked up once for all its architectures, and the table holds no pointer that a static binary would have
//! to relocate at every start.

use crate::spec::SeccompArch;

/// The architecture that this library was compiled for.
pub const NATIVE: SeccompArch = if cfg!(target_arch = "x86_64") {
    SeccompArch::X86_64
} else if cfg!(target_arch = "aarch64") {
    SeccompArch::Aarch64
} else if cfg!(target_arch = "riscv64") {
    SeccompArch::Riscv64
} else if cfg!(target_arch = "s390x") {
    SeccompArch::S390x
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    SeccompArch::Ppc64le
} else if cfg!(target_arch = "powerpc64") {
    SeccompArch::Ppc64
} else if cfg!(target_arch = "loongarch64") {
    SeccompArch::LoongArch64
} else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
    SeccompArch::Mipsel64
} else if cfg!(target_arch = "mips64") {
    SeccompArch::Mips64
} else if cfg!(target_arch = "x86") {
    SeccompArch::X86
} else if cfg!(target_arch = "arm") {
    SeccompArch::Arm
} else {
    panic!("no table of system calls for this architecture")
};

/// x32 shares the audit value of x86_64; this bit of the number tells its calls apart (`asm/unistd.h`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// One architecture, as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abi {
    pub(super) arch: SeccompArch,
    /// `AUDIT_ARCH_*` (`linux/audit.h`): the `arch` of `struct seccomp_data`.
    pub(super) audit: u32,
    /// Conditions compare all 64 bits of an argument. x32 compares 32, as libseccomp does.
    pub(super) wide: bool,
    column: usize,
}

impl Abi {
    /// `None`: there is no table for it.
    pub(super) fn new(arch: SeccompArch) -> Option<Abi> {
        use SeccompArch as A;
        let (audit, column) = match arch {
            A::X86_64 => (0xc000_003e, 0),
            A::X86 => (0x4000_0003, 1),
            A::X32 => (0xc000_003e, 2),
            A::Arm => (0x4000_0028, 3),
            A::Aarch64 => (0xc000_00b7, 4),
            A::Riscv64 => (0xc000_00f3, 5),
            A::LoongArch64 => (0xc000_0102, 6),
            A::S390x => (0x8000_0016, 7),
            A::Mips => (0x0000_0008, 8),
            A::Mipsel => (0x4000_0008, 8),
            A::Mips64 => (0x8000_0008, 9),
            A::Mipsel64 => (0xc000_0008, 9),
            A::Ppc => (0x0000_0014, 10),
            A::Ppc64 => (0x8000_0015, 11),
            A::Ppc64le => (0xc000_0015, 11),
            A::Mips64N32 | A::Mipsel64N32 | A::S390 | A::Parisc | A::Parisc64 | A::M68k | A::Sh | A::Sheb => {
                return None;
            }
        };
        Some(Abi { arch, audit, wide: audit & 0x8000_0000 != 0 && arch != A::X32, column })
    }

    /// `__AUDIT_ARCH_LE`: which half of an argument lies first in memory.
    pub(super) fn little_endian(self) -> bool {
        self.audit & 0x4000_0000 != 0
    }
}

/// A system call's numbers, one for each architecture that has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers(&'static [u32; COLUMNS]);

impl Numbers {
    /// Looks a name up. `None`: no architecture has it.
    pub(super) fn of(name: &str) -> Option<Numbers> {
        let text = |row: usize| &TABLE.text[usize::from(TABLE.start[row])..usize::from(TABLE.start[row + 1])];
        let (mut low, mut high) = (0, SIZE.names);
        while low < high {
            let middle = low.midpoint(high);
            match text(middle).cmp(name.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(Numbers(&TABLE.numbers[middle])),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    pub(super) fn on(self, abi: Abi) -> Option<u32> {
        let number = self.0[abi.column];
        (number != ABSENT).then_some(number)
    }
}

/// All names, sorted.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let text = |row: usize| &TABLE.text[usize::from(TABLE.start[row])..usize::from(TABLE.start[row + 1])];
    (0..SIZE.names).map(|row| std::str::from_utf8(text(row)).expect("ASCII")).collect()
}

/// The system calls that i386, s390x, powerpc and mips also (or only) offer through socketcall(2), with its `call`
/// (`linux/net.h`). A rule for one of them must cover both ways, or it is no rule.
const SOCKETCALL: [(&str, u64); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The same for ipc(2) (`linux/ipc.h`).
const IPC: [(&str, u64); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// The multiplexer through which a system call can be reached too: its name, and the first argument that selects it.
pub(super) fn multiplexed(name: &str) -> Option<(&'static str, u64)> {
    let find = |calls: &[(&str, u64)]| calls.iter().find(|call| call.0 == name).map(|call| call.1);
    find(&SOCKETCALL).map(|call| ("socketcall", call)).or_else(|| find(&IPC).map(|call| ("ipc", call)))
}

// From here on everything runs in the compiler.

const COLUMNS: usize = 12;
const ABSENT: u32 = u32::MAX;

type Row = (&'static str, u32);

/// The tables in the order of [`Abi`]'s columns, each sorted by name.
const SORTED: [&[Row]; COLUMNS] = [
    &sort(x86_64()),
    &sort(x86()),
    &sort(x32()),
    &sort(arm()),
    &sort(generic(aarch64())),
    &sort(riscv64()),
    &sort(generic(loongarch64())),
    &sort(s390x()),
    &sort(mips()),
    &sort(mips64()),
    &sort(powerpc()),
    &sort(powerpc64()),
];

/// The crate's table as rows, and `extra` ones that it lacks.
macro_rules! rows {
    ($module:ident, $extra:expr) => {
        const fn $module() -> [Row; syscalls::$module::Sysno::count() + $extra.len()] {
            use syscalls::$module::Sysno;
            let mut rows = [("", ABSENT); Sysno::count() + $extra.len()];
            let (mut row, mut id) = (0, Sysno::first().id());
            while id <= Sysno::last().id() {
                if let Some(call) = Sysno::new(id as usize) {
                    rows[row] = (plain(call.name()), id as u32);
                    row += 1;
                }
                id += 1;
            }
            let mut more = 0;
            while more < $extra.len() {
                rows[row + more] = $extra[more];
                more += 1;
            }
            rows
        }
    };
}

const NONE: [Row; 0] = [];
/// `__ARM_NR_BASE` (`asm/unistd.h`).
const ARM_PRIVATE: [Row; 6] = [
    ("breakpoint", 0x000f_0001),
    ("cacheflush", 0x000f_0002),
    ("usr26", 0x000f_0003),
    ("usr32", 0x000f_0004),
    ("set_tls", 0x000f_0005),
    ("get_tls", 0x000f_0006),
];

rows!(x86_64, NONE);
rows!(x86, NONE);
rows!(arm, ARM_PRIVATE);
rows!(aarch64, NONE);
rows!(riscv64, NONE);
rows!(loongarch64, NONE);
rows!(s390x, NONE);
rows!(mips, NONE);
rows!(mips64, [("set_mempolicy_home_node", 5450)]);
rows!(powerpc, NONE);
rows!(powerpc64, NONE);

/// `break` is written `r#break` in Rust.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Corrects the crate where it takes the generic table of a 64-bit architecture for that of a 32-bit one: number 79
/// is newfstatat there, and 403 to 423 (the calls with a 64-bit time) do not exist.
const fn generic<const N: usize>(mut rows: [Row; N]) -> [Row; N] {
    let mut row = 0;
    while row < N {
        match rows[row].1 {
            79 => rows[row].0 = "newfstatat",
            403..=423 => rows[row].1 = ABSENT,
            _ => {}
        }
        row += 1;
    }
    rows
}

/// The calls whose arguments hold pointers or longs in memory have numbers of their own on x32, from 512 on
/// (`arch/x86/entry/syscalls/syscall_64.tbl`; the list is closed since Linux 5.4).
const X32_OWN: [Row; 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// The calls of x86_64 that x32 does not have.
const X32_LACKS: [&str; 14] = [
    "_sysctl",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "get_thread_area",
    "map_shadow_stack",
    "nfsservctl",
    "query_module",
    "set_thread_area",
    "uprobe",
    "uretprobe",
    "uselib",
    "vserver",
];

/// x32 is x86_64 with [`X32_BIT`], but for two lists.
const fn x32() -> [Row; syscalls::x86_64::Sysno::count()] {
    let mut rows = x86_64();
    let mut row = 0;
    while row < rows.len() {
        rows[row].1 |= X32_BIT;
        let mut own = 0;
        while own < X32_OWN.len() {
            if order(X32_OWN[own].0, rows[row].0) == 0 {
                rows[row].1 = X32_OWN[own].1 | X32_BIT;
            }
            own += 1;
        }
        let mut lacks = 0;
        while lacks < X32_LACKS.len() {
            if order(X32_LACKS[lacks], rows[row].0) == 0 {
                rows[row].1 = ABSENT;
            }
            lacks += 1;
        }
        row += 1;
    }
    rows
}

/// Less than, equal to or greater than 0, as strcmp(3).
const fn order(a: &str, b: &str) -> i32 {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] as i32 - b[at] as i32;
        }
        at += 1;
    }
    a.len() as i32 - b.len() as i32
}

/// Sorts by name (Shell's sort: the compiler counts its steps).
const fn sort<const N: usize>(mut rows: [Row; N]) -> [Row; N] {
    let gaps = [132, 57, 23, 10, 4, 1];
    let mut which = 0;
    while which < gaps.len() {
        let gap = gaps[which];
        let mut next = gap;
        while next < N {
            let row = rows[next];
            let mut at = next;
            while at >= gap && order(rows[at - gap].0, row.0) > 0 {
                rows[at] = rows[at - gap];
                at -= gap;
            }
            rows[at] = row;
            next += 1;
        }
        which += 1;
    }
    rows
}

struct Size {
    names: usize,
    text: usize,
}

struct Table<const NAMES: usize, const STARTS: usize, const TEXT: usize> {
    /// All names, sorted, one after the other.
    text: [u8; TEXT],
    /// Where each name begins, and where the last one ends.
    start: [u16; STARTS],
    numbers: [[u32; COLUMNS]; NAMES],
}

/// Merges the sorted tables. Where the arrays are too small it only counts.
const fn merge<const N: usize, const S: usize, const T: usize>() -> (Size, Table<N, S, T>) {
    let mut size = Size { names: 0, text: 0 };
    let mut table = Table { text: [0; T], start: [0; S], numbers: [[ABSENT; COLUMNS]; N] };
    let mut heads = [0; COLUMNS];
    loop {
        let mut least: Option<&'static str> = None;
        let mut column = 0;
        while column < COLUMNS {
            if heads[column] < SORTED[column].len() {
                let name = SORTED[column][heads[column]].0;
                least = match least {
                    Some(least) if order(least, name) <= 0 => Some(least),
                    _ => Some(name),
                };
            }
            column += 1;
        }
        let Some(name) = least else { break };
        column = 0;
        while column < COLUMNS {
            if heads[column] < SORTED[column].len() && order(SORTED[column][heads[column]].0, name) == 0 {
                if size.names < N {
                    table.numbers[size.names][column] = SORTED[column][heads[column]].1;
                }
                heads[column] += 1;
            }
            column += 1;
        }
        let mut byte = 0;
        while byte < name.len() {
            if size.text < T {
                table.text[size.text] = name.as_bytes()[byte];
            }
            size.text += 1;
            byte += 1;
        }
        size.names += 1;
        if size.names < S {
            table.start[size.names] = size.text as u16;
        }
    }
    (size, table)
}

const SIZE: Size = merge::<0, 0, 0>().0;
static TABLE: Table<{ SIZE.names }, { SIZE.names + 1 }, { SIZE.text }> = merge().1;
