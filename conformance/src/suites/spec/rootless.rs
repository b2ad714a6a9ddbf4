//! An ordinary user's containers: what only such a user meets (`--as-user`). All other cases of the suite run as such a user
//! too.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Ctx, Stop, args, contains, ensure, eq, facts_of, namespace, skip};
use crate::frame::Case;
use crate::user::{HAS_CGROUP, TAKES_IDS, User};

const ROOTLESS: &str = "runc: rootless containers";

/// What people search for (engine contract, 5.3).
const NO_PERMISSION: &str = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";

fn user(x: &Ctx) -> Result<&User, Stop> {
    x.job.user.as_ref().map_or_else(|| skip("takes --as-user"), Ok)
}

/// Both maps.
fn maps(c: &mut Value, uids: Value, gids: Value) {
    c["linux"]["uidMappings"] = uids;
    c["linux"]["gidMappings"] = gids;
}

pub(super) fn rootless() -> Vec<Case> {
    vec![
        case("rootless/default-root", "runc: without --root, a directory of its own in $XDG_RUNTIME_DIR", |x| {
            user(x)?;
            let name = x.job.version.split(' ').next().unwrap_or_default().to_owned();
            let b = x.bundle(|c| args(c, "exit 0"))?;
            x.bare(["create", "--bundle", b.dir(), &b.id]).go()?.ok()?;
            let root = user(x)?.runtime_dir(&x.job).join(&name);
            let there = root.join(&b.id).is_dir();
            x.bare(["delete", "--force", &b.id]).go()?.ok()?;
            ensure(there, format_args!("no {}/ID", root.display()))?;
            if name == "crun" {
                return Ok(());
            }
            // Else a cleaner may take it for forgotten.
            eq("mode", fs::metadata(&root)?.mode() & 0o7777, 0o1700)
        }),
        case("rootless/no-user-namespace", ROOTLESS, |x| {
            user(x)?;
            let b = x.bundle(|c| {
                namespace(c, "user", None);
                maps(c, json!(null), json!(null));
            })?;
            x.run(&b)?.fails(1, &["rootless container requires user namespaces"]).map(drop)
        }),
        case("rootless/unmapped-id", "config-linux.md User namespace mappings: an id outside is an error", |x| {
            user(x)?;
            for (key, id) in [("uid", 999_999), ("gid", 999_998)] {
                let b = x.bundle(|c| c["process"]["user"][key] = json!(id))?;
                let out = x.run(&b)?.exits(1)?;
                ensure(!out.stderr.trim().is_empty(), "no message")?;
            }
            Ok(())
        }),
        case("rootless/additional-gids", "user_namespaces(7): setgroups is denied, or lent by newgidmap(1)", |x| {
            let gid = if user(x)?.has_subordinates() { 5 } else { 0 };
            let b = x.bundle(|c| c["process"]["user"]["additionalGids"] = json!([gid]))?;
            let out = x.run(&b)?;
            if gid == 0 {
                return out.fails(1, &["dditional"]).map(drop);
            }
            eq("groups", &facts_of(&out.ok()?)?["groups"], &json!([gid]))
        }),
        case("rootless/no-root-inside", "user_namespaces(7): a namespace needs no root", |x| {
            let user = user(x)?;
            let map = |id: u32| json!([{"containerID": 5, "hostID": id, "size": 1}]);
            let b = x.bundle(|c| {
                maps(c, map(user.uid), map(user.gid));
                c["process"]["user"] = json!({"uid": 5, "gid": 5});
            })?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            eq("uid", &f["uid"], &json!([5, 5, 5, 5]))
        }),
        case("rootless/many-mappings", "user_namespaces(7): 340 lines in a map", |x| {
            let user = user(x)?;
            let Some(first) = user.first_subordinate() else { return skip(TAKES_IDS) };
            let map = |own: u32| {
                let lent = (1..340).map(|i| json!({"containerID": i, "hostID": first + 2 * i, "size": 1}));
                json!([json!({"containerID": 0, "hostID": own, "size": 1})].into_iter().chain(lent).collect::<Vec<_>>())
            };
            let b = x.bundle(|c| {
                maps(c, map(user.uid), map(user.gid));
                c["process"]["user"] = json!({"uid": 339, "gid": 339});
            })?;
            let f = facts_of(&x.run(&b)?.ok()?)?;
            for name in ["uid_map", "gid_map"] {
                eq(name, f[name].as_str().unwrap_or_default().lines().count(), 340)?;
            }
            eq("uid", &f["uid"][0], &json!(339))
        }),
        case("rootless/ids-not-lent", "newuidmap(1): its refusal is told", |x| {
            let user = user(x)?;
            let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}, {"containerID": 1, "hostID": 4_000_000, "size": 9}]);
            let b = x.bundle(|c| maps(c, map(user.uid), map(user.gid)))?;
            // Which of newuidmap and newgidmap comes first is the runtime's affair.
            x.run(&b)?.fails(1, &["idmap", "not allowed"]).map(drop)
        }),
        case("rootless/helpers-of-the-path", "threat model: newuidmap is the system's, wherever PATH leads", |x| {
            if !user(x)?.has_subordinates() {
                return skip(TAKES_IDS);
            }
            let (programs, seen) = (x.job.dir.join("programs"), x.job.dir.join("programs/seen"));
            fs::create_dir(&programs)?;
            for name in ["newuidmap", "newgidmap"] {
                let file = programs.join(name);
                fs::write(&file, format!("#!/bin/sh\n: >{}\nexec /usr/bin/{name} \"$@\"\n", seen.display()))?;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            }
            x.give(&programs)?;
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let path = format!("{}:/usr/bin:/bin", programs.display());
            let xdg = x.job.dir.join("xdg").display().to_string();
            x.cmd(["run", "--bundle", b.dir(), &b.id]).env(&[("PATH", &path), ("XDG_RUNTIME_DIR", &xdg)]).go()?.ok()?;
            ensure(!seen.exists(), "a program of PATH was executed")
        }),
        case(
            "rootless/limits-without-permission",
            "runc: rootless needs no limits without permission for cgroups",
            |x| {
                if user(x)?.has_groups() {
                    return skip(HAS_CGROUP);
                }
                x.needs("pids")?;
                let b = x.bundle(|c| c["linux"]["resources"] = json!({"pids": {"limit": 5}}))?;
                x.run(&b)?.fails(1, &[NO_PERMISSION]).map(drop)
            },
        ),
        case(
            "rootless/cgroups-path-without-permission",
            "runc: rootless needs no cgroupsPath without permission",
            |x| {
                if user(x)?.has_groups() {
                    return skip(HAS_CGROUP);
                }
                let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!("/conformance-not-his/x"))?;
                x.run(&b)?.fails(1, &[NO_PERMISSION, "permission denied"]).map(drop)
            },
        ),
        case("rootless/exec-while-created", "runc exec: in a container that waits for start", |x| {
            user(x)?;
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let _created = x.create(&b)?;
            let f = facts_of(&x.rt(["exec", &b.id, "/probe", "report"])?.ok()?)?;
            eq("uid", &f["uid"][0], &json!(0))
        }),
        case("rootless/hook-sees-namespaces", "config.md createRuntime: hooks set the network up", |x| {
            user(x)?;
            let seen = x.job.dir.join("seen");
            let script = format!(
                "p=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$'); readlink /proc/$p/ns/net >{}",
                seen.display()
            );
            let f = x.facts(|c| {
                let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
                c["hooks"] = json!({"createRuntime": [hook]});
            })?;
            eq("network namespace", fs::read_to_string(&seen)?.trim(), f["ns"]["net"].as_str().unwrap_or_default())
        }),
        case("rootless/another-user", "the state of a container is its owner's", |x| {
            let other = user(x)?.uid + 1;
            let live = x.live(|_| ())?;
            for words in
                [vec!["state", &live.id], vec!["exec", &live.id, "/probe", "report"], vec!["kill", &live.id, "KILL"]]
            {
                let out = x.cmd(words).with([format!("user={other}:{other}")]).go()?;
                ensure(out.status != 0, "another user may")?;
                contains("stderr", &out.stderr, &["ermission denied"])?;
            }
            x.status(&live.id, "running")
        }),
        case("rootless/kill-shared-pidns", "runc kill: also without pid namespace and without cgroup", |x| {
            user(x)?;
            let live = x.live(|c| namespace(c, "pid", None))?;
            x.rt(["kill", &live.id, "KILL"])?.ok()?;
            x.gone(live.pid)
        }),
        case("rootless/joined-all", "config-linux.md Namespaces: path, of another container of the same user", |x| {
            user(x)?;
            let first = x.live(|_| ())?;
            let kinds = [("user", "user"), ("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
            let there = |name: &str| format!("/proc/{}/ns/{name}", first.pid);
            let f = x.facts(|c| {
                for (kind, name) in kinds {
                    namespace(c, kind, Some(json!({"type": kind, "path": there(name)})));
                }
                maps(c, json!(null), json!(null));
                if let Some(c) = c.as_object_mut() {
                    c.remove("hostname");
                }
            })?;
            for (_, name) in kinds {
                eq(name, f["ns"][name].as_str(), fs::read_link(there(name))?.to_str())?;
            }
            Ok(())
        }),
    ]
}
