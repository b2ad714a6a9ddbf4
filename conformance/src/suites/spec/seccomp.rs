//! System call filters.

use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use super::{bind, case};
use crate::ctx::{Ctx, Outcome, Running, Stop, args, ensure, eq, push, skip};
use crate::frame::Case;

/// A profile that allows all but one rule.
#[expect(clippy::needless_pass_by_value, reason = "callers pass a literal")]
fn profile(rule: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [rule]})
}

pub(super) fn seccomp() -> Vec<Case> {
    const SECCOMP: &str = "config-linux.md Seccomp";
    const ARGS: &str = "config-linux.md Seccomp: args";
    let verbs = |x: &Ctx, words: &str, profile: Value| -> Result<Vec<Value>, Stop> {
        let b = x.bundle(|c| {
            c["linux"]["seccomp"] = profile;
            args(c, words);
        })?;
        Ok(x.run(&b)?.ok()?.results())
    };
    let mkdir = ["mkdir", "mkdirat"];
    let mut all = vec![
        case("seccomp/none", SECCOMP, |x| eq("mode", &x.facts(|_| ())?["seccomp"], &json!(0))),
        case("seccomp/filter", SECCOMP, move |x| {
            let f =
                x.facts(|c| c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            eq("mode", &f["seccomp"], &json!(2))
        }),
        case("seccomp/errno", "config-linux.md Seccomp: the default is EPERM", move |x| {
            let got = verbs(x, "mkdir /a , write /b x", profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            eq("results", got, vec![json!("EPERM"), json!("ok")])
        }),
        case("seccomp/errno-ret", "config-linux.md Seccomp: errnoRet", move |x| {
            let p = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("ENOSYS")])
        }),
        case("seccomp/kill", "config-linux.md Seccomp: SCMP_ACT_KILL", move |x| {
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_KILL"}));
                args(c, "mkdir /a , exit 0");
            })?;
            x.run(&b)?.exits(128 + 31).map(drop)
        }),
        case("seccomp/kill-process", "config-linux.md Seccomp: SCMP_ACT_KILL_PROCESS", move |x| {
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_KILL_PROCESS"}));
                args(c, "mkdir /a , exit 0");
            })?;
            x.run(&b)?.exits(128 + 31).map(drop)
        }),
        case("seccomp/log", "config-linux.md Seccomp: SCMP_ACT_LOG lets it pass", move |x| {
            let got = verbs(x, "mkdir /a", profile(json!({"names": mkdir, "action": "SCMP_ACT_LOG"})))?;
            eq("results", got, vec![json!("ok")])
        }),
        case("seccomp/unknown-name", "runc: names that the kernel does not have are skipped", move |x| {
            let p = profile(json!({"names": ["made_up_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}));
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EPERM")])
        }),
        case("seccomp/default-errno", "config-linux.md Seccomp: defaultErrnoRet", move |x| {
            // All but mkdir is allowed by number: what is not named gets the default.
            let names: Vec<&str> = ALL_BUT_MKDIR.split_whitespace().collect();
            let p = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 95, "architectures": ["SCMP_ARCH_X86_64"],
                           "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EOPNOTSUPP")])
        }),
        case("seccomp/without-no-new-privs", "config-linux.md Seccomp: with noNewPrivileges false", move |x| {
            let f = x.facts(|c| {
                c["process"]["noNewPrivileges"] = json!(false);
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            })?;
            eq("seccomp", &f["seccomp"], &json!(2))?;
            eq("no_new_privs", &f["no_new_privs"], &json!(0))
        }),
        case("seccomp/user", "config-linux.md Seccomp: for a user without capabilities", move |x| {
            let f = x.facts(|c| {
                c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            })?;
            eq("seccomp", &f["seccomp"], &json!(2))
        }),
        case("seccomp/exec", "config-linux.md Seccomp: holds for exec too", move |x| {
            let live =
                x.live(|c| c["linux"]["seccomp"] = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"})))?;
            let out = x.rt(["exec", &live.id, "/probe", "mkdir", "/a"])?.ok()?;
            eq("results", out.results(), vec![json!("EPERM")])
        }),
        case("seccomp/flags", "config-linux.md Seccomp: flags", move |x| {
            let mut p = profile(json!({"names": mkdir, "action": "SCMP_ACT_ERRNO"}));
            p["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
            eq("results", verbs(x, "mkdir /a", p)?, vec![json!("EPERM")])
        }),
        case("seccomp/first-rule-of-two", "config-linux.md Seccomp: several entries for one call", move |x| {
            let p = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                 "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                 "args": [{"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}]}
            ]});
            let got = verbs(x, "personality 8 , personality 6 , personality 0", p)?;
            eq("results", got, vec![json!("EPERM"), json!("ENOSYS"), json!("ok")])
        }),
        case(
            "seccomp/args-and",
            "config-linux.md Seccomp: conditions on different arguments are joined by AND",
            move |x| {
                // AF_INET (2) and SOCK_STREAM (1); AF_UNIX (1) is another domain.
                let p = profile(json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]}));
                eq("both", verbs(x, "socket inet , socket unix", p)?, vec![json!("EPERM"), json!("ok")])?;
                let p = profile(json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}));
                eq("one", verbs(x, "socket inet , socket unix", p)?, vec![json!("ok"), json!("ok")])
            },
        ),
        case("seccomp/args-or", "libseccomp as runc uses it: conditions on one argument are joined by OR", move |x| {
            let p = profile(json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}]}));
            let got = verbs(x, "personality 8 , personality 6 , personality 0", p)?;
            eq("results", got, vec![json!("EPERM"), json!("EPERM"), json!("ok")])
        }),
    ];
    all.push(case("seccomp/newer-calls", "runc: calls newer than all that the profile names get ENOSYS", newer_calls));
    all.extend(notify());
    // personality(2) takes any of these numbers; which of 0, 6 and 8 are stopped?
    let ops: [(&str, u64, Option<u64>, [bool; 3]); 8] = [
        ("SCMP_CMP_EQ", 6, None, [false, true, false]),
        ("SCMP_CMP_NE", 6, None, [true, false, true]),
        ("SCMP_CMP_LT", 6, None, [true, false, false]),
        ("SCMP_CMP_LE", 6, None, [true, true, false]),
        ("SCMP_CMP_GT", 6, None, [false, false, true]),
        ("SCMP_CMP_GE", 6, None, [false, true, true]),
        // value is the mask, valueTwo what must be left.
        ("SCMP_CMP_MASKED_EQ", 2, Some(2), [false, true, false]),
        ("SCMP_CMP_MASKED_EQ", 2, Some(0), [true, false, true]),
    ];
    for (i, (op, value, two, stopped)) in ops.into_iter().enumerate() {
        all.push(case(&format!("seccomp/op-{op}-{i}"), ARGS, move |x| {
            let mut arg = json!({"index": 0, "value": value, "op": op});
            if let Some(two) = two {
                arg["valueTwo"] = json!(two);
            }
            let p = profile(json!({"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [arg]}));
            let want: Vec<_> = stopped.iter().map(|s| json!(if *s { "EPERM" } else { "ok" })).collect();
            eq("personality 0, 6, 8", verbs(x, "personality 0 , personality 6 , personality 8", p)?, want)
        }));
    }
    all
}

/// What docker's default profile answers. A C library tries a new call first, and takes the old one only where the new one is
/// not there: EPERM would be its last word.
fn newer_calls(x: &Ctx) -> Outcome {
    let config: Value =
        serde_json::from_str(include_str!("../../../../runtime-core/tests/fixtures/docker-default.json"))?;
    if !Path::new("/usr/bin/perl").exists() {
        return skip("no perl, which can make any system call");
    }
    let f = x.bundle(|c| {
        c["linux"]["seccomp"] = config["linux"]["seccomp"].clone();
        c["process"]["capabilities"] = config["process"]["capabilities"].clone();
        for directory in ["/usr", "/lib", "/lib64"].into_iter().filter(|d| Path::new(d).exists()) {
            push(&mut c["mounts"], bind(directory, directory, &["rbind", "ro"]));
        }
        // add_key(2), which the profile does not allow, and numbers that no kernel has.
        let script = "for (248, 1000, 100000) { syscall($_, 0, 0, 0, 0, 0); print $! + 0, \"\\n\"; }";
        c["process"]["args"] = json!(["/usr/bin/perl", "-e", script]);
    })?;
    eq("errors", x.run(&f)?.ok()?.stdout.as_str(), "1\n38\n38\n")
}

/// The agent, listening on the path.
fn agent(x: &Ctx, socket: &str) -> Result<Running, Stop> {
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        return skip("python3 is not installed: it is the agent");
    }
    // EDOM (33): what no call that is made here answers by itself.
    let mut agent = x.program(python, ["-c", include_str!("seccomp_agent.py"), socket, "33"]).spawn()?;
    agent.expect("listening")?;
    Ok(agent)
}

fn told(agent: &mut Running) -> Result<Value, Stop> {
    Ok(serde_json::from_str(&agent.line()?)?)
}

fn end(x: &Ctx, mut agent: Running) -> Outcome {
    agent.child.kill()?;
    agent.wait()?;
    x.alone()
}

fn notify() -> Vec<Case> {
    const NOTIFY: &str = "config-linux.md The Container Process State";
    let profile = |socket: &str, flags: Value| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "listenerPath": socket, "listenerMetadata": "MKDIR=/a",
               "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]})
    };
    let check = move |x: &Ctx, flags: Value| {
        let socket = x.fresh("agent").to_string_lossy().into_owned();
        let mut agent = agent(x, &socket)?;
        let b = x.bundle(|c| {
            c["linux"]["seccomp"] = profile(&socket, flags);
            c["annotations"] = json!({"org.example.note": "kept"});
            args(c, "wait");
        })?;
        let live = x.live_bundle(b)?;
        let got = told(&mut agent)?;
        // An inode without a name: of an eventfd or a pidfd it would be another one.
        eq("descriptors", &got["descriptors"], &json!(["anon_inode:seccomp notify"]))?;
        let m = &got["message"];
        eq("fds", &m["fds"], &json!(["seccompFd"]))?;
        eq("pid", &m["pid"], &json!(live.pid))?;
        eq("metadata", &m["metadata"], &json!("MKDIR=/a"))?;
        ensure(m["ociVersion"].is_string() && m["state"]["ociVersion"].is_string(), format_args!("no version: {m}"))?;
        eq("id", &m["state"]["id"], &json!(live.id))?;
        eq("bundle", &m["state"]["bundle"], &json!(live.bundle.dir()))?;
        eq("status", &m["state"]["status"], &json!("creating"))?;
        eq("pid of the state", &m["state"]["pid"], &json!(live.pid))?;
        eq("annotations", &m["state"]["annotations"], &json!({"org.example.note": "kept"}))?;

        // A process that joins is under a filter of its own, with a listener of its own.
        let out = x.rt(["exec", &live.id, "/probe", "mkdir", "/a"])?.ok()?;
        eq("what the agent answers", out.results(), vec![json!("EDOM")])?;
        let m = told(&mut agent)?["message"].clone();
        ensure(m["pid"].as_i64().is_some_and(|pid| pid > 1 && pid != i64::from(live.pid)), format_args!("pid: {m}"))?;
        eq("status", &m["state"]["status"], &json!("running"))?;
        eq("pid of the state", &m["state"]["pid"], &json!(live.pid))?;
        ensure(told(&mut agent)?["number"].is_i64(), "no notification")?;
        x.kill(&live)?;
        x.rt(["delete", &live.id])?.ok()?;
        end(x, agent)
    };
    vec![
        case("seccomp/notify", NOTIFY, move |x| check(x, json!([]))),
        case("seccomp/notify-flags", "config-linux.md Seccomp: flags, beside a listener", move |x| {
            let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"];
            check(x, flags.map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}")).to_vec().into())
        }),
        case("seccomp/notify-init", "config-linux.md Seccomp: the agent answers the program's own calls", move |x| {
            let socket = x.fresh("agent").to_string_lossy().into_owned();
            let mut agent = agent(x, &socket)?;
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(&socket, json!([]));
                args(c, "mkdir /a , write /b x");
            })?;
            eq("results", x.run(&b)?.ok()?.results(), vec![json!("EDOM"), json!("ok")])?;
            eq("fds", &told(&mut agent)?["message"]["fds"], &json!(["seccompFd"]))?;
            end(x, agent)
        }),
        case(
            "seccomp/notify-long-path",
            "config-linux.md Seccomp: listenerPath, longer than a socket's address",
            move |x| {
                let directory = x.job.dir.join("d".repeat(120));
                std::fs::create_dir(&directory)?;
                let socket = directory.join("agent").to_string_lossy().into_owned();
                let mut agent = agent(x, &socket)?;
                let b = x.bundle(|c| {
                    c["linux"]["seccomp"] = profile(&socket, json!([]));
                    args(c, "mkdir /a");
                })?;
                eq("results", x.run(&b)?.ok()?.results(), vec![json!("EDOM")])?;
                eq("fds", &told(&mut agent)?["message"]["fds"], &json!(["seccompFd"]))?;
                end(x, agent)
            },
        ),
        case("seccomp/notify-without-agent", "config-linux.md Seccomp: nobody listens on listenerPath", move |x| {
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(&x.fresh("nobody").to_string_lossy(), json!([]));
            })?;
            x.rt(["create", "--bundle", b.dir(), &b.id])?.fails(1, &["nobody"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("seccomp/notify-agent-silent", "reliability: nothing waits for ever", move |x| {
            // A message that no socket holds, for an agent that does not read.
            let socket = x.fresh("agent");
            let _listener = UnixListener::bind(&socket)?;
            let b = x.bundle(|c| {
                c["linux"]["seccomp"] = profile(&socket.to_string_lossy(), json!([]));
                c["annotations"] = json!({"org.example.long": "x".repeat(3 << 20)});
            })?;
            x.rt(["create", "--bundle", b.dir(), &b.id])?.fails(1, &["seccomp listener"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("seccomp/all-flags", "config-linux.md Seccomp: flags, without a listener", move |x| {
            let features = x.bare(["features"]).go()?.ok()?.json()?;
            let flags = features.pointer("/linux/seccomp/supportedFlags").cloned().unwrap_or_default();
            ensure(flags.as_array().is_some_and(|flags| !flags.is_empty()), "features names no flags")?;
            for flag in flags.as_array().into_iter().flatten().chain([&flags]) {
                x.measure(flag.to_string());
                x.facts(|c| {
                    let flags = if flag.is_array() { flag.clone() } else { json!([flag]) };
                    c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags,
                        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]});
                })?;
            }
            Ok(())
        }),
    ]
}

/// What a static Rust program and the runtimes' last steps call, mkdir excepted.
const ALL_BUT_MKDIR: &str = "read write open close stat fstat lstat statfs fstatfs poll lseek mmap mprotect munmap brk rt_sigaction \
    rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap dup dup2 pause \
    nanosleep getpid socket connect exit uname fcntl fsync getcwd chdir readlink umask gettimeofday getrlimit getuid getgid \
    setuid setgid geteuid getegid getppid setgroups getgroups setresuid setresgid capget capset sigaltstack personality \
    prctl arch_prctl gettid futex sched_getaffinity set_tid_address epoll_create epoll_wait epoll_ctl exit_group openat \
    newfstatat readlinkat set_robust_list pipe2 dup3 epoll_create1 epoll_pwait eventfd2 prlimit64 getrandom execve execveat \
    statx rseq clone3 clone close_range faccessat faccessat2 seccomp tgkill kill fchdir fchmod fchown chmod chown getdents64 \
    clock_gettime clock_nanosleep membarrier rt_sigtimedwait sendmsg recvmsg sendto recvfrom socketpair setsid setpgid \
    getpgid getsid wait4 waitid keyctl setresgid32 unlinkat unlink fadvise64 restart_syscall ppoll";
