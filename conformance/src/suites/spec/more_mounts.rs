//! More mounts: recursive options, idmappings, links, file systems, cgroups.

use std::fs;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::mounts::{tree, untree};
use super::{bind, case, has, mounted, path, userns};
use crate::ctx::{Ctx, Outcome, Stop, args, contains, ensure, eq, facts_of, namespace, push, skip};
use crate::frame::Case;

/// A tree like [`tree`] whose two mounts have these flags.
fn flagged_tree(x: &Ctx, flags: MsFlags) -> Result<String, Stop> {
    let dir = tree(x)?;
    let none: Option<&str> = None;
    for point in [dir.clone(), format!("{dir}/sub")] {
        mount(none, point.as_str(), none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags, none)?;
    }
    Ok(dir)
}

/// The recursive options: what the tree's mounts have before, what is asked for, what both must and must not show then.
fn recursive_options() -> Vec<Case> {
    const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);
    type Words = &'static [&'static str];
    let rows: [(&str, MsFlags, Words, Words, Words); 21] = [
        ("rro", MsFlags::empty(), &["rro"], &["ro"], &["rw"]),
        ("rrw", MsFlags::MS_RDONLY, &["rrw"], &["rw"], &["ro"]),
        ("rnosuid", MsFlags::empty(), &["rnosuid"], &["nosuid"], &[]),
        ("rsuid", MsFlags::MS_NOSUID, &["rsuid"], &[], &["nosuid"]),
        ("rnodev", MsFlags::empty(), &["rnodev"], &["nodev"], &[]),
        ("rdev", MsFlags::MS_NODEV, &["rdev"], &[], &["nodev"]),
        ("rnoexec", MsFlags::empty(), &["rnoexec"], &["noexec"], &[]),
        ("rexec", MsFlags::MS_NOEXEC, &["rexec"], &[], &["noexec"]),
        ("rnoatime", MsFlags::empty(), &["rnoatime"], &["noatime"], &["relatime"]),
        ("ratime", MsFlags::MS_NOATIME, &["ratime"], &[], &["noatime"]),
        ("rnodiratime", MsFlags::empty(), &["rnodiratime"], &["nodiratime"], &[]),
        ("rdiratime", MsFlags::MS_NODIRATIME, &["rdiratime"], &[], &["nodiratime"]),
        ("rrelatime", MsFlags::MS_NOATIME, &["rrelatime"], &["relatime"], &["noatime"]),
        ("rnorelatime", MsFlags::MS_STRICTATIME, &["rnorelatime"], &[], &["noatime"]),
        ("rstrictatime", MsFlags::MS_NOATIME, &["rstrictatime"], &[], &["noatime", "relatime"]),
        ("rnostrictatime", MsFlags::empty(), &["rnostrictatime"], &[], &["noatime"]),
        ("rnosymfollow", MsFlags::empty(), &["rnosymfollow"], &["nosymfollow"], &[]),
        ("rsymfollow", NOSYMFOLLOW, &["rsymfollow"], &[], &["nosymfollow"]),
        ("last-wins", MsFlags::empty(), &["rro", "rnoexec", "rrw"], &["rw", "noexec"], &["ro"]),
        ("atime-policies", MsFlags::empty(), &["rnoatime", "rrelatime"], &["relatime"], &["noatime"]),
        ("one-and-all", MsFlags::empty(), &["nosuid", "rnodev"], &["nodev"], &[]),
    ];
    rows.into_iter()
        .map(|(name, before, options, want, never)| {
            case(&format!("mount-option/recursive-{name}"), "config.md Linux mount options: recursive", move |x| {
                let dir = flagged_tree(x, before)?;
                let options: Vec<_> = ["rbind"].into_iter().chain(options.iter().copied()).collect();
                let f = x.facts(|c| push(&mut c["mounts"], bind(&dir, "/r", &options)));
                untree(&dir);
                let f = f?;
                for point in ["/r", "/r/sub"] {
                    let o = &mounted(&f, point)?["options"];
                    let missing = want.iter().find(|w| !has(o, w));
                    ensure(missing.is_none(), format_args!("{point}: no {missing:?} in {o}"))?;
                    let extra = never.iter().find(|w| has(o, w));
                    ensure(extra.is_none(), format_args!("{point}: {extra:?} in {o}"))?;
                }
                Ok(())
            })
        })
        .collect()
}

/// Options that take back what the source's mount has.
fn cleared_options() -> Vec<Case> {
    const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);
    let rows: [(&str, MsFlags, &str); 7] = [
        ("rw", MsFlags::MS_RDONLY, "ro"),
        ("suid", MsFlags::MS_NOSUID, "nosuid"),
        ("dev", MsFlags::MS_NODEV, "nodev"),
        ("exec", MsFlags::MS_NOEXEC, "noexec"),
        ("atime", MsFlags::MS_NOATIME, "noatime"),
        ("diratime", MsFlags::MS_NODIRATIME, "nodiratime"),
        ("symfollow", NOSYMFOLLOW, "nosymfollow"),
    ];
    rows.into_iter()
        .map(|(name, before, never)| {
            case(&format!("mount-option/bind-{name}"), "config.md Linux mount options: bind", move |x| {
                let dir = flagged_tree(x, before)?;
                let f = x.facts(|c| {
                    push(&mut c["mounts"], bind(&dir, "/m", &["rbind", name]));
                    push(&mut c["mounts"], bind(&dir, "/kept", &["rbind"]));
                });
                untree(&dir);
                let f = f?;
                let o = &mounted(&f, "/m")?["options"];
                ensure(!has(o, never), format_args!("{never} in {o}"))?;
                // Without the option a bind shows the mount as it is, and what is not recursive leaves what is below.
                for point in ["/kept", "/m/sub"] {
                    let o = &mounted(&f, point)?["options"];
                    ensure(has(o, never), format_args!("{point}: no {never} in {o}"))?;
                }
                Ok(())
            })
        })
        .collect()
}

/// `uidMappings` and `gidMappings` from 0 on.
fn mapped(mut mount: Value, uid: u32, gid: u32) -> Value {
    mount["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 100}]);
    mount["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 100}]);
    mount
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "t", "options": options})
}

/// A tmpfs of this machine may be too old for it (kernel 6.3).
fn idmapped_tmpfs(x: &Ctx, patch: impl FnOnce(&mut Value)) -> Result<Value, Stop> {
    let b = x.bundle(patch)?;
    // Who is root of a user namespace must be able to make what is missing below.
    std::os::unix::fs::chown(&b.rootfs, Some(100_000), Some(200_000))?;
    for d in ["", "proc", "sys", "dev", "tmp", "etc", "dir"] {
        std::os::unix::fs::chown(b.rootfs.join(d), Some(100_000), Some(200_000))?;
    }
    let out = x.run(&b)?;
    if out.stderr.contains("may not take an idmapping") {
        return skip("tmpfs takes no idmapping on this kernel");
    }
    facts_of(&out.ok()?)
}

fn idmaps() -> Vec<Case> {
    const IDMAP: &str = "config.md Mounts: uidMappings and gidMappings";
    let ids = |f: &Value, p: &str, uid: u32, gid: u32| -> Outcome {
        eq(format_args!("ids of {p}"), json!([path(f, p)["uid"], path(f, p)["gid"]]), json!([uid, gid]))
    };
    vec![
        case("idmap/ridmap", "config.md Linux mount options: ridmap", move |x| {
            let dir = tree(x)?;
            for file in ["file", "sub/file"] {
                fs::write(format!("{dir}/{file}"), "")?;
                std::os::unix::fs::chown(format!("{dir}/{file}"), Some(1), Some(2))?;
            }
            let f = x.facts(|c| {
                push(&mut c["mounts"], mapped(bind(&dir, "/all", &["rbind", "ridmap"]), 5000, 6000));
                push(&mut c["mounts"], mapped(bind(&dir, "/one", &["rbind", "idmap"]), 5000, 6000));
                args(c, "report /all/file /all/sub/file /one/file /one/sub/file");
            });
            untree(&dir);
            let f = f?;
            ids(&f, "/all/file", 5001, 6002)?;
            ids(&f, "/all/sub/file", 5001, 6002)?;
            ids(&f, "/one/file", 5001, 6002)?;
            ids(&f, "/one/sub/file", 1, 2)
        }),
        case("idmap/without-option", "runc: mappings of a mount without the option", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], mapped(bind(&dir.to_string_lossy(), "/m", &["bind"]), 5000, 6000));
                args(c, "report /m");
            })?;
            ids(&f, "/m", 5000, 6000)
        }),
        case("idmap/in-the-option", "crun(1): idmap=uids=...;gids=...", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            std::os::unix::fs::chown(&dir, Some(3), Some(4))?;
            let f = x.facts(|c| {
                let options = ["bind", "idmap=uids=0-5000-10;gids=0-6000-10"];
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &options));
                args(c, "report /m");
            })?;
            ids(&f, "/m", 5003, 6004)
        }),
        case("idmap/container's", "config.md Linux mount options: idmap without mappings of its own", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            std::os::unix::fs::chown(&dir, Some(3), Some(4))?;
            let f = idmapped_tmpfs(x, |c| {
                userns(c);
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["bind", "idmap"]));
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/plain", &["bind"]));
                args(c, "report /m /plain");
            })?;
            ids(&f, "/m", 3, 4)?;
            ids(&f, "/plain", 65534, 65534)
        }),
        case("idmap/writes", "mount_setattr(2): what is made has the ids of the file system", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            let f = idmapped_tmpfs(x, |c| {
                userns(c);
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["bind", "idmap"]));
                args(c, "report /m , write /m/file text");
            })?;
            ids(&f, "/m", 0, 0)?;
            let made = fs::metadata(dir.join("file"))?;
            use std::os::unix::fs::MetadataExt;
            eq("ids on the host", (made.uid(), made.gid()), (0, 0))
        }),
        case("idmap/tmpfs", IDMAP, move |x| {
            let f = idmapped_tmpfs(x, |c| {
                push(&mut c["mounts"], mapped(tmpfs("/m", &["idmap", "uid=1", "gid=2", "mode=711"]), 5000, 6000));
                args(c, "report /m");
            })?;
            ids(&f, "/m", 5001, 6002)?;
            eq("mode", path(&f, "/m")["mode"].as_str(), Some("0711"))
        }),
        case("idmap/tmpfs-in-user-namespace", IDMAP, move |x| {
            let f = idmapped_tmpfs(x, |c| {
                userns(c);
                // Ids of the host, as for a bind: 100005 of the host is 5 of the container.
                push(&mut c["mounts"], mapped(tmpfs("/m", &["idmap", "nosuid", "mode=755"]), 100_005, 200_006));
                args(c, "report /m");
            })?;
            ids(&f, "/m", 5, 6)?;
            ensure(has(&mounted(&f, "/m")?["options"], "nosuid"), "not nosuid")
        }),
        case("idmap/tmpfs-container's", IDMAP, move |x| {
            let f = idmapped_tmpfs(x, |c| {
                userns(c);
                push(&mut c["mounts"], tmpfs("/dir", &["idmap", "ro", "tmpcopyup"]));
                args(c, "report /dir");
            })?;
            ids(&f, "/dir", 0, 0)?;
            // The mode of what it hides, and read-only when all is done.
            eq("mode", path(&f, "/dir")["mode"].as_str(), Some("0755"))?;
            eq("create", path(&f, "/dir")["create"].as_str(), Some("EROFS"))
        }),
        case("idmap/not-for-proc", IDMAP, |x| {
            let b = x.bundle(|c| {
                let proc = json!({"destination": "/p", "type": "proc", "source": "proc", "options": ["idmap"]});
                push(&mut c["mounts"], mapped(proc, 5000, 6000));
            })?;
            let out = x.run(&b)?;
            ensure(out.status != 0, "it was accepted")?;
            contains("the message", &out.stderr, &["proc"])
        }),
    ]
}

/// Symbolic links as the source and as the destination of a bind: crun's options.
fn links() -> Vec<Case> {
    const LINKS: &str = "crun(1): copy-symlink, src-nofollow, dest-nofollow";
    /// A file and a link to it on the host.
    fn source(x: &Ctx) -> Result<String, Stop> {
        let dir = x.fresh("source");
        fs::create_dir(&dir)?;
        fs::write(dir.join("file"), "of the host")?;
        std::os::unix::fs::symlink("file", dir.join("link"))?;
        Ok(dir.to_string_lossy().into_owned())
    }
    vec![
        case("link/followed", "config.md Mounts: a link as the source", |x| {
            let dir = source(x)?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/m", &["bind"]));
                args(c, "report /etc/m");
            })?;
            eq("content", path(&f, "/etc/m")["text"].as_str(), Some("of the host"))
        }),
        case("link/copy-symlink", LINKS, |x| {
            let dir = source(x)?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/new/copied", &["bind", "copy-symlink"]));
                push(&mut c["mounts"], bind(&format!("{dir}/file"), "/etc/plain", &["bind", "copy-symlink"]));
                args(c, "report /etc/new/copied /etc/plain");
            })?;
            eq("link", path(&f, "/etc/new/copied")["link"].as_str(), Some("file"))?;
            ensure(mounted(&f, "/etc/new/copied").is_err(), "something is mounted")?;
            eq("content", path(&f, "/etc/plain")["text"].as_str(), Some("of the host"))
        }),
        case("link/copy-symlink-twice", LINKS, |x| {
            let dir = source(x)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/copied", &["bind", "copy-symlink"]));
                args(c, "report /etc/copied");
            })?;
            std::os::unix::fs::symlink("file", b.rootfs.join("etc/copied"))?;
            eq("link", path(&facts_of(&x.run(&b)?.ok()?)?, "/etc/copied")["link"].as_str(), Some("file"))
        }),
        case("link/copy-symlink-over-another", LINKS, |x| {
            let dir = source(x)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/copied", &["bind", "copy-symlink"]));
            })?;
            fs::write(b.rootfs.join("etc/copied"), "of the image")?;
            ensure(x.run(&b)?.status != 0, "it was accepted")?;
            eq("what was there", fs::read_to_string(b.rootfs.join("etc/copied"))?, "of the image")
        }),
        case("link/copy-symlink-stays-inside", "security: links are resolved inside the root", |x| {
            let dir = source(x)?;
            let outside = x.fresh("outside");
            fs::create_dir(&outside)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/way/copied", &["bind", "copy-symlink"]));
            })?;
            std::os::unix::fs::symlink(format!("/../../../..{}", outside.display()), b.rootfs.join("way"))?;
            x.run(&b)?;
            ensure(fs::read_dir(&outside)?.next().is_none(), "something was made outside of the root")
        }),
        case("link/copy-symlink-user-namespace", LINKS, |x| {
            let dir = source(x)?;
            let f = idmapped_tmpfs(x, |c| {
                userns(c);
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/copied", &["bind", "copy-symlink"]));
                args(c, "report /etc/copied");
            })?;
            eq("link", path(&f, "/etc/copied")["link"].as_str(), Some("file"))?;
            eq("uid", &path(&f, "/etc/copied")["uid"], &json!(0))
        }),
        case("link/src-nofollow", LINKS, |x| {
            let dir = source(x)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/link"), "/etc/m", &["bind", "src-nofollow"]));
                args(c, "report /etc/m");
            })?;
            // The link leads where the container's files are.
            fs::write(b.rootfs.join("etc/file"), "of the image")?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            mounted(&f, "/etc/m")?;
            eq("link", path(&f, "/etc/m")["link"].as_str(), Some("file"))?;
            eq("content", path(&f, "/etc/m")["text"].as_str(), Some("of the image"))
        }),
        case("link/dest-nofollow", LINKS, |x| {
            let dir = source(x)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/file"), "/etc/m", &["bind", "dest-nofollow"]));
                args(c, "report /etc/m /etc/aim");
            })?;
            fs::write(b.rootfs.join("etc/aim"), "of the image")?;
            std::os::unix::fs::symlink("aim", b.rootfs.join("etc/m"))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            mounted(&f, "/etc/m")?;
            eq("content", path(&f, "/etc/m")["text"].as_str(), Some("of the host"))?;
            eq("what it led to", path(&f, "/etc/aim")["text"].as_str(), Some("of the image"))
        }),
        case("link/destination-followed", "config.md Mounts: a link as the destination", |x| {
            let dir = source(x)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind(&format!("{dir}/file"), "/etc/m", &["bind"]));
                args(c, "report /etc/aim");
            })?;
            fs::write(b.rootfs.join("etc/aim"), "of the image")?;
            std::os::unix::fs::symlink("aim", b.rootfs.join("etc/m"))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("content", path(&f, "/etc/aim")["text"].as_str(), Some("of the host"))
        }),
    ]
}

/// File systems, and mounts in unusual places.
fn filesystems() -> Vec<Case> {
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

/// Mounts of the cgroup hierarchies.
fn cgroup_mounts() -> Vec<Case> {
    const CGROUP: &str = "config.md Mounts: type cgroup";
    let facts = |x: &Ctx, own_namespace: bool, options: &'static [&'static str]| {
        x.facts(|c| {
            namespace(c, "cgroup", own_namespace.then(|| json!({"type": "cgroup"})));
            let m = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
            push(&mut c["mounts"], m);
            args(c, "report /sys/fs/cgroup , mkdir /sys/fs/cgroup/probe-made");
        })
    };
    // The mounts of the hierarchies; on v1 without the tmpfs that holds them.
    let hierarchies = |f: &Value| -> Vec<Value> {
        let all = f["mounts"].as_array().into_iter().flatten();
        all.filter(|m| m["type"] == "cgroup" || m["type"] == "cgroup2").cloned().collect()
    };
    vec![
        case("cgroup-mount/own-namespace", "config-linux.md Namespaces: cgroup, an isolated view", move |x| {
            let f = facts(x, true, &["ro", "nosuid", "noexec", "nodev"])?;
            let all = hierarchies(&f);
            ensure(!all.is_empty(), "nothing is mounted")?;
            for m in &all {
                eq(format_args!("root of {}", m["point"]), m["root"].as_str(), Some("/"))?;
                ensure(has(&m["options"], "ro") && has(&m["options"], "nosuid"), format_args!("{m}"))?;
            }
            let text = f["cgroup"].as_str().unwrap_or_default().to_owned();
            let outside = text.lines().find(|l| !l.ends_with(":/") && !l.starts_with("0::"));
            ensure(outside.is_none(), format_args!("it sees itself in {outside:?}"))
        }),
        case("cgroup-mount/host's-namespace", CGROUP, move |x| {
            let f = facts(x, false, &["ro"])?;
            let all = hierarchies(&f);
            ensure(!all.is_empty(), "nothing is mounted")?;
            if x.job.v2 {
                // The host's own, as runc has it.
                return eq("type", mounted(&f, "/sys/fs/cgroup")?["type"].as_str(), Some("cgroup2"));
            }
            // Each is the container's own group: what it sees of the hierarchy begins there.
            let own = f["cgroup"].as_str().unwrap_or_default().to_owned();
            for m in &all {
                let root = m["root"].as_str().unwrap_or_default();
                ensure(
                    own.contains(root.trim_end_matches('/')),
                    format_args!("{root} of {} is not in {own}", m["point"]),
                )?;
            }
            Ok(())
        }),
        case("cgroup-mount/writable", CGROUP, move |x| {
            let b = x.bundle(|c| {
                namespace(c, "cgroup", Some(json!({"type": "cgroup"})));
                let m =
                    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]});
                push(&mut c["mounts"], m);
                let place = if x.job.v2 { "/sys/fs/cgroup/made" } else { "/sys/fs/cgroup/pids/made" };
                args(c, &format!("mkdir {place} , rm {place}"));
            })?;
            let out = x.run(&b)?.ok()?;
            eq("mkdir", out.results()[0].as_str(), Some("ok"))
        }),
        case("cgroup-mount/named-hierarchy", "cgroups(7): v1 hierarchies without a controller", move |x| {
            let own = fs::read_to_string("/proc/self/cgroup")?;
            let name = own.lines().find_map(|l| l.split(':').nth(1)?.strip_prefix("name="));
            let Some(name) = name.filter(|_| !x.job.v2) else {
                return skip("no named hierarchy of cgroup v1");
            };
            for own_namespace in [true, false] {
                let f = facts(x, own_namespace, &["ro"])?;
                let m = mounted(&f, &format!("/sys/fs/cgroup/{name}"))?;
                eq("type", m["type"].as_str(), Some("cgroup"))?;
                ensure(has(&m["super"], &format!("name={name}")), format_args!("{m}"))?;
            }
            Ok(())
        }),
        case("cgroup-mount/every-hierarchy", CGROUP, move |x| {
            let f = facts(x, true, &["ro"])?;
            if x.job.v2 {
                return eq("mounts", hierarchies(&f).len(), 1);
            }
            let own = fs::read_to_string("/proc/self/cgroup")?;
            for controllers in own.lines().filter_map(|l| l.split(':').nth(1)).filter(|c| !c.is_empty()) {
                let found = hierarchies(&f).iter().any(|m| controllers.split(',').all(|c| has(&m["super"], c)));
                ensure(found, format_args!("{controllers} is not mounted"))?;
            }
            Ok(())
        }),
    ]
}

/// More about mounts: what the table of options can't say.
pub(super) fn more_mounts() -> Vec<Case> {
    let mut all = recursive_options();
    all.extend(cleared_options());
    all.extend(idmaps());
    all.extend(links());
    all.extend(filesystems());
    all.extend(cgroup_mounts());
    all
}
