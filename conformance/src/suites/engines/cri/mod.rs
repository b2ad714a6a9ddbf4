//! containerd's CRI plugin, which is how Kubernetes runs containers, with a client of the harness's own in kubelet's place.
//!
//! What a streaming server gives (attach, an interactive exec, port forwarding) is left out: it is the engine's, and to the
//! runtime it is what `ctr tasks exec -t` is.

mod apart;
mod client;
mod life;
mod limits;

use std::fs;
use std::path::Path;

use k8s_cri::v1::{
    CgroupDriver, ContainerConfig, ContainerState, ContainerStatusRequest, KeyValue, ListPodSandboxRequest,
    PodSandboxConfig, PodSandboxFilter, PodSandboxState, RuntimeConfigRequest, RuntimeHandlerFeatures,
    StartContainerRequest, StatusRequest, VersionRequest,
};
use serde_json::json;

use super::containerd::{IDLE, IMAGE, Service};
use super::{namespace_of, reference, staged, until};
use crate::ctx::{Ctx, Driver, Outcome, Stop, contains, ensure, eq, fail, skip};
use crate::fixture::Fixture;
use crate::frame::Case;
use client::{Cri, ask, log, refused};

static CRI: Fixture = Fixture { name: "cri", start };

/// Debian's plugins for the network.
const PLUGINS: &str = "/usr/lib/cni";

/// The addresses of pods.
const SUBNET: &str = "10.97.0.";

fn start(x: &Ctx) -> Outcome {
    serve(x, false)
}

/// containerd with its CRI plugin. The handlers' table is that of containerd 1, which containerd 2 migrates.
fn serve(x: &Ctx, kept: bool) -> Outcome {
    for plugin in ["ptp", "host-local", "loopback"] {
        if !Path::new(PLUGINS).join(plugin).exists() {
            return skip(format!("no {PLUGINS}/{plugin}"));
        }
    }
    let network = x.job.dir.join("network");
    fs::create_dir_all(&network)?;
    let pods = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipam": {
            "type": "host-local",
            "subnet": format!("{SUBNET}0/24"),
            "dataDir": x.job.dir.join("addresses"),
            "routes": [{"dst": "0.0.0.0/0"}]
        }}]
    });
    fs::write(network.join("pods.conflist"), serde_json::to_vec(&pods)?)?;
    fs::write(x.job.dir.join("parent"), x.job.tag.trim_end_matches('-'))?;
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    // A root without CAP_SYS_RESOURCE may not favour pods as containerd does.
    let (score, usual) = ("/proc/self/oom_score_adj", fs::read("/proc/self/oom_score_adj")?);
    let restricted = fs::write(score, "-998").is_err();
    fs::write(score, usual)?;
    // containerd gives every pod a share of the processors, unless it leaves cgroups to the runtime.
    let without_cgroups = x.needs("cpu").is_err();
    let mut tables = format!(
        "[{cri}]\nsandbox_image = {IMAGE:?}\nrestrict_oom_score_adj = {restricted}\n\
         disable_cgroup = {without_cgroups}\ndisable_hugetlb_controller = false\n[{cri}.cni]\nbin_dir = {PLUGINS:?}\nconf_dir = {network:?}\n\
         [{cri}.containerd]\ndefault_runtime_name = \"tested\"\n"
    );
    let tested = Some(("tested", x.job.runtime.clone()));
    for (name, program) in tested.into_iter().chain(reference(x).ok().map(|r| ("reference", r))) {
        let table = format!("{cri}.containerd.runtimes.{name}");
        tables += &format!(
            "[{table}]\nruntime_type = \"io.containerd.runc.v2\"\n[{table}.options]\nBinaryName = {program:?}\nSystemdCgroup = {}\n",
            x.job.driver == Driver::Systemd
        );
    }
    let disabled = ["io.containerd.internal.v1.opt"];
    Service { namespace: "k8s.io", disabled: &disabled, tables: &tables, kept }.start(x)?;
    let cri = Cri::of(x, x.job.dir.clone())?;
    if without_cgroups
        && !ask!(cri, version(VersionRequest::default()))?.runtime_version.trim_start_matches('v').starts_with("1.")
    {
        return skip("containerd 2 gives pods shares of the processors, and there is no controller cpu here");
    }
    until("the image in CRI", || cri.has_image())
}

fn case(name: &str, checks: &'static str, run: impl Fn(&Cri<'_>) -> Outcome + Send + Sync + 'static) -> Case {
    with(&CRI, name, checks, run)
}

fn with(
    fixture: &'static Fixture,
    name: &str,
    checks: &'static str,
    run: impl Fn(&Cri<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    staged(fixture, name, checks, move |x, dir| {
        let c = Cri::of(x, dir)?;
        let outcome = run(&c);
        outcome.and(c.tidy())
    })
}

/// `sh -c SCRIPT` in a container and all that it prints: name, pod, container, script, output.
type Row = (&'static str, fn(&mut PodSandboxConfig), fn(&mut ContainerConfig), &'static str, &'static str);

fn plain(_: &mut PodSandboxConfig) {}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|w| (*w).to_owned()).collect()
}

fn row((name, pod, container, script, want): &'static Row) -> Case {
    case(name, "what a program sees of a container that was asked for with these fields", move |c| {
        let ended = c.sh(&c.pod_with(pod)?, script, container)?.exits(0)?;
        eq(format_args!("output ({})", ended.stderr.trim()), ended.stdout.trim(), *want)
    })
}

const ROWS: &[Row] = &[
    ("container/plain", plain, |_| {}, "echo $$; id -u; pwd; hostname", "1\n0\n/\nof-the-pod"),
    (
        "container/environment",
        plain,
        |c| {
            c.envs.push(KeyValue { key: "A".into(), value: "b c".into() });
            c.working_dir = "/data".into();
        },
        "echo $A; pwd",
        "b c\n/data",
    ),
    ("container/working-dir/made", plain, |c| c.working_dir = "/not/there".into(), "pwd", "/not/there"),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = ROWS.iter().map(row).collect();
    all.extend(apart::cases());
    all.extend(limits::cases());
    all.extend(life::cases());
    all.extend([
        case("version", "Version and Status: the runtime and the network are ready, and there is the handler", |c| {
            let version = ask!(c, version(VersionRequest::default()))?;
            eq("runtime", (version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("containerd", "v1"))?;
            let status = ask!(c, status(StatusRequest { verbose: true }))?;
            let conditions = status.status.unwrap_or_default().conditions;
            for name in ["RuntimeReady", "NetworkReady"] {
                let found = conditions.iter().find(|c| c.r#type == name);
                ensure(found.is_some_and(|c| c.status), format_args!("{name}: {found:?}"))?;
            }
            let config = status.info.get("config").cloned().unwrap_or_default();
            contains("configuration", &config, &[&*c.x.job.runtime.to_string_lossy()])
        }),
        case("version/features", "what containerd reads of the runtime's features", |c| {
            let features = features(c)?;
            eq(
                "read-only mounts, user namespaces",
                (features.recursive_read_only_mounts, features.user_namespaces),
                (true, true),
            )
        }),
        case("version/cgroup-driver", "what containerd tells kubelet of who makes the cgroups", |c| {
            let request = RuntimeConfigRequest {};
            let answer = match c.call("runtime_config", |mut api| async move { api.runtime_config(request).await }) {
                Err(status) if status.code() == tonic::Code::Unimplemented => {
                    return skip("this containerd does not tell");
                }
                Err(status) => return fail(format!("runtime_config: {}", status.message())),
                Ok(answer) => answer.linux.unwrap_or_default().cgroup_driver(),
            };
            let driver = match c.x.job.driver {
                Driver::Cgroupfs => CgroupDriver::Cgroupfs,
                Driver::Systemd => CgroupDriver::Systemd,
            };
            eq("driver", answer, driver)
        }),
        case("pod/lifecycle", "a pod: run, status, list, stop, remove", pod_lifecycle),
        case("pod/handler", "pods of two handlers side by side, as RuntimeClasses ask for", |c| {
            reference(c.x)?;
            for handler in ["tested", "reference", "tested"] {
                c.handler.set(handler);
                let pod = c.pod()?;
                eq("handler", c.pod_status(&pod.id)?.0.runtime_handler.as_str(), handler)?;
                c.sh(&pod, "exit 3", |_| {})?.exits(3)?;
            }
            c.handler.set("nosuch");
            let config = c.pod_config()?;
            let said = refused!(c, run_pod_sandbox(c.run_request(&config)))?;
            contains("answer", said.message(), &["no runtime for \"nosuch\" is configured"])
        }),
        case("container/lifecycle", "a container: create, start, status, list, stop, remove", container_lifecycle),
        case("container/status", "exit code, reason, times and both streams of a program's end", |c| {
            let pod = c.pod()?;
            let good = c.sh(&pod, "echo out; echo err >&2", |_| {})?.exits(0)?;
            eq("reason", good.status.reason.as_str(), "Completed")?;
            eq("streams", (good.stdout.as_str(), good.stderr.as_str()), ("out\n", "err\n"))?;
            let s = &good.status;
            // A short life may end before its start was noted.
            let times = [s.started_at, s.finished_at];
            ensure(0 < s.created_at && times.iter().all(|t| s.created_at < *t), format_args!("times: {s:?}"))?;
            let bad = c.sh(&pod, "exit 3", |_| {})?.exits(3)?;
            eq("reason", bad.status.reason.as_str(), "Error")
        }),
        case("container/oom", "out of memory is the reason", |c| {
            c.x.needs("memory")?;
            let limit = |c: &mut ContainerConfig| client::resources(c).memory_limit_in_bytes = 16 << 20;
            let pod = c.pod()?;
            c.sh(&pod, "tail /dev/zero", limit)?.exits(137)?;
            // Where the container ends with it, containerd may come too late to be told by the kernel.
            let id = c.up(&pod, &format!("tail /dev/zero; {}", obeys("exit 6")), limit)?;
            until("the reason OOMKilled", || Ok(c.status(&id)?.reason == "OOMKilled"))?;
            c.says(&id, "up")?;
            c.stop(&id, 30)?;
            let status = c.status(&id)?;
            eq("code and reason", (status.exit_code, status.reason.as_str()), (6, "OOMKilled"))
        }),
        case("container/stop", "StopContainer: at once, in time, and after the time", |c| {
            let pod = c.pod()?;
            for (answer, timeout, code) in [("exit 5", 30, 5), ("", 0, 137), ("", 1, 137)] {
                let id = c.up(&pod, &obeys(answer), |_| {})?;
                c.says(&id, "up")?;
                c.stop(&id, timeout)?;
                // The answer comes after the end.
                let status = c.status(&id)?;
                eq("state", status.state(), ContainerState::ContainerExited)?;
                eq(format_args!("exit code with {timeout} s"), status.exit_code, code)?;
            }
            Ok(())
        }),
        case("container/missing", "a program that is not there: the text, the code and the reason", |c| {
            let pod = c.pod()?;
            let id = c.create(&pod, "", |c| c.command = words(&["nosuch"]))?;
            let text = "exec: \"nosuch\": executable file not found in $PATH";
            not_started(c, &id, text)?;
            let id = c.create(&pod, "", |c| c.command = words(&["/no/such"]))?;
            not_started(c, &id, "no such file or directory")
        }),
        case("container/directory", "a program that is a directory, or may not be executed", |c| {
            let pod = c.pod()?;
            // Later runcs say that it is one.
            let programs = [("/etc", "exec: \"/etc\": "), ("/etc/passwd", "exec: \"/etc/passwd\": permission denied")];
            for (program, text) in programs {
                let id = c.create(&pod, "", |c| c.command = words(&[program]))?;
                not_started(c, &id, text)?;
            }
            Ok(())
        }),
        case("container/working-dir/file", "a working directory that is a file", |c| {
            let id = c.create(&c.pod()?, "pwd", |c| c.working_dir = "/etc/passwd".into())?;
            not_started(c, &id, "not a directory")
        }),
        case("container/log", "long lines in parts, many lines, and a line without an end", |c| {
            // containerd 1.6 closes the pipes at the end of a container, whatever is in them.
            let script = format!("seq 30000; printf '%040000d\\n' 0; {}", obeys("printf last; exit 0"));
            let id = c.up(&c.pod()?, &script, |_| {})?;
            c.says(&id, "up")?;
            c.stop(&id, 30)?;
            let out = c.ended(&id)?.exits(0)?;
            let lines: Vec<&str> = out.stdout.split('\n').collect();
            eq("lines", lines.len(), 30003)?;
            eq("last lines", (lines[29999], lines[30000].len(), lines[30002]), ("30000", 40000, "last"))?;
            let parts = log(Path::new(&out.status.log_path))?;
            eq(
                "parts",
                parts.iter().filter(|l| !l.full).map(|l| l.text.len()).collect::<Vec<_>>(),
                vec![16384, 16384, 4],
            )
        }),
        case("container/tty", "a container on a terminal", |c| {
            let out = c.sh(&c.pod()?, "tty; test -t 1 && test -t 2 && echo err >&2", |c| c.tty = true)?.exits(0)?;
            eq("streams", (out.stdout.as_str(), out.stderr.as_str()), ("/dev/pts/0\nerr\n", ""))
        }),
    ]);
    all
}

/// A script that does `answer` at SIGTERM, and says `up` when it is ready to.
fn obeys(answer: &str) -> String {
    format!("trap '{answer}' TERM; echo up; while :; do sleep 1000 & wait; done")
}

/// Fails unless two processes are in the same namespace of this kind.
fn same(kind: &str, a: &str, b: &str) -> Outcome {
    eq(kind, namespace_of(a, kind)?, namespace_of(b, kind)?)
}

/// What containerd believes that the runtime can do.
fn features(c: &Cri<'_>) -> Result<RuntimeHandlerFeatures, Stop> {
    let status = ask!(c, status(StatusRequest { verbose: false }))?;
    match status.runtime_handlers.iter().find(|h| h.name == "tested") {
        Some(handler) => Ok(handler.features.unwrap_or_default()),
        None => skip("this containerd tells no features of handlers"),
    }
}

/// Starts a container that cannot be executed: the answer and the status have `text`.
fn not_started(c: &Cri<'_>, id: &str, text: &str) -> Outcome {
    let request = StartContainerRequest { container_id: id.into() };
    contains("answer", refused!(c, start_container(request))?.message(), &[text])?;
    let status = c.status(id)?;
    eq("state", status.state(), ContainerState::ContainerExited)?;
    eq("code and reason", (status.exit_code, status.reason.as_str()), (128, "StartError"))?;
    contains("message", &status.message, &[text])
}

fn pod_lifecycle(c: &Cri<'_>) -> Outcome {
    let pod = c.pod_with(|p| drop(p.labels.insert("app".into(), p.log_directory.clone())))?;
    let (status, info) = c.pod_status(&pod.id)?;
    eq("state", status.state(), PodSandboxState::SandboxReady)?;
    let address = status.network.unwrap_or_default().ip;
    ensure(address.starts_with(SUBNET), format_args!("address {address:?}"))?;
    let pid = c.pod_pid(&pod.id)?;
    for kind in ["net", "ipc", "uts", "pid", "mnt"] {
        ensure(namespace_of(&pid, kind)? != namespace_of("self", kind)?, format_args!("{kind} is the host's"))?;
    }
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    let net = namespaces.iter().find(|n| n["type"] == "network").and_then(|n| n["path"].as_str()).unwrap_or_default();
    ensure(Path::new(net).exists(), format_args!("no network namespace {net:?}"))?;
    let listed = || -> Result<Vec<_>, Stop> {
        let filter = PodSandboxFilter { label_selector: pod.config.labels.clone(), ..Default::default() };
        let request = ListPodSandboxRequest { filter: Some(filter) };
        Ok(ask!(c, list_pod_sandbox(request))?.items)
    };
    let all = listed()?;
    eq(
        "listed",
        all.iter().map(|p| (p.id.as_str(), p.state())).collect::<Vec<_>>(),
        vec![(pod.id.as_str(), PodSandboxState::SandboxReady)],
    )?;
    let id = c.up(&pod, IDLE, |_| {})?;
    c.stop_pod(&pod.id)?;
    eq("state", c.pod_status(&pod.id)?.0.state(), PodSandboxState::SandboxNotready)?;
    eq("state of the container", c.status(&id)?.state(), ContainerState::ContainerExited)?;
    ensure(!Path::new(net).exists(), format_args!("left: network namespace {net}"))?;
    ensure(!Path::new("/proc").join(pid).exists(), "the pod's process is still there")?;
    // kubelet asks again and again.
    c.stop_pod(&pod.id)?;
    c.remove_pod(&pod.id)?;
    until("the end of the shim", || Ok(client::shim(&pod.id).is_none()))?;
    ensure(listed()?.is_empty(), "a pod that was removed is listed")?;
    c.gone(&pod.id)?;
    c.gone(&id)?;
    c.remove_pod(&pod.id)
}

fn container_lifecycle(c: &Cri<'_>) -> Outcome {
    let pod = c.pod()?;
    let id = c.create(&pod, &obeys("exit 5"), |_| {})?;
    eq("state", c.status(&id)?.state(), ContainerState::ContainerCreated)?;
    c.start(&id)?;
    let status = c.status(&id)?;
    eq("state", status.state(), ContainerState::ContainerRunning)?;
    let pid = c.pid(&id)?;
    for kind in ["net", "ipc", "uts"] {
        eq(kind, namespace_of(&pid, kind)?, namespace_of(&c.pod_pid(&pod.id)?, kind)?)?;
    }
    for kind in ["pid", "mnt"] {
        ensure(
            namespace_of(&pid, kind)? != namespace_of(&c.pod_pid(&pod.id)?, kind)?,
            format_args!("{kind} is the pod's"),
        )?;
    }
    eq("listed", c.containers(&pod.id)?, vec![id.clone()])?;
    c.says(&id, "up")?;
    let request = StartContainerRequest { container_id: id.clone() };
    refused!(c, start_container(request))?;
    c.stop(&id, 30)?;
    eq("exit code", c.status(&id)?.exit_code, 5)?;
    // kubelet asks again and again.
    c.stop(&id, 30)?;
    c.remove(&id)?;
    eq("listed", c.containers(&pod.id)?, Vec::<String>::new())?;
    c.gone(&id)?;
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
    eq("code", refused!(c, container_status(request))?.code(), tonic::Code::NotFound)?;
    // One that runs is stopped first.
    let id = c.up(&pod, IDLE, |_| {})?;
    c.remove(&id)?;
    c.remove(&id)
}
