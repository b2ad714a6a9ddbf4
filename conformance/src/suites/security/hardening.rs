//! What has no CVE: fields that could carry more than their meaning, and what the container's files could do to its runtime.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use serde_json::{Value, json};

use super::{canary, case, create};
use crate::ctx::{Ctx, Outcome, args, ensure, eq, facts_of, push};
use crate::frame::Case;

/// Configurations that must not make a container.
type Refused = (&'static str, &'static str, fn(&mut Value));

const NUL: &str = "runc#3287: a NUL ends a string for the kernel";
const REFUSED: &[Refused] = &[
    ("nul-in-source", NUL, |c| push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "a\0b"}))),
    ("nul-in-destination", NUL, |c| {
        push(&mut c["mounts"], json!({"destination": "/m\0/b", "type": "tmpfs", "source": "t"}));
    }),
    ("nul-in-type", NUL, |c| push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs\0x", "source": "t"}))),
    ("nul-in-option", NUL, |c| {
        let options = json!(["size=1m\0,dev"]);
        push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}));
    }),
    ("nul-in-argument", NUL, |c| c["process"]["args"] = json!(["/probe", "echo", "a\0b"])),
    ("nul-in-hostname", NUL, |c| c["hostname"] = json!("a\0b")),
    ("nul-in-masked-path", NUL, |c| c["linux"]["maskedPaths"] = json!(["/etc\0/x"])),
    ("nul-in-root", NUL, |c| c["root"]["path"] = json!("rootfs\0x")),
    ("page-size-with-slash", "runc#4103: a page size is part of a file's name", |c| {
        c["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "../../../../canary/keep", "limit": 1}]);
    }),
    ("unified-with-slash", "security 1.3: the name of a cgroup file has no slash", |c| {
        c["linux"]["resources"]["unified"] = json!({"../cgroup.procs": "0"});
    }),
    ("unified-dots", "security 1.3: the name of a cgroup file has no slash", |c| {
        c["linux"]["resources"]["unified"] = json!({"..": "0"});
    }),
    ("sysctl-with-dots", "config-linux.md Sysctl: a name does not leave /proc/sys", |c| {
        c["linux"]["sysctl"] = json!({"net/../kernel/core_pattern": "|/bad"});
    }),
    ("sysctl-of-the-host", "config-linux.md Sysctl: only what has a namespace", |c| {
        c["linux"]["sysctl"] = json!({"kernel.core_pattern": "|/bad"});
    }),
    ("sysctl-without-namespace", "config-linux.md Sysctl: only what has a namespace", |c| {
        crate::ctx::namespace(c, "ipc", None);
        c["linux"]["sysctl"] = json!({"kernel.shmmni": "4097"});
    }),
    ("rdma-device-with-newline", "security 1.3: one value is one line", |c| {
        c["linux"]["resources"]["rdma"] = json!({"mlx\nx": {"hcaHandles": 1}});
    }),
];

fn refused() -> Vec<Case> {
    REFUSED
        .iter()
        .map(|(name, checks, patch)| {
            case(&format!("hardening/{name}"), checks, move |x| {
                let b = x.bundle(patch)?;
                let out = create(x, &b)?;
                ensure(out.status != 0, "it was created")?;
                ensure(!out.stderr.trim().is_empty(), "no message")?;
                ensure(!out.stderr.contains("panic"), "it panicked")
            })
        })
        .collect()
}

fn users() -> Vec<Case> {
    vec![
        case("hardening/stdio-owner", "runc#3674, crun 1.24: a device of the host's keeps its owner", |x| {
            let b = x.bundle(|c| {
                c["process"]["user"] = json!({"uid": 1234, "gid": 1234});
                args(c, "exit 0");
            })?;
            let full = fs::OpenOptions::new().read(true).write(true).open("/dev/full")?;
            let owner = fs::metadata("/dev/full")?.uid();
            x.cmd(["run", "--bundle", b.dir(), &b.id]).stdin(full).go()?.ok()?;
            eq("owner of the host's /dev/full", fs::metadata("/dev/full")?.uid(), owner)
        }),
        case("hardening/environment-is-secret", "runc#3879: no error prints a variable's value", |x| {
            for env in [json!(["GOOD=hunter2"]), json!(["BAD=hunter2\0x=hunter2"]), json!(["=hunter2"])] {
                let b = x.bundle(|c| {
                    c["process"]["env"] = env;
                    c["process"]["args"] = json!(["/no/such/program"]);
                })?;
                let out = x.cmd(["--debug", "run", "--bundle", b.dir(), &b.id]).go()?;
                ensure(out.status != 0, "it ran")?;
                ensure(!out.stderr.contains("hunter2"), format_args!("the value is printed: {}", out.stderr))?;
            }
            Ok(())
        }),
        case(
            "hardening/state-of-another",
            "security 1: whoever may write to --root would say which processes to kill",
            |x| {
                let live = x.live(|_| ())?;
                let planted = x.fresh("state");
                fs::create_dir(&planted)?;
                let mut copy = std::process::Command::new("cp");
                copy.arg("-a").arg(x.state_root().join(&live.id)).arg(&planted);
                ensure(copy.status()?.success(), "harness: cp")?;
                for (owner, mode) in [(4321, 0o700), (0, 0o777), (0, 0o1777)] {
                    std::os::unix::fs::chown(&planted, Some(owner), Some(owner))?;
                    fs::set_permissions(&planted, fs::Permissions::from_mode(mode))?;
                    let root = planted.to_string_lossy();
                    for words in [&["kill", &live.id, "KILL"][..], &["list"], &["delete", "--force", &live.id]] {
                        let words: Vec<_> = ["--root", &root].into_iter().chain(words.iter().copied()).collect();
                        x.bare(words).go()?.fails(1, &["state directory", &root])?;
                    }
                }
                x.status(&live.id, "running")
            },
        ),
        case("hardening/root-resolves-to-slash", "runc utils.go: --root is not /", |x| {
            for root in ["/", "//", "/.", "/tmp/..", "/proc/../tmp/.."] {
                x.bare(["--root", root, "list"]).go()?.fails(1, &["root"])?;
            }
            Ok(())
        }),
    ]
}

/// The change of root leaves nothing to go back to.
fn roots() -> Vec<Case> {
    let mut all = Vec::new();
    for (name, flags) in [("pivot", &["run"][..]), ("no-pivot", &["run", "--no-pivot"])] {
        all.push(case(
            &format!("hardening/out-of-chroot-{name}"),
            "security A: from a directory outside of its own chroot a process walks to the container's root, not further",
            move |x| {
                let keep = format!("../../../../../../../..{}/keep", canary(x).display());
                let b = x.bundle(|c| {
                    for set in ["bounding", "effective", "permitted"] {
                        push(&mut c["process"]["capabilities"][set], json!("CAP_SYS_CHROOT"));
                    }
                    args(c, &format!("chroot /dir , cat {keep} , stat ../../../../probe"));
                })?;
                let words = flags.iter().copied().chain(["--bundle", b.dir(), &b.id]);
                let got = x.cmd(words).go()?.ok()?.results();
                eq("chroot", got.first(), Some(&json!("ok")))?;
                eq("the canary", got.get(1), Some(&json!("ENOENT")))?;
                ensure(got.get(2).is_some_and(Value::is_object), "the container's root was not reached")
            },
        ));
    }
    for destination in ["/", "/..", "/dir/../..", "/./"] {
        all.push(case(
            &format!("hardening/mount-on-{}", destination.replace('/', "_")),
            "security A: a mount on the root is one of the container's, or refused",
            move |x| {
                let keep = canary(x).join("keep");
                let b = x.bundle(|c| {
                    let source = x.job.dir.join("other");
                    push(&mut c["mounts"], json!({"destination": destination, "source": source, "options": ["bind"]}));
                    args(c, &format!("cat {}", keep.display()));
                })?;
                let other = x.job.dir.join("other");
                for d in ["proc", "sys", "dev", "dir"] {
                    fs::create_dir_all(other.join(d))?;
                }
                fs::hard_link(&x.job.probe, other.join("probe"))?;
                let out = x.run(&b)?;
                if out.status != 0 {
                    return ensure(!out.stderr.trim().is_empty(), "no message");
                }
                eq("the canary", out.results(), vec![json!("ENOENT")])
            },
        ));
    }
    all.push(case(
        "hardening/mounts-of-the-host",
        "security A: the container's mount table has what the configuration names and nothing else",
        |x| {
            let b = x.bundle(|_| ())?;
            create(x, &b)?.ok()?;
            let root = b.rootfs.display().to_string();
            for m in super::mounts(&b)? {
                let point = m["point"].as_str().unwrap_or_default();
                let named = point == "/" || ["/proc", "/dev", "/sys"].iter().any(|p| point.starts_with(p));
                ensure(named && !point.starts_with(&root), format_args!("there is a mount on {point}"))?;
                let shared =
                    m["propagation"].as_array().is_some_and(|p| p.iter().any(|p| p.to_string().contains("shared")));
                ensure(!shared, format_args!("{point} is shared"))?;
            }
            Ok(())
        },
    ));
    all
}

/// Makes the file of this name.
type Shape = fn(&Ctx, &std::path::Path) -> Outcome;

/// Files of the image that the runtime reads in the container.
fn accounts() -> Vec<Case> {
    const PASSWD: &str = "security D: the image's own files cannot stop or lead its runtime";
    let shapes: [(&str, Shape); 5] = [
        ("fifo", |_, p| Ok(nix::unistd::mkfifo(p, nix::sys::stat::Mode::from_bits_truncate(0o666))?)),
        ("endless", |_, p| Ok(symlink("/dev/zero", p)?)),
        ("terminal", |_, p| Ok(symlink("/dev/ptmx", p)?)),
        ("outward", |x, p| Ok(symlink(canary(x).join("keep"), p)?)),
        ("long-home", |_, p| Ok(fs::write(p, format!("u:x:5:5::/{}:/bin/sh\n", "h".repeat(1 << 16)))?)),
    ];
    let mut all = Vec::new();
    for (name, shape) in shapes {
        let mut passwd = case(&format!("hardening/passwd-{name}"), PASSWD, move |x| {
            let b = x.bundle(|c| {
                c["process"]["user"] = json!({"uid": 5, "gid": 5});
                args(c, "report");
            })?;
            shape(x, &b.rootfs.join("etc/passwd"))?;
            let out = x.run(&b)?;
            if out.status != 0 {
                return ensure(!out.stderr.trim().is_empty(), "no message");
            }
            eq("uid", &facts_of(&out)?["uid"][0], &json!(5))
        });
        passwd.timeout = Duration::from_secs(10);
        all.push(passwd);
    }
    all.push(case(
        "hardening/exec-into-a-fake-proc",
        "security D: exec enters what the container has made of itself",
        |x| {
            let b = x.bundle(|c| {
                for set in ["bounding", "effective", "permitted"] {
                    push(&mut c["process"]["capabilities"][set], json!("CAP_SYS_ADMIN"));
                }
                args(c, "mount tmpfs /proc tmpfs , mkdir /proc/self , wait");
            })?;
            let mut out = x.cmd(["run", "--detach", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            while out.line()? != "ready" {}
            let ran = x.rt(["exec", &b.id, "/probe", "exit", "7"])?;
            ensure(ran.status == 7 || !ran.stderr.trim().is_empty(), format_args!("status {}, no message", ran.status))
        },
    ));
    all
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = refused();
    all.extend(users());
    all.extend(roots());
    all.extend(accounts());
    all.extend(callers());
    all
}

fn callers() -> Vec<Case> {
    vec![
        case(
            "hardening/path-of-the-caller",
            "threat model: nothing is executed that a caller's PATH names first",
            |x| {
                let programs = x.job.dir.join("programs");
                fs::create_dir(&programs)?;
                let script = format!("#!/bin/sh\necho \"$0 $*\" >>{}/keep\n", canary(x).display());
                for name in
                    ["newuidmap", "newgidmap", "criu", "modprobe", "systemctl", "dbus-launch", "ip", "mount", "sh"]
                {
                    let file = programs.join(name);
                    fs::write(&file, &script)?;
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
                }
                let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
                let b = x.bundle(|c| {
                    push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
                    for ids in ["uidMappings", "gidMappings"] {
                        c["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
                    }
                    args(c, "sleep");
                })?;
                for words in [
                    &["--version"][..],
                    &["features"],
                    &["create", "--bundle", b.dir(), &b.id],
                    &["start", &b.id],
                    &["exec", &b.id, "/probe", "exit", "0"],
                    &["ps", &b.id],
                    &["list"],
                    &["kill", &b.id, "KILL"],
                    &["delete", "--force", &b.id],
                ] {
                    x.cmd(words).env(&[("PATH", &path)]).go()?.ok()?;
                }
                Ok(())
            },
        ),
        case(
            "hardening/annotations",
            "config.md Annotations: however many and long, all are told, or refused by name",
            |x| {
                let odd =
                    json!({"": "empty", "a\nb": "line\nfeed", "q\"\\": "\u{1b}[2J\u{0}", "\u{202e}": "\u{10ffff}"});
                let many: serde_json::Map<_, _> =
                    (0..20_000).map(|n| (format!("org.example.{n}"), json!("x".repeat(100)))).collect();
                let long = json!({"org.example.long": "x".repeat(8 << 20)});
                for (what, annotations) in [("odd", odd), ("many", many.into()), ("long", long)] {
                    let b = x.bundle(|c| {
                        c["annotations"] = annotations.clone();
                        args(c, "sleep");
                    })?;
                    let out = create(x, &b)?;
                    if out.status != 0 {
                        eq(format_args!("{what}: lines of the refusal"), out.stderr.lines().count(), 1)?;
                        ensure(out.stderr.contains("annotation"), format_args!("{what}: {}", out.stderr.trim_end()))?;
                        continue;
                    }
                    let state = x.state(&b.id)?;
                    ensure(state["annotations"] == annotations, format_args!("{what}: others are told"))?;
                    ensure(
                        x.rt(["list"])?.ok()?.stdout.contains(&b.id),
                        format_args!("{what}: list does not show it"),
                    )?;
                    x.rt(["start", &b.id])?.ok()?;
                    x.rt(["delete", "--force", &b.id])?.ok()?;
                }
                Ok(())
            },
        ),
    ]
}
