//! Each system call of each command fails once, with each errno that it might fail with: the command does without it, or it
//! says in one line what failed; and nothing is left.

use std::time::{Duration, Instant};

use nix::libc;

use super::sweep::{CREATE, RUN, VICTIMS, Victim};
use super::{Census, case, prefixed};
use crate::ctx::{Bundle, Calls, Ctx, Disturbance, Outcome, args, ensure};
use crate::frame::Case;

/// What a kernel without the call, a security module, a signal, a shortage or a broken disk would answer.
const ERRNOS: [i32; 8] =
    [libc::ENOSYS, libc::EPERM, libc::EINTR, libc::EAGAIN, libc::ENOMEM, libc::ENOSPC, libc::EMFILE, libc::EIO];

/// Of how many calls one is tried, unless all are; a prime.
const STRIDE: usize = 13;

/// Commands that change nothing.
const READERS: &[Victim] = &[
    Victim { name: "state", before: &[RUN], words: |b| vec!["state", &b.id] },
    Victim { name: "list", before: &[RUN], words: |_| vec!["list"] },
    Victim { name: "ps", before: &[RUN], words: |b| vec!["ps", "--format", "json", &b.id] },
    Victim { name: "events", before: &[RUN], words: |b| vec!["events", "--stats", &b.id] },
    Victim { name: "created-delete", before: &[CREATE], words: |b| vec!["delete", &b.id] },
];

/// Calls that are left alone: a program can do nothing about their failure, or they can't fail.
const SPARED: &[i64] = &[
    // Memory: a Rust program without any is aborted by its allocator.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // A close that is not done leaves a descriptor open, which no failing close does.
    libc::SYS_close,
    libc::SYS_close_range,
    // The start of a process, before its main function, and its end.
    libc::SYS_arch_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_prlimit64,
    libc::SYS_poll,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // std's, for the seed of its hash tables: it panics, and the kernel's own pool never says no.
    libc::SYS_getrandom,
    // They can't fail.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_umask,
    libc::SYS_clock_gettime,
    libc::SYS_futex,
    libc::SYS_uname,
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for victim in VICTIMS.iter().chain(READERS) {
        let makes = ["create", "run", "exec", "exec-detach"].contains(&victim.name);
        for whose in [Calls::Own, Calls::Child].into_iter().filter(|whose| makes || *whose == Calls::Own) {
            let name = format!("error-sweep/{}{}", victim.name, if whose == Calls::Child { "-child" } else { "" });
            let checks = "reliability: whichever system call fails, the command does without or says so in one line; nothing is left";
            let mut c = case(name, checks, move |x| sweep(x, victim, whose));
            c.timeout = Duration::from_secs(if makes { 900 } else { 300 });
            all.push(c);
        }
    }
    all
}

fn sweep(x: &Ctx, victim: &Victim, whose: Calls) -> Outcome {
    if victim.name == "update" {
        x.needs("pids")?;
    }
    let other = x.live(|c| args(c, "wait"))?;
    let b = x.bundle(|c| args(c, "sleep"))?;
    let before = Census::take(x, &[other.pid])?;
    let spared: Vec<u64> = SPARED.iter().map(|call| *call as u64).collect();
    let (mut tried, mut survived, mut found) = (0, 0, Vec::new());
    let mut at = 1;
    let mut calls = usize::MAX;
    while at <= calls {
        let errnos = if x.job.full { &ERRNOS[..] } else { &ERRNOS[at / STRIDE % ERRNOS.len()..][..1] };
        for errno in errnos {
            let begin = Instant::now();
            match once(x, victim, whose, at, *errno, &spared, &b, &before, other.pid)? {
                Done::Ended(all) => calls = all,
                Done::Spared => {}
                Done::Failed => tried += 1,
                Done::Survived => (tried, survived) = (tried + 1, survived + 1),
                Done::Wrong(text) => found.push(text),
            }
            let took = begin.elapsed();
            if took > crate::ctx::patience(Duration::from_secs(10)) {
                found.push(format!("call {at}, errno {errno}: took {took:?}"));
            }
            if calls != usize::MAX {
                break;
            }
        }
        at += if x.job.full { 1 } else { STRIDE };
    }
    x.measure(format!("{tried} failures of {calls} calls, {survived} of them survived"));
    found.truncate(if x.job.full { 200 } else { 20 });
    ensure(found.is_empty(), format_args!("{}", found.join("\n")))?;
    x.status(&other.id, "running")
}

enum Done {
    /// Undisturbed: so many calls there are.
    Ended(usize),
    /// It was one of those that are left alone.
    Spared,
    /// The command said so.
    Failed,
    /// It did without.
    Survived,
    /// Not as it should be.
    Wrong(String),
}

#[allow(clippy::too_many_arguments, reason = "all that one try is about")]
fn once(
    x: &Ctx,
    victim: &Victim,
    whose: Calls,
    at: usize,
    errno: i32,
    spared: &[u64],
    b: &Bundle,
    before: &Census,
    other: i32,
) -> Result<Done, crate::ctx::Stop> {
    for step in victim.before {
        x.rt(step(b))?.ok()?;
    }
    let end = x.cmd((victim.words)(b)).disturbed(Disturbance::Fail(errno), whose, at, spared)?;
    let place = match end.call {
        Some(call) => format!("call {at} (number {call}) fails with {}", std::io::Error::from_raw_os_error(errno)),
        None => format!("call {at}, undisturbed"),
    };
    let about = |e| prefixed(&place, e);
    let lines: Vec<_> = end.out.stderr.lines().filter(|line| !line.contains("level=warning")).collect();
    let mut wrong = None;
    if end.call.is_some() && end.out.status != 0 && lines.len() != 1 {
        wrong = Some(format!("{place}: status {}, says {:?}", end.out.status, end.out.stderr));
    }
    // A create that failed has cleaned up after itself.
    let made_nothing = victim.before.is_empty() && end.out.status != 0;
    if made_nothing && let Err(stop) = Census::take(x, &[other]).and_then(|after| after.same(before)).map_err(about) {
        wrong.get_or_insert(format!("left behind: {stop:?}; it said {:?}", end.out.stderr));
    }
    let deleted = x.rt(["delete", "--force", &b.id])?;
    ensure(deleted.status == 0, format_args!("{place}: delete --force: {}", deleted.stderr))?;
    Census::take(x, &[other]).map_err(about)?.same(before).map_err(about)?;
    Ok(match (wrong, end.call, end.out.status) {
        (Some(text), ..) => Done::Wrong(text),
        (None, None, _) if end.calls >= at => Done::Spared,
        (None, None, 0) => Done::Ended(end.calls),
        (None, None, status) => Done::Wrong(format!("undisturbed it ends with {status}: {}", end.out.stderr)),
        (None, Some(_), 0) => Done::Survived,
        (None, Some(_), _) => Done::Failed,
    })
}
