//! Programs beside the first one, and pods over the time: as kubelet does it.

use std::fs;
use std::path::Path;

use k8s_cri::v1::{
    ContainerEventType, ContainerFilter, ContainerMetadata, ContainerState, ContainerStatsRequest, GetEventsRequest,
    Int64Value, KeyValue, ListContainersRequest, ListPodSandboxRequest, PodSandboxState, RemovePodSandboxRequest,
    ReopenContainerLogRequest, SecurityProfile, StartContainerRequest, VersionRequest,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::containerd::IDLE;
use super::super::{compared_log, reference, until};
use super::client::{Api, Cri, ask, exec, log, pod_linux, refused, resources, security, shim};
use super::{case, obeys, same, serve, with, words};
use crate::ctx::{Ctx, Outcome, Stop, contains, ensure, eq, fail, skip};
use crate::fixture::Fixture;
use crate::frame::{Case, cgroups_named};

/// For what it logs, with the reference too.
static LOG: Fixture = Fixture { name: "cri-log", start: super::start };

/// One that may be killed: it is started again.
static KEPT: Fixture = Fixture { name: "cri-kept", start: start_kept };

fn start_kept(x: &Ctx) -> Outcome {
    serve(x, true)
}

/// Ends a process from outside.
fn kill_9(pid: &str) -> Outcome {
    Ok(kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL)?)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("exec/output", "ExecSync: both streams and the exit code", |c| {
            let id = c.up(&c.pod()?, IDLE, |_| {})?;
            let out = c.exec(&id, "seq 100000; echo err >&2; exit 7")?;
            eq("exit code", out.exit_code, 7)?;
            eq("lines", out.stdout.iter().filter(|b| **b == b'\n').count(), 100_000)?;
            eq("stderr", out.stderr.as_slice(), b"err\n")?;
            eq("killed", c.exec(&id, "kill -9 $$; sleep 1000")?.exit_code, 137)
        }),
        case(
            "exec/like-the-first",
            "ExecSync: ids, directory, variables, capabilities, filter are the container's",
            |c| {
                let facts = "id; pwd; echo $A; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; for n in mnt pid net ipc uts user cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup /proc/self/oom_score_adj";
                let script = format!("{facts}; echo .; {IDLE}");
                let id = c.up(&c.pod()?, &script, |c| {
                    c.envs.push(KeyValue { key: "A".into(), value: "b".into() });
                    c.working_dir = "/data".into();
                    let s = security(c);
                    s.run_as_user = Some(Int64Value { value: 1000 });
                    s.no_new_privs = true;
                    s.seccomp = Some(SecurityProfile::default());
                })?;
                c.says(&id, ".")?;
                let mut first: Vec<String> =
                    log(Path::new(&c.status(&id)?.log_path))?.into_iter().map(|l| l.text).collect();
                first.pop();
                ensure(first.len() > 10 && first[0].starts_with("uid=1000"), format_args!("{first:?}"))?;
                let other = c.get(&id, facts)?;
                eq("exec", other.lines().collect::<Vec<_>>(), first.iter().map(String::as_str).collect::<Vec<_>>())
            },
        ),
        case("exec/timeout", "ExecSync: what takes too long is ended, and that is told", |c| {
            let id = c.up(&c.pod()?, IDLE, |_| {})?;
            let mut request = exec(&id, &["sleep", "1235"]);
            request.timeout = 1;
            let status = refused!(c, exec_sync(request))?;
            eq(format_args!("code ({})", status.message()), status.code(), tonic::Code::DeadlineExceeded)?;
            until("the end", || Ok(c.get(&id, "ps -o args | grep -c '^sleep 1235'; true")? == "0"))?;
            eq("state", c.status(&id)?.state(), ContainerState::ContainerRunning)
        }),
        case("exec/refused", "ExecSync: a missing program, and a container that has ended", |c| {
            let id = c.up(&c.pod()?, IDLE, |_| {})?;
            let text = "exec: \"nosuch\": executable file not found in $PATH";
            contains("answer", refused!(c, exec_sync(exec(&id, &["nosuch"])))?.message(), &[text])?;
            contains("answer", refused!(c, exec_sync(exec(&id, &["/etc"])))?.message(), &["exec: \"/etc\": "])?;
            c.stop(&id, 30)?;
            contains("answer", refused!(c, exec_sync(exec(&id, &["true"])))?.message(), &["CONTAINER_EXITED"])
        }),
        case("exec/many", "ExecSync: 10 at once", |c| {
            let id = c.up(&c.pod()?, IDLE, |_| {})?;
            let all = (0..10).map(|i| {
                let (mut api, request) = (c.api(), exec(&id, &["sh", "-c", &format!("echo {i}; exit {i}")]));
                async move { api.exec_sync(request).await }
            });
            for (i, out) in c.at_once(all)?.into_iter().enumerate() {
                eq("answer", (out.stdout, out.exit_code), (format!("{i}\n").into_bytes(), i as i32))?;
            }
            Ok(())
        }),
        case("container/log/reopen", "ReopenContainerLog, after the file was moved away", |c| {
            let script = "trap 'echo again' USR1; echo up; while :; do sleep 1000 & wait; done";
            let id = c.up(&c.pod()?, script, |_| {})?;
            c.says(&id, "up")?;
            let file = c.status(&id)?.log_path;
            fs::rename(&file, format!("{file}.1"))?;
            ask!(c, reopen_container_log(ReopenContainerLogRequest { container_id: id.clone() }))?;
            kill(Pid::from_raw(c.pid(&id)?.parse()?), Signal::SIGUSR1)?;
            c.says(&id, "again")?;
            eq("lines", log(Path::new(&file))?.len(), 1)
        }),
        case("life/killed", "a first process that is killed from outside", |c| {
            let id = c.up(&c.pod()?, IDLE, |_| {})?;
            kill_9(&c.pid(&id)?)?;
            let ended = c.ended(&id)?.exits(137)?;
            eq("reason", ended.status.reason.as_str(), "Error")?;
            c.stop(&id, 30)
        }),
        case("life/restarted", "one of a pod's two containers fails, and is made again", |c| {
            let pod = c.pod()?;
            let named = |attempt| Some(ContainerMetadata { name: "worker".into(), attempt });
            let beside = c.up(&pod, IDLE, |_| {})?;
            let pid = c.pid(&beside)?;
            let first = c.up(&pod, "exit 9", |c| c.metadata = named(0))?;
            c.ended(&first)?.exits(9)?;
            let second = c.up(&pod, IDLE, |c| c.metadata = named(1))?;
            same("net", &c.pid(&second)?, &pid)?;
            let filter = ContainerFilter { pod_sandbox_id: pod.id.clone(), ..ContainerFilter::default() };
            let request = ListContainersRequest { filter: Some(filter) };
            let mut listed: Vec<_> = ask!(c, list_containers(request))?
                .containers
                .into_iter()
                .filter(|c| c.id != beside)
                .map(|c| (c.metadata.clone().unwrap_or_default().attempt, c.state()))
                .collect();
            listed.sort_unstable();
            eq("attempts", listed, vec![(0, ContainerState::ContainerExited), (1, ContainerState::ContainerRunning)])?;
            c.remove(&first)?;
            eq("pid of the other", c.pid(&beside)?, pid)?;
            c.get(&second, "true").map(drop)
        }),
        case("life/pod-killed", "a pod whose own process was killed is stopped, and made again under its name", |c| {
            let pod = c.pod()?;
            let id = c.up(&pod, IDLE, |_| {})?;
            kill_9(&c.pod_pid(&pod.id)?)?;
            until("its end", || Ok(c.pod_status(&pod.id)?.0.state() == PodSandboxState::SandboxNotready))?;
            c.stop_pod(&pod.id)?;
            eq("state of the container", c.status(&id)?.state(), ContainerState::ContainerExited)?;
            let mut again = pod.config.clone();
            again.metadata.get_or_insert_default().attempt = 1;
            let second = c.run(again)?;
            c.sh(&second, "exit 4", |_| {})?.exits(4).map(drop)
        }),
        case("life/shim-killed", "what a shim leaves that was killed is ended and removed", |c| {
            // Of a container in the pod containerd 2 would forget the processes.
            let pod = c.pod()?;
            let pid = c.pod_pid(&pod.id)?;
            let Some(shim) = shim(&pod.id) else { return fail("the pod has no shim") };
            kill_9(&shim)?;
            until("the end of the pod", || Ok(c.pod_status(&pod.id)?.0.state() == PodSandboxState::SandboxNotready))?;
            until("the end of its process", || Ok(!Path::new("/proc").join(&pid).exists()))?;
            let root = format!("{}/rootfs", pod.id);
            until("the end of its root", || Ok(!fs::read_to_string("/proc/self/mountinfo")?.contains(&root)))?;
            // While containerd 2 is still about the shim it refuses; kubelet asks again.
            let request = RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            let remove = |mut api: Api, request| async move { api.remove_pod_sandbox(request).await };
            until("the removal", || Ok(c.call("remove_pod_sandbox", |api| remove(api, request.clone())).is_ok()))
        }),
        case("life/refused-pod", "nothing is left of a pod that can't be made", |c| {
            let mut config = c.pod_config()?;
            pod_linux(&mut config).sysctls = [("net.no.such".to_owned(), "1".to_owned())].into();
            let said = refused!(c, run_pod_sandbox(c.run_request(&config)))?;
            contains("answer", said.message(), &["net/no/such", "no such file or directory"])?;
            let listed = ask!(c, list_pod_sandbox(ListPodSandboxRequest::default()))?.items;
            let name = config.metadata.clone().unwrap_or_default().name;
            ensure(listed.iter().all(|p| p.metadata.clone().unwrap_or_default().name != name), "it is listed")?;
            // Of the pod's own cgroup, which is kubelet's, all below.
            for parent in cgroups_named(&name) {
                let left: Vec<_> = fs::read_dir(parent)?.flatten().filter(|e| e.path().is_dir()).collect();
                ensure(left.is_empty(), format_args!("left: cgroups {left:?}"))?;
            }
            // Its name is free.
            pod_linux(&mut config).sysctls.clear();
            c.run(config).map(drop)
        }),
        case("events", "GetContainerEvents: created, started, stopped, deleted", events),
        case("crowd", "10 pods at once, with --full 50", |c| {
            let count = if c.x.job.full { 50 } else { 10 };
            let configs: Vec<_> = (0..count).map(|_| c.pod_config()).collect::<Result<_, _>>()?;
            let requests = configs.iter().map(|config| {
                let (mut api, request) = (c.api(), c.run_request(config));
                async move { api.run_pod_sandbox(request).await }
            });
            let answers = c.at_once(requests.collect::<Vec<_>>())?;
            let pods: Vec<_> =
                answers.into_iter().zip(configs).map(|(a, config)| c.keep(a.pod_sandbox_id, config)).collect();
            let ids: Vec<_> = pods.iter().map(|pod| c.create(pod, "exit 3", |_| {})).collect::<Result<_, _>>()?;
            c.at_once(ids.iter().map(|id| {
                let request = StartContainerRequest { container_id: id.clone() };
                let mut api = c.api();
                async move { api.start_container(request).await }
            }))?;
            for id in ids {
                c.ended(&id)?.exits(3)?;
            }
            Ok(())
        }),
        with(&KEPT, "daemon", "containers survive the death of containerd, and are its own again", daemon_killed),
        with(&LOG, "beside", "no complaint of the same deeds that the reference does not cause", |c| {
            reference(c.x)?;
            compared_log(c.x, &c.dir.join("containerd.log"), CHANCE, |with_reference| {
                c.handler.set(if with_reference { "reference" } else { "tested" });
                deeds(c)
            })
        }),
    ]
}

fn events(c: &Cri<'_>) -> Outcome {
    let (sender, heard) = std::sync::mpsc::channel();
    let mut api = c.api();
    let listening = c.spawn(async move {
        let mut stream = api.get_container_events(GetEventsRequest {}).await?.into_inner();
        while let Some(event) = stream.message().await? {
            let _ = sender.send((event.container_id.clone(), event.container_event_type()));
        }
        Ok::<(), tonic::Status>(())
    });
    let pod = c.pod()?;
    let id = c.sh(&pod, "exit 3", |_| {})?.status.id;
    c.remove(&id)?;
    if listening.is_finished() {
        return skip("this containerd tells no events");
    }
    let mut all = Vec::new();
    let want = [
        ContainerEventType::ContainerCreatedEvent,
        ContainerEventType::ContainerStartedEvent,
        ContainerEventType::ContainerStoppedEvent,
        ContainerEventType::ContainerDeletedEvent,
    ];
    until("four events", || {
        ask!(c, version(VersionRequest::default()))?;
        all.extend(heard.try_iter().filter(|(of, _)| *of == id).map(|(_, kind)| kind));
        Ok(all.len() >= want.len())
    })?;
    listening.abort();
    eq("events", all, want.to_vec())
}

fn daemon_killed(c: &Cri<'_>) -> Outcome {
    let pod = c.pod()?;
    let stays = c.up(&pod, &obeys("echo last; exit 6"), |_| {})?;
    c.says(&stays, "up")?;
    let ends = c.up(&pod, IDLE, |_| {})?;
    let (pid, doomed, daemon) = (c.pid(&stays)?, c.pid(&ends)?, c.daemon()?);
    kill_9(&daemon.to_string())?;
    // Its end is the shim's to remember.
    kill_9(&doomed)?;
    until("another daemon", || {
        Ok(c.daemon().is_ok_and(|now| now != daemon)
            && c.call("version", |mut api| async move { api.version(VersionRequest::default()).await }).is_ok())
    })?;
    // The plugin answers when it has found again what there is.
    eq("state of the pod", c.pod_status(&pod.id)?.0.state(), PodSandboxState::SandboxReady)?;
    eq("state", c.status(&stays)?.state(), ContainerState::ContainerRunning)?;
    eq("pid", c.pid(&stays)?, pid)?;
    c.get(&stays, "true")?;
    c.becomes(&ends, ContainerState::ContainerExited)?;
    // containerd 2 does not ask the shim how it ended.
    let code = c.status(&ends)?.exit_code;
    ensure([137, 255].contains(&code), format_args!("exit code of the one that was killed: {code}"))?;
    c.sh(&pod, "exit 4", |_| {})?.exits(4)?;
    c.stop(&stays, 30)?;
    eq("exit code", c.status(&stays)?.exit_code, 6)?;
    c.says(&stays, "last")
}

/// A bit of everything that the daemon logs something of.
fn deeds(c: &Cri<'_>) -> Result<(), Stop> {
    let pod = c.pod()?;
    let id = c.up(&pod, IDLE, |_| {})?;
    eq("exit code", c.exec(&id, "exit 3")?.exit_code, 3)?;
    refused!(c, exec_sync(exec(&id, &["nosuch"])))?;
    let mut late = exec(&id, &["sleep", "1000"]);
    late.timeout = 1;
    refused!(c, exec_sync(late))?;
    ask!(c, container_stats(ContainerStatsRequest { container_id: id.clone() }))?;
    c.stop(&id, 30)?;
    c.remove(&id)?;
    let missing = c.create(&pod, "", |c| c.command = words(&["nosuch"]))?;
    refused!(c, start_container(StartContainerRequest { container_id: missing }))?;
    if c.x.needs("memory").is_ok() {
        c.sh(&pod, "tail /dev/zero", |c| resources(c).memory_limit_in_bytes = 16 << 20)?;
    }
    let stubborn = c.up(&pod, &obeys(""), |_| {})?;
    c.says(&stubborn, "up")?;
    c.stop(&stubborn, 0)?;
    let killed = c.up(&pod, IDLE, |_| {})?;
    kill_9(&c.pid(&killed)?)?;
    c.ended(&killed)?.exits(137)?;
    let left = c.up(&pod, IDLE, |_| {})?;
    c.remove(&left)?;
    c.up(&pod, IDLE, |_| {})?;
    c.tidy()
}

/// What comes by chance, whichever the runtime, and what runc 1.1 says without `error during container init`.
const CHANCE: &[&str] = &[
    "failed to remove runc container",
    // What it quotes is compared line by line.
    "warnings while cleaning up dead shim",
    "error during container init: exec: \"nosuch\": executable file not found in $PATH",
];
