//! The root filesystem, mounts and their options.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::{bind, case, has, mounted, path};
use crate::ctx::{Ctx, Outcome, Stop, args, ensure, eq, facts_of, push};
use crate::frame::Case;

pub(super) fn root_and_mounts() -> Vec<Case> {
    const ROOT: &str = "config.md Root";
    const MOUNTS: &str = "config.md Mounts";
    vec![
        case("root/readonly", ROOT, |x| {
            let f = x.facts(|c| {
                c["root"]["readonly"] = json!(true);
                args(c, "report / /dir");
            })?;
            eq("create in /", path(&f, "/")["create"].as_str(), Some("EROFS"))?;
            eq("create in /dir", path(&f, "/dir")["create"].as_str(), Some("EROFS"))?;
            ensure(has(&mounted(&f, "/")?["options"], "ro"), "the mount is not read-only")
        }),
        case("root/writable", ROOT, |x| {
            let f = x.facts(|c| args(c, "report /"))?;
            eq("create in /", path(&f, "/")["create"].as_str(), Some("ok"))
        }),
        case("root/absolute", "config.md Root: an absolute path", |x| {
            let other = x.job.dir.join("elsewhere");
            fs::create_dir_all(&other)?;
            for d in ["proc", "dev", "sys", "only-here"] {
                fs::create_dir(other.join(d))?;
            }
            fs::hard_link(&x.job.probe, other.join("probe"))?;
            let f = x.facts(|c| {
                c["root"]["path"] = json!(other);
                args(c, "report /only-here");
            })?;
            eq("its directory", path(&f, "/only-here")["type"].as_str(), Some("dir"))
        }),
        case("root/is-the-bundle's", ROOT, |x| {
            let b = x.bundle(|c| args(c, "write /mark made-inside"))?;
            x.run(&b)?.ok()?;
            eq("rootfs/mark", fs::read_to_string(b.rootfs.join("mark"))?, "made-inside")
        }),
        case("root/nothing-of-the-host", "config.md Root: no mount of the host is left inside", |x| {
            let f = x.facts(|_| ())?;
            let points: Vec<_> =
                f["mounts"].as_array().into_iter().flatten().filter_map(|m| m["point"].as_str()).collect();
            let own = ["/", "/proc", "/dev", "/sys", "/run"];
            let stranger = points
                .iter()
                .find(|p| **p != "/" && !own[1..].iter().any(|o| *p == o || p.starts_with(&format!("{o}/"))));
            ensure(stranger.is_none(), format_args!("{stranger:?} is mounted"))
        }),
        case("mounts/order", "config.md Mounts: in the listed order", |x| {
            let f = x.facts(|c| {
                push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "first"}));
                push(&mut c["mounts"], json!({"destination": "/m/n", "type": "tmpfs", "source": "second"}));
                push(&mut c["mounts"], json!({"destination": "/m", "type": "tmpfs", "source": "third"}));
            })?;
            let order: Vec<_> = f["mounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|m| m["point"].as_str().is_some_and(|p| p.starts_with("/m")))
                .filter_map(|m| m["source"].as_str())
                .collect();
            eq("sources", order, vec!["first", "second", "third"])
        }),
        case("mounts/bind-directory", MOUNTS, |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "from the host")?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m/n", &["bind"]));
                args(c, "report /m/n/file /m/n");
            })?;
            eq("content", path(&f, "/m/n/file")["text"].as_str(), Some("from the host"))?;
            eq("writable", path(&f, "/m/n")["create"].as_str(), Some("ok"))
        }),
        case("mounts/bind-file", MOUNTS, |x| {
            let file = x.fresh("source");
            fs::write(&file, "text")?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&file.to_string_lossy(), "/etc/new/file", &["bind", "ro"]));
                args(c, "report /etc/new/file");
            })?;
            eq("content", path(&f, "/etc/new/file")["text"].as_str(), Some("text"))?;
            eq("write", path(&f, "/etc/new/file")["write"].as_str(), Some("EROFS"))
        }),
        case("mounts/source-relative-to-the-bundle", MOUNTS, |x| {
            let b = x.bundle(|c| {
                push(&mut c["mounts"], bind("beside", "/m", &["bind"]));
                args(c, "report /m/file");
            })?;
            fs::create_dir(b.dir.join("beside"))?;
            fs::write(b.dir.join("beside/file"), "beside")?;
            eq("content", path(&facts_of(&x.run(&b)?.ok()?)?, "/m/file")["text"].as_str(), Some("beside"))
        }),
        case("mounts/relative-destination", "config.md Mounts: destination relative to /", |x| {
            let f = x.facts(|c| {
                push(&mut c["mounts"], json!({"destination": "m", "type": "tmpfs", "source": "tmpfs"}));
            })?;
            mounted(&f, "/m").map(drop)
        }),
        case("mounts/through-a-link", "security CVE-2019-18837: links are resolved inside the root", |x| {
            let outside = x.job.dir.join("outside");
            fs::create_dir(&outside)?;
            let b = x.bundle(|c| {
                push(&mut c["mounts"], json!({"destination": "/link/x", "type": "tmpfs", "source": "here"}));
            })?;
            std::os::unix::fs::symlink(format!("/../../../..{}", outside.display()), b.rootfs.join("link"))?;
            let out = x.run(&b)?;
            ensure(fs::read_dir(&outside)?.next().is_none(), "something was made outside of the root")?;
            if out.status != 0 {
                return ensure(!out.stderr.trim().is_empty(), "no message");
            }
            let f = facts_of(&out)?;
            let at: Vec<_> = f["mounts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|m| m["source"] == "here")
                .map(|m| &m["point"])
                .collect();
            ensure(at.len() == 1, format_args!("mounted on {at:?}"))
        }),
        case("mounts/data-options", "config.md Linux mount options: unknown ones go to the filesystem", |x| {
            let f = x.facts(|c| {
                let options = json!(["size=1m", "mode=0711", "uid=7", "nr_inodes=99"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
                args(c, "report /m");
            })?;
            let s = &mounted(&f, "/m")?["super"];
            ensure(has(s, "size=1024k") && has(s, "nr_inodes=99"), format_args!("{s}"))?;
            eq("mode", path(&f, "/m")["mode"].as_str(), Some("0711"))?;
            eq("uid", &path(&f, "/m")["uid"], &json!(7))
        }),
        case("mounts/bad-data-option", "config.md Linux mount options: the filesystem's refusal is an error", |x| {
            let b = x.bundle(|c| {
                let options = json!(["made-up=1"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
            })?;
            let out = x.run(&b)?.errs()?;
            ensure(!out.stderr.trim().is_empty(), "no message")
        }),
        case("mounts/tmpcopyup", "config.md Linux mount options: tmpcopyup", |x| {
            let b = x.bundle(|c| {
                let options = json!(["tmpcopyup"]);
                push(
                    &mut c["mounts"],
                    json!({"destination": "/dir", "type": "tmpfs", "source": "t", "options": options}),
                );
                args(c, "report /dir/file /dir/sub/deep");
            })?;
            fs::create_dir(b.rootfs.join("dir/sub"))?;
            fs::write(b.rootfs.join("dir/file"), "one")?;
            fs::write(b.rootfs.join("dir/sub/deep"), "two")?;
            fs::set_permissions(b.rootfs.join("dir/file"), fs::Permissions::from_mode(0o640))?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("content", path(&f, "/dir/file")["text"].as_str(), Some("one"))?;
            eq("mode", path(&f, "/dir/file")["mode"].as_str(), Some("0640"))?;
            eq("content below", path(&f, "/dir/sub/deep")["text"].as_str(), Some("two"))?;
            eq("type", mounted(&f, "/dir")?["type"].as_str(), Some("tmpfs"))
        }),
        case("mounts/recursive", "config.md Linux mount options: rbind", |x| {
            let dir = tree(x)?;
            let f = x.facts(|c| {
                push(&mut c["mounts"], bind(&dir, "/r", &["rbind"]));
                push(&mut c["mounts"], bind(&dir, "/b", &["bind"]));
            });
            untree(&dir);
            let f = f?;
            mounted(&f, "/r/sub")?;
            ensure(mounted(&f, "/b/sub").is_err(), "bind took the mounts below with it")
        }),
        case("mounts/rro", "config.md Linux mount options: rro is recursive", |x| {
            recursive(x, &["rbind", "rro"], "ro")
        }),
        case("mounts/rnosuid", "config.md Linux mount options: rnosuid is recursive", |x| {
            recursive(x, &["rbind", "rnosuid"], "nosuid")
        }),
        case("mounts/rnoexec", "config.md Linux mount options: rnoexec is recursive", |x| {
            recursive(x, &["rbind", "rnoexec"], "noexec")
        }),
        case("mounts/ro-is-not-recursive", "config.md Linux mount options: ro", |x| {
            let dir = tree(x)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir, "/r", &["rbind", "ro"])));
            untree(&dir);
            let f = f?;
            ensure(has(&mounted(&f, "/r")?["options"], "ro"), "not read-only")?;
            ensure(has(&mounted(&f, "/r/sub")?["options"], "rw"), "the mount below is read-only")
        }),
        case("mounts/idmap", "config.md Linux mount options: idmap with its own mappings", |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "")?;
            std::os::unix::fs::chown(dir.join("file"), Some(1), Some(2))?;
            let f = x.facts(|c| {
                let mut m = bind(&dir.to_string_lossy(), "/m", &["bind", "idmap"]);
                m["uidMappings"] = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
                m["gidMappings"] = json!([{"containerID": 0, "hostID": 6000, "size": 100}]);
                push(&mut c["mounts"], m);
                args(c, "report /m/file");
            })?;
            eq("uid", &path(&f, "/m/file")["uid"], &json!(5001))?;
            eq("gid", &path(&f, "/m/file")["gid"], &json!(6002))
        }),
        case("mounts/default-filesystems", "config-linux.md Default Filesystems", |x| {
            let f = x.facts(|_| ())?;
            for (point, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")] {
                eq(point, mounted(&f, point)?["type"].as_str(), Some(kind))?;
            }
            Ok(())
        }),
        case("mounts/cgroup", "config.md Mounts: type cgroup", |x| {
            let f = x.facts(|c| {
                let options = json!(["nosuid", "noexec", "nodev", "relatime", "ro"]);
                let m =
                    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
                push(&mut c["mounts"], m);
                args(c, "report /sys/fs/cgroup");
            })?;
            let list = &path(&f, "/sys/fs/cgroup")["list"];
            if x.job.v2 {
                eq("type", mounted(&f, "/sys/fs/cgroup")?["type"].as_str(), Some("cgroup2"))?;
                ensure(has(list, "cgroup.procs"), format_args!("{list}"))?;
            } else {
                ensure(has(list, "memory") && has(list, "pids"), format_args!("{list}"))?;
                let m = mounted(&f, "/sys/fs/cgroup/memory")?;
                eq("type", m["type"].as_str(), Some("cgroup"))?;
                ensure(has(&m["options"], "ro"), "not read-only")?;
            }
            ensure(path(&f, "/sys/fs/cgroup")["create"] != "ok", "it is writable")
        }),
    ]
}

/// A directory on the host with a file system mounted on it and another below.
pub(super) fn tree(x: &Ctx) -> Result<String, Stop> {
    let dir = x.job.dir.join("tree");
    fs::create_dir(&dir)?;
    let none: Option<&str> = None;
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), none)?;
    fs::create_dir(dir.join("sub"))?;
    mount(Some("tmpfs"), &dir.join("sub"), Some("tmpfs"), MsFlags::empty(), none)?;
    Ok(dir.to_string_lossy().into_owned())
}

pub(super) fn untree(dir: &str) {
    let _ = nix::mount::umount2(format!("{dir}/sub").as_str(), nix::mount::MntFlags::MNT_DETACH);
    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_DETACH);
}

/// Binds a tree with `options` and expects `word` on both of its mounts.
fn recursive(x: &Ctx, options: &[&str], word: &str) -> Outcome {
    let dir = tree(x)?;
    let f = x.facts(|c| push(&mut c["mounts"], bind(&dir, "/r", options)));
    untree(&dir);
    let f = f?;
    for point in ["/r", "/r/sub"] {
        let o = &mounted(&f, point)?["options"];
        ensure(has(o, word), format_args!("{point} is not {word}: {o}"))?;
    }
    Ok(())
}
