//! The configurations that real engines wrote, made runnable and run: create, state, start, exec, kill, delete.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Ctx, Outcome, ensure, eq, skip};
use crate::frame::Case;

/// Files of runtime-core/tests/fixtures, by name.
macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../../runtime-core/tests/fixtures/", $name, ".json")))),*]
    };
}

/// What was in bundles.
const CONFIGURATIONS: &[(&str, &str)] = fixtures![
    "ctr-default"
    "ctr-limited"
    "ctr-nethost"
    "ctr-privileged"
    "ctr-readonly-mount"
    "ctr-seccomp"
    "ctr-tty"
    "ctr-withns"
    "docker-cgroupns-private"
    "docker-debian"
    "docker-default"
    "docker-device"
    "docker-hostns"
    "docker-init"
    "docker-ipc-container"
    "docker-ipc-shareable"
    "docker-it"
    "docker-limited"
    "docker-netcontainer"
    "docker-nethost"
    "docker-netnone"
    "docker-privileged"
    "docker-publish"
    "docker-readonly"
    "docker-seccomp-unconfined"
    "docker-sysctl"
    "docker-user-caps"
    "docker-userns-remap"
    "docker-userns-remap-it"
    "docker-volumes"
    "podman-default"
    "podman-init"
    "podman-it"
    "podman-limited"
    "podman-nethost"
    "podman-netnone"
    "podman-pod-member"
    "podman-privileged"
    "podman-readonly-user"
    "podman-rootless-default"
    "podman-rootless-it"
    "podman-rootless-keep-id"
    "podman-rootless-nethost"
    "podman-rootless-netnone"
    "podman-rootless-pod-member"
    "podman-rootless-privileged"
    "podman-rootless-publish"
    "podman-rootless-readonly-user"
    "podman-rootless-systemd"
    "podman-rootless-volumes"
    "podman-systemd"
    "podman-userns"
    "podman-volumes"
];

/// What was given to `exec --process`.
const PROCESSES: &[(&str, &str)] = fixtures![
    "ctr-exec.process"
    "docker-exec-it.process"
    "docker-exec.process"
    "podman-exec.process"
    "podman-rootless-exec.process"
];

pub(crate) fn cases() -> Vec<Case> {
    CONFIGURATIONS
        .iter()
        .map(|(name, text)| {
            case(format!("fixtures/{name}"), "contract: what an engine wrote runs from create to delete", move |x| {
                live(x, name, text)
            })
        })
        .collect()
}

/// The process that the same engine gave to `exec`.
fn process(fixture: &str) -> &'static str {
    let name = match fixture.rsplit_once('-').unwrap_or(("", fixture)) {
        ("docker", "it") => "docker-exec-it.process",
        _ if fixture.starts_with("ctr-") => "ctr-exec.process",
        _ if fixture.starts_with("docker-") => "docker-exec.process",
        _ if fixture.starts_with("podman-rootless-") => "podman-rootless-exec.process",
        _ => "podman-exec.process",
    };
    PROCESSES.iter().find(|(n, _)| *n == name).map_or("", |(_, text)| text)
}

fn live(x: &Ctx, name: &str, text: &str) -> Outcome {
    let mut config: Value = serde_json::from_str(text)?;
    if x.job.v2 {
        let v1 = |m: &Value| m["destination"].as_str().is_some_and(|d| d.starts_with("/sys/fs/cgroup/"));
        if config["mounts"].as_array().is_some_and(|m| m.iter().any(v1)) {
            return skip("written for a host with cgroup v1: mounts its hierarchies by name");
        }
        let present = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
        let absent = |controller: &str| !present.split_whitespace().any(|p| p == controller);
        if let Some(limits) = config["linux"]["resources"].as_object_mut() {
            for (key, controller) in [("cpu", "cpu"), ("memory", "memory"), ("pids", "pids"), ("blockIO", "io")] {
                if absent(controller) {
                    limits.remove(key);
                }
            }
        }
    }
    // Whose namespaces are joined.
    let holder = x.live(|_| {})?;
    let b = x.bare_bundle()?;
    // The programs are the probe under the names by which engines look them up in PATH.
    fs::create_dir(b.rootfs.join("bin"))?;
    for program in ["sleep", "sh", "true"] {
        fs::hard_link(&x.job.probe, b.rootfs.join("bin").join(program))?;
    }
    let terminal = config["process"]["terminal"] == true;
    let program = config["process"]["args"][0].clone();
    config["process"]["args"] = json!([program, "probe", "wait"]);
    let cwd = config["process"]["cwd"].as_str().unwrap_or("/").trim_start_matches('/');
    fs::create_dir_all(b.rootfs.join(cwd))?;
    config["root"]["path"] = json!(b.rootfs);
    if config["linux"]["cgroupsPath"].is_string() {
        config["linux"]["cgroupsPath"] = json!(x.cgroups_path(&b.id));
    }
    for ns in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        if ns["path"].is_string() {
            let file = match ns["type"].as_str().unwrap_or_default() {
                "network" => "net",
                other => other,
            };
            ns["path"] = json!(format!("/proc/{}/ns/{file}", holder.pid));
        }
    }
    for hooks in config["hooks"].as_object_mut().into_iter().flat_map(|h| h.values_mut()) {
        for hook in hooks.as_array_mut().into_iter().flatten() {
            *hook = json!({"path": "/bin/true", "args": ["true"]});
        }
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let is_bind = mount["options"].as_array().is_some_and(|o| o.iter().any(|o| o == "bind" || o == "rbind"));
        let source = mount["source"].as_str().unwrap_or_default().to_owned();
        // The host's own devices and filesystems are as good here; an engine's files are made.
        if is_bind && !((source.starts_with("/dev/") || source == "/sys") && Path::new(&source).exists()) {
            mount["source"] = json!(bind_source(x, &source)?);
        }
    }
    // An engine that maps ids gives the root to the mapped ones.
    if let (Some(uid), Some(gid)) = (host_root(&config, "uidMappings"), host_root(&config, "gidMappings")) {
        chown_all(&b.rootfs, uid, gid)?;
    }
    fs::write(b.path("config.json"), config.to_string())?;

    let console = x.console()?;
    let tty: &[&str] = if terminal { &["--console-socket", &console.path] } else { &[] };
    let mut create = vec!["create", "--bundle", b.dir()];
    create.extend(tty);
    create.push(&b.id);
    // The socket's queue takes connection and message before they are accepted, so that a failure does not hang.
    let mut out = x.cmd(&create).spawn()?;
    out.started()?;
    let pty = if terminal { Some(console.accept()?) } else { None };
    x.status(&b.id, "created")?;
    x.rt(["start", &b.id])?.ok()?;
    if !terminal {
        out.expect("ready")?;
    }
    let state = x.state(&b.id)?;
    eq("status", state["status"].as_str(), Some("running"))?;

    let mut process: Value = serde_json::from_str(process(name))?;
    process["args"] = json!(["true", "probe", "write", "/dev/null", "x"]);
    let exec_terminal = process["terminal"] == true;
    let file = b.path("process.json");
    fs::write(&file, process.to_string())?;
    let mut exec = vec!["exec", "--process", &file];
    let pid_file = b.path("exec-pid");
    let exec_console = x.console()?;
    if exec_terminal {
        exec.extend(["--detach", "--pid-file", &pid_file, "--console-socket", &exec_console.path]);
    }
    exec.push(&b.id);
    if exec_terminal {
        x.cmd(&exec).spawn()?.started()?;
        drop(exec_console.accept()?.read_all());
    } else {
        x.rt(&exec)?.ok()?;
    }

    x.rt(["kill", &b.id, "KILL"])?.ok()?;
    x.gone(state["pid"].as_i64().unwrap_or_default() as i32)?;
    x.status(&b.id, "stopped")?;
    x.rt(["delete", &b.id])?.ok()?;
    drop(pty);
    ensure(!x.state_root().join(&b.id).exists(), "the state directory is left")
}

/// The host's id of the container's root, where ids are mapped.
fn host_root(config: &Value, ids: &str) -> Option<u32> {
    let maps = config["linux"][ids].as_array()?;
    let root = maps.iter().find(|m| m["containerID"] == 0)?;
    root["hostID"].as_u64()?.try_into().ok()
}

/// Not the programs: they are links to files of the harness.
fn chown_all(path: &Path, uid: u32, gid: u32) -> Outcome {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    for entry in fs::read_dir(path)?.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        chown_all(&entry.path(), uid, gid)?;
    }
    Ok(())
}

/// A file, or a directory with a file, in the place of an engine's.
fn bind_source(x: &Ctx, source: &str) -> Result<std::path::PathBuf, crate::ctx::Stop> {
    let path = x.fresh("source");
    match source.rsplit('/').next().unwrap_or_default() {
        "docker-init" | "catatonit" => drop(fs::copy(&x.job.probe, &path)?),
        "shm" | "fv" | "_data" | "systemd" => fs::create_dir(&path)?,
        _ => fs::write(&path, "made by the case\n")?,
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_files_are_there() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime-core/tests/fixtures");
        let all = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
        let mut on_disk: Vec<_> = all.filter_map(|n| n.strip_suffix(".json").map(str::to_owned)).collect();
        let mut here: Vec<_> =
            super::CONFIGURATIONS.iter().chain(super::PROCESSES).map(|(n, _)| (*n).to_owned()).collect();
        on_disk.sort();
        here.sort();
        assert_eq!(here, on_disk);
    }
}
