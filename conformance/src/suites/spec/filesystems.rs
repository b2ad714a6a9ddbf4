//! File systems, and mounts in unusual places.

use std::fs;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::{bind, case, has, mounted, path, tmpfs};
use crate::ctx::{Ctx, Outcome, args, contains, ensure, eq, facts_of, push};
use crate::frame::Case;

pub(super) fn filesystems() -> Vec<Case> {
    const MOUNTS: &str = "config.md Mounts";
    vec![
        case("filesystem/overlay", MOUNTS, |x| overlay_in(x, "o")),
        case("filesystem/overlay-long-options", "fsconfig(2): values of at most 255 bytes", |x| {
            overlay_in(x, &"o".repeat(120))
        }),
        case("filesystem/mqueue", "config-linux.md Default Filesystems: of the container's own IPC namespace", |x| {
            let f = x.facts(|c| args(c, "report /dev/mqueue"))?;
            eq("type", mounted(&f, "/dev/mqueue")?["type"].as_str(), Some("mqueue"))?;
            eq("queues", &path(&f, "/dev/mqueue")["list"], &json!([]))?;
            eq("create", path(&f, "/dev/mqueue")["create"].as_str(), Some("ok"))
        }),
        case(
            "filesystem/sysfs",
            "config-linux.md Default Filesystems: of the container's own network namespace",
            |x| {
                let f = x.facts(|c| args(c, "report /sys/class/net"))?;
                eq("devices", &path(&f, "/sys/class/net")["list"], &json!(["lo"]))
            },
        ),
        case("filesystem/proc", "config-linux.md Default Filesystems: of the container's own pid namespace", |x| {
            let f = x.facts(|c| args(c, "report /proc/1/comm"))?;
            eq("the first process", path(&f, "/proc/1/comm")["text"].as_str(), Some("probe\n"))
        }),
        case("filesystem/unknown", MOUNTS, |x| {
            let b = x.bundle(|c| {
                push(&mut c["mounts"], json!({"destination": "/m", "type": "made-up", "source": "x"}));
            })?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            contains("the message", &out.stderr, &["/m"])
        }),
        case("filesystem/remount", "config.md Linux mount options: remount", |x| {
            let f = x.facts(|c| {
                push(&mut c["mounts"], tmpfs("/m", &["size=2m"]));
                push(&mut c["mounts"], json!({"destination": "/m", "options": ["remount", "ro", "nosuid", "size=1m"]}));
                push(&mut c["mounts"], tmpfs("/n", &[]));
                push(&mut c["mounts"], json!({"destination": "/n", "options": ["remount", "bind", "noexec"]}));
            })?;
            let m = mounted(&f, "/m")?;
            ensure(has(&m["options"], "ro") && has(&m["options"], "nosuid"), format_args!("{m}"))?;
            ensure(has(&m["super"], "size=1024k"), format_args!("{m}"))?;
            ensure(has(&mounted(&f, "/n")?["options"], "noexec"), "the bind was not changed")
        }),
        case("filesystem/root-on-ramfs", "runc --no-pivot: a root on ramfs", |x| {
            for flag in ["--no-pivot", "--no-new-keyring"] {
                let b = x.bundle(|c| args(c, "report / , stat /proc/1"))?;
                let none: Option<&str> = None;
                let other = x.fresh("ramfs");
                fs::create_dir(&other)?;
                mount(Some("ramfs"), &other, Some("ramfs"), MsFlags::empty(), none)?;
                let run = || -> Outcome {
                    for d in ["proc", "sys", "dev", "tmp", "etc", "dir"] {
                        fs::create_dir(other.join(d))?;
                    }
                    fs::copy(&x.job.probe, other.join("probe"))?;
                    let config = b.dir.join("config.json");
                    let mut c: Value = serde_json::from_slice(&fs::read(&config)?)?;
                    c["root"]["path"] = json!(other);
                    fs::write(&config, c.to_string())?;
                    let f = facts_of(&x.rt(["run", flag, "--bundle", b.dir(), &b.id])?.ok()?)?;
                    eq(flag, mounted(&f, "/")?["type"].as_str(), Some("ramfs"))
                };
                let result = run();
                nix::mount::umount2(&other, nix::mount::MntFlags::MNT_DETACH)?;
                result?;
            }
            Ok(())
        }),
        case("filesystem/below-a-read-only-root", "config.md Root: readonly comes after the mounts", |x| {
            let file = x.fresh("source");
            fs::write(&file, "text")?;
            let f = x.facts(|c| {
                c["root"]["readonly"] = json!(true);
                push(&mut c["mounts"], bind(&file.to_string_lossy(), "/etc/made/file", &["bind"]));
                push(&mut c["mounts"], tmpfs("/made/dir", &[]));
                args(c, "report /etc/made/file /made/dir /etc");
            })?;
            eq("content", path(&f, "/etc/made/file")["text"].as_str(), Some("text"))?;
            eq("below", path(&f, "/made/dir")["create"].as_str(), Some("ok"))?;
            eq("beside", path(&f, "/etc")["create"].as_str(), Some("EROFS"))
        }),
    ]
}

fn overlay_in(x: &Ctx, name: &str) -> Outcome {
    // The upper layer of an overlay can't be on another one, which the temporary directory may be.
    let base = x.fresh("layers");
    fs::create_dir(&base)?;
    let none: Option<&str> = None;
    mount(Some("tmpfs"), &base, Some("tmpfs"), MsFlags::empty(), none)?;
    let dir = base.join(name);
    let run = || -> Outcome {
        for d in ["lower", "upper", "work"] {
            fs::create_dir_all(dir.join(d))?;
        }
        fs::write(dir.join("lower/file"), "lower")?;
        let d = dir.display();
        let options = [format!("lowerdir={d}/lower"), format!("upperdir={d}/upper"), format!("workdir={d}/work")];
        let f = x.facts(|c| {
            let m = json!({"destination": "/m", "type": "overlay", "source": "overlay", "options": options});
            push(&mut c["mounts"], m);
            args(c, "report /m/file , write /m/new text");
        })?;
        eq("type", mounted(&f, "/m")?["type"].as_str(), Some("overlay"))?;
        eq("content", path(&f, "/m/file")["text"].as_str(), Some("lower"))?;
        eq("upper", fs::read_to_string(dir.join("upper/new"))?, "text")
    };
    let result = run();
    nix::mount::umount2(&base, nix::mount::MntFlags::MNT_DETACH)?;
    result
}
