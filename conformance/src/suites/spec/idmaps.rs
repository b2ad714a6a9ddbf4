//! Mounts with an idmapping.

use std::fs;

use serde_json::{Value, json};

use super::mounts::{tree, untree};
use super::{bind, case, has, mounted, path, tmpfs, userns};
use crate::ctx::{Ctx, Outcome, Stop, args, contains, ensure, eq, facts_of, push, skip};
use crate::frame::Case;

/// `uidMappings` and `gidMappings` from 0 on.
fn mapped(mut mount: Value, uid: u32, gid: u32) -> Value {
    mount["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 100}]);
    mount["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 100}]);
    mount
}

/// A tmpfs of this machine may be too old for it (kernel 6.3).
pub(super) fn idmapped_tmpfs(x: &Ctx, patch: impl FnOnce(&mut Value)) -> Result<Value, Stop> {
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

pub(super) fn idmaps() -> Vec<Case> {
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
