//! Paths that the image, or another container that shares a volume, has shaped.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::{canary, case, create, delete, exchanging, mounts, outward, pid, race, rounds};
use crate::ctx::{Bundle, Ctx, Outcome, Stop, args, ensure, eq, facts_of, fail, push};
use crate::frame::Case;

/// Removes an entry of either kind, never following it.
fn clear(path: &Path) -> Outcome {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(m) if m.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
    }
}

/// Replaces a directory of the root by a link.
fn link(b: &Bundle, name: &str, target: &str) -> Outcome {
    clear(&b.rootfs.join(name))?;
    Ok(symlink(target, b.rootfs.join(name))?)
}

/// Without the mounts that do not concern the case.
fn only(c: &mut Value, keep: &[&str]) {
    if let Some(list) = c["mounts"].as_array_mut() {
        list.retain(|m| keep.iter().any(|k| m["destination"] == *k));
    }
}

/// It fails with a message, or it ran to its end and the checks that follow every case judge it.
fn survives(x: &Ctx, b: &Bundle) -> Outcome {
    let out = x.run(b)?;
    if out.status == 0 {
        return facts_of(&out).map(drop);
    }
    ensure(!out.stderr.trim().is_empty(), "no message")
}

/// How an image leads what is made in it out of the root: name, patch of the configuration, links in the root.
type Led = (&'static str, fn(&mut Value, &Path), &'static [(&'static str, &'static str)]);

const LED: &[Led] = &[
    (
        "tmpfs",
        |c, _| push(&mut c["mounts"], json!({"destination": "/mnt/x", "type": "tmpfs", "source": "t"})),
        &[("mnt", "")],
    ),
    (
        "bind-file",
        |c, dir| {
            let source = dir.join("source");
            push(&mut c["mounts"], json!({"destination": "/mnt/y", "source": source, "options": ["bind"]}));
        },
        &[("mnt", "")],
    ),
    (
        "bind-file-on-link",
        |c, dir| {
            let source = dir.join("source");
            push(&mut c["mounts"], json!({"destination": "/etc/hosts", "source": source, "options": ["bind"]}));
        },
        &[("etc/hosts", "new")],
    ),
    (
        "bind-file-on-link-to-file",
        |c, dir| {
            let source = dir.join("source");
            push(&mut c["mounts"], json!({"destination": "/etc/hosts", "source": source, "options": ["bind", "rw"]}));
        },
        &[("etc/hosts", "keep")],
    ),
    (
        "device",
        |c, _| c["linux"]["devices"] = json!([{"path": "/mnt/null", "type": "c", "major": 1, "minor": 3}]),
        &[("mnt", "")],
    ),
    (
        "device-on-link",
        |c, _| c["linux"]["devices"] = json!([{"path": "/etc/node", "type": "c", "major": 1, "minor": 3}]),
        &[("etc/node", "keep")],
    ),
    ("working-directory", |c, _| c["process"]["cwd"] = json!("/mnt/cwd"), &[("mnt", "")]),
    (
        "copy-up",
        |c, _| {
            let options = json!(["tmpcopyup"]);
            push(&mut c["mounts"], json!({"destination": "/mnt", "type": "tmpfs", "source": "t", "options": options}));
        },
        &[("mnt", ""), ("etc/inner", "keep")],
    ),
    (
        "masked",
        |c, _| c["linux"]["maskedPaths"] = json!(["/mnt", "/etc/secret"]),
        &[("mnt", ""), ("etc/secret", "keep")],
    ),
    (
        "readonly",
        |c, _| c["linux"]["readonlyPaths"] = json!(["/mnt", "/etc/secret"]),
        &[("mnt", ""), ("etc/secret", "keep")],
    ),
    ("default-links", |c, _| only(c, &["/proc"]), &[("dev/fd", "keep"), ("dev/core", "new"), ("dev/ptmx", "keep")]),
];

fn led_out() -> Vec<Case> {
    LED.iter()
        .map(|(name, patch, links)| {
            case(&format!("CVE-2019-18837/{name}"), "CVE-2019-18837, CVE-2025-24965: a link in the image", move |x| {
                fs::write(x.job.dir.join("source"), "source")?;
                let b = x.bundle(|c| patch(c, &x.job.dir))?;
                for (place, target) in *links {
                    link(&b, place, &outward(x, target))?;
                }
                survives(x, &b)
            })
        })
        .collect()
}

fn not_ordinary() -> Vec<Case> {
    let mut all = Vec::new();
    for name in ["proc", "sys"] {
        for (kind, target) in [("absolute", "/bad"), ("relative", "bad"), ("dangling", "/none"), ("outward", "")] {
            all.push(case(
                &format!("CVE-2019-19921/{name}-{kind}"),
                "CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: /proc or /sys is a link",
                move |x| {
                    let b = x.bundle(|_| ())?;
                    fs::create_dir(b.rootfs.join("bad"))?;
                    let target = if target.is_empty() { outward(x, "") } else { target.to_owned() };
                    link(&b, name, &target)?;
                    let out = x.run(&b)?;
                    ensure(out.status != 0, "it ran")?;
                    ensure(!out.stderr.trim().is_empty(), "no message")
                },
            ));
        }
    }
    all
}

fn devices() -> Vec<Case> {
    const LINK: &str = "CVE-2026-41579, CVE-2026-47766: /dev is a link";
    let mut all = Vec::new();
    for (name, terminal, keep) in [
        ("no-mount", false, &["/proc"][..]),
        ("tmpfs", false, &["/proc", "/dev"]),
        ("devpts", false, &["/proc", "/dev/pts"]),
        ("terminal", true, &["/proc", "/dev/pts"]),
    ] {
        all.push(case(&format!("CVE-2026-41579/{name}"), LINK, move |x| {
            let b = x.bundle(|c| {
                only(c, keep);
                c["process"]["terminal"] = json!(terminal);
            })?;
            let outside = b.dir.join("outside");
            fs::create_dir(&outside)?;
            fs::write(outside.join("ptmx"), "mine")?;
            for target in ["../outside".to_owned(), format!("/../../../../../../../..{}", outside.display())] {
                link(&b, "dev", &target)?;
                let socket = x.console()?;
                let out = if terminal {
                    x.rt(["create", "--bundle", b.dir(), "--console-socket", &socket.path, &b.id])?
                } else {
                    create(x, &b)?
                };
                ensure(out.status == 0 || !out.stderr.trim().is_empty(), "no message")?;
                delete(x, &b)?;
                let names: Vec<_> = fs::read_dir(&outside)?.flatten().map(|e| e.file_name()).collect();
                eq("BREACH: outside", names, vec!["ptmx"])?;
                let is_link = fs::symlink_metadata(outside.join("ptmx"))?.is_symlink();
                ensure(!is_link, "BREACH: outside/ptmx became a link")?;
                eq("BREACH: outside/ptmx", fs::read_to_string(outside.join("ptmx"))?, "mine")?;
            }
            Ok(())
        }));
    }
    all.push(race("CVE-2026-41579/race", LINK, |x| {
        let b = x.bundle(|c| only(c, &["/proc"]))?;
        let other = b.rootfs.join("other");
        symlink(outward(x, ""), &other)?;
        let dev = b.rootfs.join("dev");
        rounds(x, &b, (&dev, &other), || Ok(()), || Ok(()))
    }));
    all
}

/// Where the only mounts that are called `here` may be.
fn placed(b: &Bundle, at: &[String]) -> Outcome {
    for m in mounts(b)?.iter().filter(|m| m["source"] == "here") {
        ensure(at.iter().any(|a| m["point"] == **a), format_args!("mounted on {}", m["point"]))?;
    }
    ensure(!Path::new(&format!("/proc/{}/root/keep", pid(b)?)).exists(), "the root is the canary")
}

/// A volume with a directory and a link that are exchanged, and a mount below the one or the other.
fn mount_targets() -> Vec<Case> {
    const RACE: &str = "CVE-2021-30465, CVE-2024-45310: a link is exchanged while it is walked";
    let mut all = Vec::new();
    for (kind, entry) in [
        ("tmpfs", json!({"destination": "/v/a/x", "type": "tmpfs", "source": "here"})),
        ("deep", json!({"destination": "/v/a/x/y/z", "type": "tmpfs", "source": "here"})),
        ("up", json!({"destination": "/v/a/../a/x", "type": "tmpfs", "source": "here"})),
        ("onto", json!({"destination": "/v/a", "type": "tmpfs", "source": "here"})),
        ("overlong-options", json!({"destination": "/v/a/x", "type": "overlay", "source": "here"})),
        ("bind-directory", json!({"destination": "/v/a/x", "source": "directory", "options": ["rbind"]})),
        ("bind-file", json!({"destination": "/v/a/x", "source": "file", "options": ["bind"]})),
    ] {
        for (how, up) in [("absolute", ""), ("relative", "../../../../../../../../../..")] {
            let entry = entry.clone();
            all.push(race(&format!("CVE-2021-30465/{kind}-{how}"), RACE, move |x| {
                let volume = x.job.dir.join("volume");
                fs::create_dir_all(volume.join("a"))?;
                let b = x.bundle(|c| {
                    only(c, &["/proc"]);
                    push(&mut c["mounts"], json!({"destination": "/v", "source": volume, "options": ["rbind"]}));
                    let mut entry = entry.clone();
                    if let Some(name) = entry["source"].as_str().filter(|n| *n != "here") {
                        entry["source"] = json!(x.job.dir.join(name));
                    }
                    if kind == "overlong-options" {
                        // What fsconfig(2) does not take goes through mount(2).
                        let lower: Vec<_> = (0..20).map(|n| layer(x, n)).collect();
                        entry["options"] = json!([format!("lowerdir={}", lower.join(":"))]);
                    }
                    push(&mut c["mounts"], entry);
                })?;
                fs::create_dir(x.job.dir.join("directory"))?;
                fs::write(x.job.dir.join("file"), "")?;
                for n in 0..20 {
                    fs::create_dir(layer(x, n))?;
                }
                symlink(format!("{up}{}", canary(x).display()), volume.join("b"))?;
                let inside = canary(x).display().to_string();
                let at: Vec<_> = ["/v/a", "/v/b", &inside]
                    .iter()
                    .flat_map(|d| ["", "/x", "/x/y/z"].map(|e| format!("{d}{e}")))
                    .collect();
                let check = || placed(&b, &at);
                let reset = || {
                    let made = if volume.join("a").is_symlink() { "b" } else { "a" };
                    clear(&volume.join(made))?;
                    fs::create_dir(volume.join(made))?;
                    if made == "b" {
                        fs::rename(volume.join("a"), volume.join("c"))?;
                        fs::rename(volume.join("b"), volume.join("a"))?;
                        fs::rename(volume.join("c"), volume.join("b"))?;
                    }
                    Ok(())
                };
                rounds(x, &b, (&volume.join("a"), &volume.join("b")), check, reset)
            }));
        }
    }
    all
}

fn layer(x: &Ctx, n: u32) -> String {
    x.job.dir.join(format!("lower-{n:030}")).display().to_string()
}

/// Puts something where /dev/null should be.
type Place = fn(&Ctx, &Path) -> Outcome;

/// A prepared directory as /dev, and what covers a masked file.
fn masks() -> Vec<Case> {
    const NULL: &str = "CVE-2025-31133, CVE-2025-62161: what masks a file is the real /dev/null";
    fn prepared(x: &Ctx) -> Result<(Bundle, std::path::PathBuf), Stop> {
        let dev = x.job.dir.join("dev");
        fs::create_dir(&dev)?;
        let b = x.bundle(|c| {
            only(c, &["/proc"]);
            push(&mut c["mounts"], json!({"destination": "/dev", "source": dev, "options": ["bind"]}));
            c["linux"]["maskedPaths"] = json!(["/etc/secret"]);
        })?;
        fs::write(b.rootfs.join("etc/secret"), "secret")?;
        Ok((b, dev))
    }
    fn masked(b: &Bundle) -> Outcome {
        let m = fs::metadata(format!("/proc/{}/root/etc/secret", pid(b)?))?;
        ensure(
            m.file_type().is_char_device() && m.rdev() == nix::sys::stat::makedev(1, 3),
            format_args!("a masked file is not the null device but a {:?} of device {:x}", m.file_type(), m.rdev()),
        )
    }
    fn node(path: &Path, minor: u64) -> Outcome {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        Ok(mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, minor))?)
    }
    let mut all = Vec::new();
    let places: [(&str, Place); 6] = [
        ("link", |x, null| Ok(symlink(canary(x).join("keep"), null)?)),
        ("outward-link", |x, null| Ok(symlink(outward(x, "keep"), null)?)),
        ("magic-link", |_, null| Ok(symlink("/proc/self/exe", null)?)),
        ("file", |_, null| Ok(fs::write(null, "")?)),
        ("zero", |_, null| node(null, 5)),
        ("missing", |_, _| Ok(())),
    ];
    for (name, place) in places {
        all.push(case(&format!("CVE-2025-31133/{name}"), NULL, move |x| {
            let (b, dev) = prepared(x)?;
            place(x, &dev.join("null"))?;
            let out = create(x, &b)?;
            if out.status != 0 {
                return ensure(!out.stderr.trim().is_empty(), "no message");
            }
            masked(&b)
        }));
    }
    all.push(race("CVE-2025-31133/race", NULL, |x| {
        let (b, dev) = prepared(x)?;
        node(&dev.join("null"), 3)?;
        symlink("../etc/passwd", dev.join("other"))?;
        fs::write(b.rootfs.join("etc/passwd"), "")?;
        rounds(x, &b, (&dev.join("null"), &dev.join("other")), || masked(&b), || Ok(()))
    }));
    all
}

fn consoles() -> Vec<Case> {
    const CONSOLE: &str = "CVE-2025-52565: the terminal is the container's devpts's, by descriptor";
    /// Creates with a terminal; /dev/console is one, or the create failed.
    fn attempt(x: &Ctx, b: &Bundle, exchanged: Option<(&Path, &Path)>) -> Outcome {
        let socket = x.console()?;
        let words =
            ["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), "--console-socket", &socket.path, &b.id];
        let out = match exchanged {
            Some((one, other)) => exchanging(one, other, || x.rt(words))?,
            None => x.rt(words)?,
        };
        if out.status != 0 {
            return ensure(!out.stderr.trim().is_empty(), "no message");
        }
        let console = mounts(b)?.into_iter().rfind(|m| m["type"] == "devpts" && m["point"] != "/dev/pts");
        ensure(console.is_some(), format_args!("no terminal is mounted: {:?}", mounts(b)?))?;
        let covered = mounts(b)?.iter().any(|m| m["root"].as_str().is_some_and(|r| r.ends_with("/canary/keep")));
        ensure(!covered, "the canary is mounted")?;
        delete(x, b)
    }
    let mut all = vec![
        case("CVE-2025-52565/pts-are-links", CONSOLE, |x| {
            let pts = x.job.dir.join("pts");
            fs::create_dir(&pts)?;
            for n in 0..100 {
                symlink(canary(x).join("keep"), pts.join(n.to_string()))?;
            }
            symlink("/dev/ptmx", pts.join("ptmx"))?;
            let b = x.bundle(|c| {
                only(c, &["/proc", "/dev"]);
                push(&mut c["mounts"], json!({"destination": "/dev/pts", "source": pts, "options": ["bind"]}));
                c["process"]["terminal"] = json!(true);
            })?;
            attempt(x, &b, None)
        }),
        race("CVE-2025-52565/console-race", CONSOLE, |x| {
            let b = x.bundle(|c| {
                only(c, &["/proc", "/dev/pts"]);
                c["process"]["terminal"] = json!(true);
            })?;
            let (console, other) = (b.rootfs.join("dev/console"), b.rootfs.join("dev/other"));
            fs::write(&console, "")?;
            symlink(outward(x, "keep"), &other)?;
            attempt(x, &b, None)?;
            for _ in 0..x.job.rounds {
                attempt(x, &b, Some((&console, &other)))?;
                delete(x, &b)?;
            }
            Ok(())
        }),
    ];
    for (name, target) in [("link", "keep"), ("dangling-link", "new")] {
        all.push(case(&format!("CVE-2025-52565/console-is-a-{name}"), CONSOLE, move |x| {
            let b = x.bundle(|c| {
                only(c, &["/proc", "/dev/pts"]);
                c["process"]["terminal"] = json!(true);
            })?;
            link(&b, "dev/console", &outward(x, target))?;
            attempt(x, &b, None)
        }));
    }
    all
}

fn regressions() -> Vec<Case> {
    vec![
        case("regression/concurrent-creates", "runc#4543: two containers in one root make the same directories", |x| {
            let shared = x.job.dir.join("shared");
            fs::create_dir(&shared)?;
            let mut bundles = Vec::new();
            for _ in 0..4 {
                let b = x.bundle(|c| {
                    c["root"]["path"] = json!(shared);
                    for n in 0..20 {
                        let at = format!("/m/{n}/x/y");
                        push(&mut c["mounts"], json!({"destination": at, "type": "tmpfs", "source": "t"}));
                    }
                })?;
                bundles.push(b);
            }
            fs::hard_link(&x.job.probe, shared.join("probe"))?;
            let mut running = Vec::new();
            for b in &bundles {
                running.push(x.cmd(["create", "--bundle", b.dir(), &b.id]).spawn()?);
            }
            running.iter_mut().try_for_each(crate::ctx::Running::started)
        }),
        case(
            "regression/dangling-links",
            "runc#4536: a link to what is not there yet is followed inside the root",
            |x| {
                let b = x.bundle(|c| {
                    push(&mut c["mounts"], json!({"destination": "/a/b/c", "type": "tmpfs", "source": "here"}));
                    args(c, "report");
                })?;
                link(&b, "a", "/made/later")?;
                let f = facts_of(&x.run(&b)?.ok()?)?;
                let point =
                    f["mounts"].as_array().into_iter().flatten().find(|m| m["source"] == "here").map(|m| &m["point"]);
                eq("mounted on", point, Some(&json!("/made/later/b/c")))
            },
        ),
        case("regression/setgid-directory", "runc#4401: what is made inherits the group of a setgid directory", |x| {
            let b = x.bundle(|c| {
                push(&mut c["mounts"], json!({"destination": "/g/x", "type": "tmpfs", "source": "t"}));
                args(c, "exit 0");
            })?;
            let dir = b.rootfs.join("g");
            fs::create_dir(&dir)?;
            std::os::unix::fs::chown(&dir, None, Some(77))?;
            fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o2755))?;
            x.run(&b)?.ok()?;
            let m = fs::metadata(dir.join("x"))?;
            if (m.gid(), m.mode() & 0o2000) != (77, 0o2000) {
                return fail(format!("group {}, mode {:o}", m.gid(), m.mode()));
            }
            Ok(())
        }),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = led_out();
    all.extend(not_ordinary());
    all.extend(devices());
    all.extend(mount_targets());
    all.extend(masks());
    all.extend(consoles());
    all.extend(regressions());
    all
}
