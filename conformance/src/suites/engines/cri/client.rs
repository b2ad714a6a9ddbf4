//! What kubelet is to containerd: a client of the Container Runtime Interface, and the pods that a case has made with it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerFilter, ContainerMetadata, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec, ImageStatusRequest, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext,
    ListContainersRequest, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxStatus,
    PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest,
};
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};

use super::super::containerd::IMAGE;
use super::super::until;
use crate::ctx::{Ctx, Driver, Outcome, Stop, ensure, eq, fail, patience};
use crate::fixture::slice;
use crate::frame::cgroups_named;
use crate::systemd::Manager;

/// How long a request may take.
const ANSWER: Duration = Duration::from_secs(60);

pub(super) type Api = RuntimeServiceClient<Channel>;

/// `ask!(client, METHOD(REQUEST))`: the answer, which must be one.
macro_rules! ask {
    ($cri:expr, $method:ident($request:expr)) => {{
        let request = $request;
        let answer = $cri.call(stringify!($method), |mut api| async move { api.$method(request).await });
        answer.or_else(|status| $crate::ctx::fail(format!("{}: {}", stringify!($method), status.message())))
    }};
}

/// `refused!(client, METHOD(REQUEST))`: what the refusal says, which must be one.
macro_rules! refused {
    ($cri:expr, $method:ident($request:expr)) => {{
        let request = $request;
        match $cri.call(stringify!($method), |mut api| async move { api.$method(request).await }) {
            Ok(_) => $crate::ctx::fail(concat!(stringify!($method), ": it succeeded")),
            Err(status) => Ok(status),
        }
    }};
}

pub(super) use {ask, refused};

/// A pod as it was asked for.
pub(super) struct Pod {
    pub id: String,
    pub config: PodSandboxConfig,
}

/// A container that has ended, and what its log has of each stream.
pub(super) struct Ended {
    pub status: ContainerStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails unless the exit status is `code`.
    pub(super) fn exits(self, code: i32) -> Result<Ended, Stop> {
        eq(format_args!("exit code ({} {})", self.status.message, self.stderr.trim()), self.status.exit_code, code)?;
        Ok(self)
    }
}

pub(super) struct Cri<'a> {
    pub x: &'a Ctx,
    pub dir: PathBuf,
    /// The parent of the cgroups of all pods of the fixture.
    parent: String,
    /// The runtime handler of what is run from now on: a name in containerd's configuration.
    pub handler: Cell<&'static str>,
    executor: tokio::runtime::Runtime,
    channel: Channel,
    count: Cell<u32>,
    pods: RefCell<Vec<String>>,
    /// Ids of all pods and containers of the case.
    made: RefCell<Vec<String>>,
}

impl<'a> Cri<'a> {
    pub(super) fn of(x: &'a Ctx, dir: PathBuf) -> Result<Cri<'a>, Stop> {
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = dir.join("c.sock");
        // The address is for form's sake.
        let endpoint = Endpoint::from_static("http://localhost").timeout(patience(ANSWER));
        let channel = executor.block_on(async {
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
        });
        let parent = fs::read_to_string(dir.join("parent"))?;
        let (handler, count) = (Cell::new(""), Cell::new(0));
        let (pods, made) = (RefCell::default(), RefCell::default());
        Ok(Cri { x, dir, parent, handler, executor, channel, count, pods, made })
    }

    /// The answer to a request.
    pub(super) fn call<T, F>(&self, name: &str, request: impl FnOnce(Api) -> F) -> Result<T, Status>
    where
        T: std::fmt::Debug,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.x.asks(name);
        let answer = self.executor.block_on(request(RuntimeServiceClient::new(self.channel.clone())));
        let answer = answer.map(Response::into_inner);
        let told = match &answer {
            Ok(answer) => format!("{answer:?}"),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        self.x.evidence(&format!("{name} -> {}", told.chars().take(300).collect::<String>()));
        answer
    }

    /// The answers to requests that are made at once, in their order.
    pub(super) fn at_once<T, F>(&self, requests: impl IntoIterator<Item = F>) -> Result<Vec<T>, Stop>
    where
        T: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let running: Vec<_> = requests.into_iter().map(|request| self.executor.spawn(request)).collect();
        running
            .into_iter()
            .map(|answer| match self.executor.block_on(answer)? {
                Ok(answer) => Ok(answer.into_inner()),
                Err(status) => fail(status.message()),
            })
            .collect()
    }

    pub(super) fn api(&self) -> Api {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// Has something go on while others are waited for.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        what: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.executor.spawn(what)
    }

    /// Whether containerd's CRI plugin knows the image.
    pub(super) fn has_image(&self) -> Result<bool, Stop> {
        let mut images = ImageServiceClient::new(self.channel.clone());
        let request = ImageStatusRequest { image: Some(image()), ..Default::default() };
        match self.executor.block_on(images.image_status(request)) {
            Ok(answer) => Ok(answer.into_inner().image.is_some()),
            Err(status) if status.code() == tonic::Code::Unavailable => Ok(false),
            Err(status) => fail(format!("image_status: {}", status.message())),
        }
    }

    /// A name that nobody used.
    pub(super) fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("{}{}", self.x.job.tag, self.count.get())
    }

    /// What a pod is asked for with, as kubelet does where the user asks for nothing.
    pub(super) fn pod_config(&self) -> Result<PodSandboxConfig, Stop> {
        let name = self.name();
        let logs = self.x.job.dir.join(&name);
        fs::create_dir(&logs)?;
        let cgroup_parent = match self.x.job.driver {
            Driver::Cgroupfs => format!("/{}/{name}", self.parent),
            Driver::Systemd => format!("/{}.slice", slice(&self.parent)),
        };
        let context = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces()),
            ..LinuxSandboxSecurityContext::default()
        };
        Ok(PodSandboxConfig {
            metadata: Some(PodSandboxMetadata { uid: name.clone(), name, namespace: "cases".into(), attempt: 0 }),
            hostname: "of-the-pod".into(),
            log_directory: logs.to_string_lossy().into_owned(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent,
                security_context: Some(context),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        })
    }

    /// RunPodSandbox with the configuration as `patch` changes it.
    pub(super) fn pod_with(&self, patch: impl FnOnce(&mut PodSandboxConfig)) -> Result<Pod, Stop> {
        let mut config = self.pod_config()?;
        patch(&mut config);
        self.run(config)
    }

    pub(super) fn pod(&self) -> Result<Pod, Stop> {
        self.pod_with(|_| {})
    }

    pub(super) fn run(&self, config: PodSandboxConfig) -> Result<Pod, Stop> {
        let id = ask!(self, run_pod_sandbox(self.run_request(&config)))?.pod_sandbox_id;
        Ok(self.keep(id, config))
    }

    pub(super) fn run_request(&self, config: &PodSandboxConfig) -> RunPodSandboxRequest {
        RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: self.handler.get().into() }
    }

    /// Notes a pod that must be removed at the end.
    pub(super) fn keep(&self, id: String, config: PodSandboxConfig) -> Pod {
        self.pods.borrow_mut().push(id.clone());
        self.made.borrow_mut().push(id.clone());
        Pod { id, config }
    }

    pub(super) fn pod_status(&self, id: &str) -> Result<(PodSandboxStatus, Value), Stop> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
        let answer = ask!(self, pod_sandbox_status(request))?;
        match answer.status {
            Some(status) => Ok((status, info(answer.info.get("info"))?)),
            None => fail("pod_sandbox_status: no status"),
        }
    }

    /// Pid of the pod's own process.
    pub(super) fn pod_pid(&self, id: &str) -> Result<String, Stop> {
        Ok(self.pod_status(id)?.1["pid"].to_string())
    }

    pub(super) fn stop_pod(&self, id: &str) -> Outcome {
        ask!(self, stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.into() })).map(drop)
    }

    pub(super) fn remove_pod(&self, id: &str) -> Outcome {
        ask!(self, remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.into() })).map(drop)
    }

    /// CreateContainer with `sh -c SCRIPT` as `patch` changes it.
    pub(super) fn create(
        &self,
        pod: &Pod,
        script: &str,
        patch: impl FnOnce(&mut ContainerConfig),
    ) -> Result<String, Stop> {
        let name = self.name();
        let mut config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.clone(), attempt: 0 }),
            image: Some(image()),
            command: vec!["sh".into(), "-c".into(), script.into()],
            log_path: name,
            ..ContainerConfig::default()
        };
        security(&mut config).namespace_options = Some(namespaces());
        patch(&mut config);
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let id = ask!(self, create_container(request))?.container_id;
        self.made.borrow_mut().push(id.clone());
        Ok(id)
    }

    pub(super) fn start(&self, id: &str) -> Outcome {
        ask!(self, start_container(StartContainerRequest { container_id: id.into() })).map(drop)
    }

    /// A container that runs.
    pub(super) fn up(&self, pod: &Pod, script: &str, patch: impl FnOnce(&mut ContainerConfig)) -> Result<String, Stop> {
        let id = self.create(pod, script, patch)?;
        self.start(&id)?;
        Ok(id)
    }

    /// A container from its start to its end.
    pub(super) fn sh(&self, pod: &Pod, script: &str, patch: impl FnOnce(&mut ContainerConfig)) -> Result<Ended, Stop> {
        let id = self.up(pod, script, patch)?;
        self.ended(&id)
    }

    /// Waits for the end of a container and of its log.
    pub(super) fn ended(&self, id: &str) -> Result<Ended, Stop> {
        self.becomes(id, ContainerState::ContainerExited)?;
        let status = self.status(id)?;
        let open = format!("/proc/{}/fd", self.daemon()?);
        until("the end of the log", || {
            let mut files = fs::read_dir(&open)?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
            Ok(!files.any(|file| file == Path::new(&status.log_path)))
        })?;
        let lines = log(Path::new(&status.log_path))?;
        let of = |stream: &str| lines.iter().filter(|l| l.stream == stream).map(Line::piece).collect();
        Ok(Ended { stdout: of("stdout"), stderr: of("stderr"), status })
    }

    pub(super) fn status(&self, id: &str) -> Result<ContainerStatus, Stop> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        match ask!(self, container_status(request))?.status {
            Some(status) => Ok(status),
            None => fail("container_status: no status"),
        }
    }

    /// Pid of the container's first process.
    pub(super) fn pid(&self, id: &str) -> Result<String, Stop> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: true };
        Ok(info(ask!(self, container_status(request))?.info.get("info"))?["pid"].to_string())
    }

    /// Waits until a container has this state.
    pub(super) fn becomes(&self, id: &str, state: ContainerState) -> Outcome {
        until(state.as_str_name(), || Ok(self.status(id)?.state == state as i32))
    }

    /// Waits until a container has printed `line`.
    pub(super) fn says(&self, id: &str, line: &str) -> Outcome {
        let file = self.status(id)?.log_path;
        until(line, || Ok(log(Path::new(&file))?.iter().any(|l| l.text == line)))
    }

    pub(super) fn stop(&self, id: &str, timeout: i64) -> Outcome {
        ask!(self, stop_container(StopContainerRequest { container_id: id.into(), timeout })).map(drop)
    }

    pub(super) fn remove(&self, id: &str) -> Outcome {
        ask!(self, remove_container(RemoveContainerRequest { container_id: id.into() })).map(drop)
    }

    /// `sh -c SCRIPT` in a container.
    pub(super) fn exec(&self, id: &str, script: &str) -> Result<ExecSyncResponse, Stop> {
        ask!(self, exec_sync(exec(id, &["sh", "-c", script])))
    }

    /// The standard output of `sh -c SCRIPT` in a container, which must succeed.
    pub(super) fn get(&self, id: &str, script: &str) -> Result<String, Stop> {
        let out = self.exec(id, script)?;
        eq(format_args!("exit code of {script} ({})", String::from_utf8_lossy(&out.stderr).trim()), out.exit_code, 0)?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Ids of the containers of a pod.
    pub(super) fn containers(&self, pod: &str) -> Result<Vec<String>, Stop> {
        let filter = ContainerFilter { pod_sandbox_id: pod.into(), ..ContainerFilter::default() };
        let answer = ask!(self, list_containers(ListContainersRequest { filter: Some(filter) }))?;
        Ok(answer.containers.into_iter().map(|c| c.id).collect())
    }

    /// Removes the case's pods with their containers, of which nothing may remain.
    pub(super) fn tidy(&self) -> Outcome {
        for id in self.pods.take() {
            let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            match self.call("stop_pod_sandbox", |mut api| async move { api.stop_pod_sandbox(request).await }) {
                // The case has removed it.
                Err(status) if status.code() == tonic::Code::NotFound => {}
                Err(status) => return fail(format!("stop_pod_sandbox: {}", status.message())),
                Ok(_) => self.remove_pod(&id)?,
            }
        }
        self.made.take().iter().try_for_each(|id| self.gone(id))
    }

    /// Fails where something remains of a pod or container.
    pub(super) fn gone(&self, id: &str) -> Outcome {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let left: Vec<&str> = mounts.lines().filter(|l| l.contains(id)).collect();
        ensure(left.is_empty(), format_args!("left: mounts {left:?}"))?;
        // The runtime's own state of it.
        let state = Path::new("/run/containerd/runc/k8s.io").join(id);
        ensure(!state.exists(), format_args!("left: {}", state.display()))?;
        eq("cgroups that are left", cgroups_named(id), Vec::<PathBuf>::new())?;
        match self.x.job.driver {
            Driver::Systemd => until("the end of the unit", || Ok(Manager::System.units(id)?.is_empty())),
            Driver::Cgroupfs => Ok(()),
        }
    }

    /// Pid of the daemon.
    pub(super) fn daemon(&self) -> Result<i32, Stop> {
        let stream = std::os::unix::net::UnixStream::connect(self.dir.join("c.sock"))?;
        Ok(rustix::net::sockopt::socket_peercred(stream.as_fd())?.pid.as_raw_nonzero().get())
    }
}

/// Pid of the shim of a pod, whose words hold the pod's id.
pub(super) fn shim(pod: &str) -> Option<String> {
    let mut all = fs::read_dir("/proc").ok()?.flatten();
    let found = all.find(|e| fs::read_to_string(e.path().join("cmdline")).is_ok_and(|words| words.contains(pod)))?;
    Some(found.file_name().to_string_lossy().into_owned())
}

/// What a verbose status tells.
fn info(text: Option<&String>) -> Result<Value, Stop> {
    Ok(serde_json::from_str(text.map_or("null", String::as_str))?)
}

fn image() -> ImageSpec {
    ImageSpec { image: IMAGE.into(), ..ImageSpec::default() }
}

/// The namespaces of a container unless the pod asks for others.
pub(super) fn namespaces() -> NamespaceOption {
    NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() }
}

pub(super) fn exec(id: &str, words: &[&str]) -> ExecSyncRequest {
    let cmd = words.iter().map(|w| (*w).to_owned()).collect();
    ExecSyncRequest { container_id: id.into(), cmd, timeout: 0 }
}

fn linux(config: &mut ContainerConfig) -> &mut LinuxContainerConfig {
    config.linux.get_or_insert_default()
}

/// What a container is asked for with, to be changed.
pub(super) fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    linux(config).security_context.get_or_insert_default()
}

pub(super) fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    linux(config).resources.get_or_insert_default()
}

/// The same of a pod.
pub(super) fn pod_linux(config: &mut PodSandboxConfig) -> &mut LinuxPodSandboxConfig {
    config.linux.get_or_insert_default()
}

pub(super) fn pod_security(config: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    pod_linux(config).security_context.get_or_insert_default()
}

/// A line of a log: when, which stream, whether the line of the stream is full or a part of one, and what.
pub(super) struct Line {
    pub stream: String,
    pub full: bool,
    pub text: String,
}

impl Line {
    fn piece(&self) -> String {
        format!("{}{}", self.text, if self.full { "\n" } else { "" })
    }
}

/// A log in the form that kubelet reads.
pub(super) fn log(file: &Path) -> Result<Vec<Line>, Stop> {
    let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    text.split_terminator('\n')
        .map(|line| match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            [time, stream @ ("stdout" | "stderr"), tag @ ("F" | "P"), text] if time.contains('T') => {
                Ok(Line { stream: stream.into(), full: tag == "F", text: text.into() })
            }
            _ => fail(format!("a line of the log: {line:?}")),
        })
        .collect()
}
