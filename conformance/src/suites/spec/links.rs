//! Symbolic links as the source and as the destination of a bind: crun's options.

use std::fs;

use serde_json::json;

use super::idmaps::idmapped_tmpfs;

use super::{bind, case, mounted, path, userns};
use crate::ctx::{Ctx, Stop, args, ensure, eq, facts_of, push};
use crate::frame::Case;

pub(super) fn links() -> Vec<Case> {
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
