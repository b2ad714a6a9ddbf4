//! Mount options: of a new mount, of a bind, recursive; propagation.

use std::fs;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::mounts::{tree, untree};
use super::{bind, case, has, mounted};
use crate::ctx::{Ctx, Outcome, Stop, ensure, facts_of, push};
use crate::frame::Case;

/// Every option of a new mount and of a bind, and the propagation of mounts and of the root.
pub(super) fn mount_options() -> Vec<Case> {
    // Options of a tmpfs, what its mount then must show, and what it must not.
    type Words = &'static [&'static str];
    let rows: [(&str, Words, Words, Words); 32] = [
        ("none", &[], &["rw", "relatime"], &["nosuid", "nodev", "noexec"]),
        ("empty", &["nosuid", "", "noexec"], &["nosuid", "noexec"], &[]),
        ("defaults", &["defaults"], &["rw"], &["nosuid", "nodev", "noexec", "ro"]),
        ("ro", &["ro"], &["ro"], &["rw"]),
        ("rw", &["ro", "rw"], &["rw"], &["ro"]),
        ("nosuid", &["nosuid"], &["nosuid"], &[]),
        ("suid", &["nosuid", "suid"], &[], &["nosuid"]),
        ("nodev", &["nodev"], &["nodev"], &[]),
        ("dev", &["nodev", "dev"], &[], &["nodev"]),
        ("noexec", &["noexec"], &["noexec"], &[]),
        ("exec", &["noexec", "exec"], &[], &["noexec"]),
        ("noatime", &["noatime"], &["noatime"], &["relatime"]),
        ("atime", &["noatime", "atime"], &[], &["noatime"]),
        ("nodiratime", &["nodiratime"], &["nodiratime"], &[]),
        ("diratime", &["nodiratime", "diratime"], &[], &["nodiratime"]),
        ("relatime", &["relatime"], &["relatime"], &["noatime"]),
        ("norelatime", &["norelatime"], &[], &["noatime"]),
        ("strictatime", &["strictatime"], &[], &["noatime", "relatime"]),
        ("nostrictatime", &["strictatime", "nostrictatime"], &[], &["noatime"]),
        ("sync", &["sync"], &["sync"], &[]),
        ("async", &["sync", "async"], &[], &["sync"]),
        ("dirsync", &["dirsync"], &["dirsync"], &[]),
        ("lazytime", &["lazytime"], &["lazytime"], &[]),
        ("nolazytime", &["lazytime", "nolazytime"], &[], &["lazytime"]),
        ("nosymfollow", &["nosymfollow"], &["nosymfollow"], &[]),
        ("symfollow", &["nosymfollow", "symfollow"], &[], &["nosymfollow"]),
        // Mandatory locks went with Linux 5.15, and nobody shows whether an inode's version is counted: both are accepted.
        ("mand", &["mand"], &["rw"], &[]),
        ("nomand", &["mand", "nomand"], &["rw"], &["mand"]),
        ("iversion", &["iversion"], &["rw"], &[]),
        ("noiversion", &["iversion", "noiversion"], &["rw"], &["iversion"]),
        ("silent", &["silent"], &["rw"], &[]),
        ("loud", &["loud"], &["rw"], &[]),
    ];
    let mut all = Vec::new();
    for (name, options, want, never) in rows {
        all.push(case(&format!("mount-option/{name}"), "config.md Linux mount options", move |x| {
            let f = x.facts(|c| {
                push(
                    &mut c["mounts"],
                    json!({"destination": "/m", "type": "tmpfs", "source": "t", "options": options}),
                );
            })?;
            let m = mounted(&f, "/m")?;
            let shown = |w: &&&str| has(&m["options"], w) || (has(&m["super"], w) && **w != "rw" && **w != "ro");
            let missing = want.iter().find(|w| !shown(w));
            ensure(missing.is_none(), format_args!("no {missing:?} in {} {}", m["options"], m["super"]))?;
            let extra = never.iter().find(|w| shown(w));
            ensure(extra.is_none(), format_args!("{extra:?} in {} {}", m["options"], m["super"]))
        }));
    }
    // The same for a bind mount, where the flags take a second call.
    let binds: [(&str, &[&str], &[&str]); 6] = [
        ("ro", &["bind", "ro"], &["ro"]),
        ("nosuid", &["bind", "nosuid"], &["nosuid", "rw"]),
        ("nodev-noexec", &["bind", "nodev", "noexec"], &["nodev", "noexec"]),
        ("noatime", &["bind", "noatime"], &["noatime"]),
        ("rbind-ro", &["rbind", "ro"], &["ro"]),
        ("nosymfollow", &["bind", "nosymfollow"], &["nosymfollow"]),
    ];
    for (name, options, want) in binds {
        all.push(case(&format!("mount-option/bind-{name}"), "config.md Linux mount options: bind", move |x| {
            let dir = x.fresh("source");
            fs::create_dir(&dir)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", options)))?;
            let o = &mounted(&f, "/m")?["options"];
            let missing = want.iter().find(|w| !has(o, w));
            ensure(missing.is_none(), format_args!("no {missing:?} in {o}"))
        }));
    }
    for (name, want) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("slave", "master:"),
        ("rslave", "master:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        all.push(case(&format!("mount-option/{name}"), "config.md Linux mount options: propagation", move |x| {
            let dir = x.job.dir.join("source");
            fs::create_dir(&dir)?;
            let none: Option<&str> = None;
            mount(Some(&dir), &dir, none, MsFlags::MS_BIND, none)?;
            mount(none, &dir, none, MsFlags::MS_SHARED, none)?;
            let f = x.facts(|c| push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["rbind", name])));
            nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH)?;
            let f = f?;
            let p = &mounted(&f, "/m")?["propagation"];
            let words: Vec<&str> = p.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if want.is_empty() {
                return ensure(words.is_empty(), format_args!("{p}"));
            }
            ensure(words.iter().any(|w| w.starts_with(want)), format_args!("no {want} in {p}"))
        }));
    }
    for (value, want, never) in [
        ("private", "", "shared:"),
        ("rprivate", "", "shared:"),
        ("slave", "", "shared:"),
        ("rslave", "", "shared:"),
        ("shared", "shared:", "master:"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        all.push(case(&format!("rootfs-propagation/{value}"), "config-linux.md Rootfs Mount Propagation", move |x| {
            let f = x.facts(|c| c["linux"]["rootfsPropagation"] = json!(value))?;
            let p = &mounted(&f, "/")?["propagation"];
            let any = |s: &str| p.as_array().into_iter().flatten().filter_map(Value::as_str).any(|w| w.starts_with(s));
            ensure(want.is_empty() || any(want), format_args!("no {want} in {p}"))?;
            ensure(!any(never), format_args!("{never} in {p}"))
        }));
    }
    all.push(case("rootfs-propagation/slave-receives", "config-linux.md Rootfs Mount Propagation: slave", |x| {
        // A mount that the host makes below a shared bind after the start appears inside, not the other way around.
        let dir = x.job.dir.join("shared");
        fs::create_dir(&dir)?;
        let none: Option<&str> = None;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), none)?;
        mount(none, &dir, none, MsFlags::MS_SHARED, none)?;
        fs::create_dir(dir.join("later"))?;
        let run = || -> Outcome {
            let live = x.live(|c| {
                c["linux"]["rootfsPropagation"] = json!("slave");
                push(&mut c["mounts"], bind(&dir.to_string_lossy(), "/m", &["rbind", "rslave"]));
            })?;
            mount(Some("tmpfs"), &dir.join("later"), Some("tmpfs"), MsFlags::empty(), none)?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            mounted(&f, "/m/later").map(drop)
        };
        let result = run();
        let _ = nix::mount::umount2(&dir.join("later"), nix::mount::MntFlags::MNT_DETACH);
        let _ = nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH);
        result
    }));
    all.extend(recursive_options());
    all.extend(cleared_options());
    all
}

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
