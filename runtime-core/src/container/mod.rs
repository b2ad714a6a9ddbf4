//! The life of a container: create, start, exec, kill, pause, resume, delete, state.
//!
//! This file says in which order the other rooms do their work. It holds no mechanism of its own.

mod create;
mod options;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::create::{Draft, check_console, check_preserved, make, probe, remaining_cgroup, socket};
pub use self::options::{Console, CreateOptions, ExecOptions, Stdio, Stream};
pub use self::process::Process;
use crate::bundle::Bundle;
use crate::cgroup::{self, systemd::UserBus};
use crate::child::{Message, REPORT_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::hook;
use crate::host::setgroups_allowed;
use crate::intel_rdt::{self, Resctrl};
use crate::launch::{self, Surroundings};
use crate::namespace::{JOIN_ORDER, Kind, net_devices};
use crate::plan::{self, CgroupEntry, Plan};
use crate::processes;
use crate::spec::{self, Spec};
use crate::state::{self, Directory, Record, Status};
use crate::sys;
use crate::trace::{By, Clock, span};
use crate::user_mapping::{Known, parse_map};

/// How long something that was killed may take to end, in milliseconds. A process in an uninterruptible sleep ends when
/// its device answers, which may be never.
const KILL_PATIENCE: u64 = 10_000;

/// How long a killed process may take before frozen groups are looked for, in milliseconds.
const THAW_AFTER: u64 = 100;

/// The containers below one state directory.
#[derive(Debug, Clone)]
pub struct Containers {
    directory: PathBuf,
}

/// One container.
#[derive(Debug)]
pub struct Container {
    directory: Directory,
    record: Record,
    warnings: Vec<String>,
    init: Option<Process>,
}

/// What [`Container::watch`] tells.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The kernel found no more memory for the container, and ended a process unless that is switched off.
    OutOfMemory,
    /// What the container uses, once every interval.
    Stats(Box<cgroup::Stats>),
}

/// A container's state (`runtime.md`, *State*), with what runc adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// The first process in the caller's pid namespace; 0 when it has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// Of the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of the user who made it; `#` and the number where the id has no name.
    pub owner: String,
}

/// Whether nobody else could have written what is in the state directory.
fn check_owner(directory: &Path, found: &fs::Metadata) -> Result<()> {
    let operation = format!("use state directory {}", directory.display());
    if !found.is_dir() {
        return Err(Error::system(operation, sys::Errno(libc::ENOTDIR)));
    }
    let untrusted = |why: String| {
        let text = format!("{operation}: permission denied: {why}");
        Err(Error::new(ErrorKind::Untrusted, text).with_operation(operation.clone()))
    };
    if found.uid() != 0 && found.uid() != sys::geteuid() {
        return untrusted(format!("it belongs to uid {}", found.uid()));
    }
    // Also with the sticky bit: whoever makes a directory there has made a container.
    if found.mode() & 0o002 != 0 {
        return untrusted(format!("everybody may write to it (mode {:04o})", found.mode() & 0o7777));
    }
    Ok(())
}

impl Containers {
    /// The containers below `directory`, which is made (mode 0700) when it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] when others than the effective user, or root, could have written what is in it: it tells
    /// which processes to kill, which cgroups to remove and which hooks to run. [`ErrorKind::System`].
    pub fn open(directory: &Path) -> Result<Self> {
        let failed = |e: io::Error| Error::system(format!("make directory {}", directory.display()), e.into());
        let directory = std::path::absolute(directory).map_err(failed)?;
        match fs::metadata(&directory) {
            Ok(found) => check_owner(&directory, &found)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
            }
            Err(e) => return Err(Error::system(format!("look at directory {}", directory.display()), e.into())),
        }
        Ok(Containers { directory })
    }

    /// Makes a container. Its first process then waits for [`Container::start`].
    ///
    /// The process is a child of the calling process: [`Container::init`]. Nothing is left of a container that can't be made.
    ///
    /// May be called by any thread, by several at once. Of the caller nothing is changed but, for the time of the call
    /// and for this thread alone: its signals are blocked while it clones, and where the container joins a pid namespace its
    /// children would be in that one.
    ///
    /// # Errors
    /// What the configuration asks for that is wrong, unknown or impossible; [`ErrorKind::Exists`],
    /// [`ErrorKind::InvalidId`]; [`ErrorKind::Program`] when there is no such program.
    pub fn create(&self, id: &str, bundle: &Bundle, options: CreateOptions) -> Result<Container> {
        let Draft { plan, mut record } = Draft::new(&self.directory, id, bundle, &options)?;
        let (notify, streams) = (options.notify, options.stdio.open()?);
        let directory = Directory::create(&self.directory, id)?;
        match make(&directory, bundle, &plan, notify, &streams, &mut record) {
            Ok(made) => {
                let init = Some(Process::new(made, Vec::new()));
                Ok(Container { directory, record, warnings: plan.warnings, init })
            }
            Err(error) => {
                // The error that is told is the first one.
                let _ = directory.remove();
                Err(error)
            }
        }
    }

    /// A container that exists.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidId`], [`ErrorKind::NotFound`]; [`ErrorKind::System`] when its state can't be read.
    pub fn get(&self, id: &str) -> Result<Container> {
        state::check_id(id)?;
        let directory = Directory(self.directory.join(id));
        let record = directory.read_state()?;
        Ok(Container { directory, record, warnings: Vec::new(), init: None })
    }

    /// All containers, by id. One that vanishes meanwhile, or whose state can't be read, is left out.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the state directory can't be read.
    pub fn list(&self) -> Result<Vec<Container>> {
        Ok(self.ids()?.iter().filter_map(|id| self.get(id).ok()).collect())
    }

    /// The state of each container, in the order of their ids; for one whose state can't be found out, why.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn states(&self) -> Result<Vec<(String, Result<State>)>> {
        // The list of users is read once for each owner, not for each container.
        let mut owners = BTreeMap::new();
        let mut state = |id: &str| {
            let container = self.get(id)?;
            let uid = container.record.owner;
            let owner = owners.entry(uid).or_insert_with(|| user_name(uid));
            container.status().map(|status| container.state_as(status, owner.clone()))
        };
        let mut states = Vec::new();
        for id in self.ids()? {
            match state(&id) {
                // It was deleted since, or is no container's directory.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                state => states.push((id, state)),
            }
        }
        Ok(states)
    }

    /// What may be containers, in order.
    fn ids(&self) -> Result<Vec<String>> {
        let failed = |e: io::Error| Error::system(format!("read {}", self.directory.display()), e.into());
        let names = fs::read_dir(&self.directory).map_err(failed)?;
        let names = names.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let mut ids = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        ids.retain(|id| state::check_id(id).is_ok());
        ids.sort();
        Ok(ids)
    }

    /// Removes what is left of a container that was never finished and whose state says nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is nothing; [`ErrorKind::System`].
    pub fn delete_remains(&self, id: &str, bus: &UserBus) -> Result<()> {
        state::check_id(id)?;
        let directory = Directory(self.directory.join(id));
        if !directory.0.is_dir() {
            return Err(state::not_found());
        }
        // Before there is a state nothing is made. Of one that can't be read the configuration says where processes are.
        if directory.0.join("state.json").exists()
            && let Ok((spec, _)) = directory.read_config().and_then(|config| Spec::from_slice(&config, &directory.0))
        {
            if let Ok(cgroup) = remaining_cgroup(&spec, id, bus) {
                cgroup.kill_all(libc::SIGKILL)?;
                let _ = cgroup.stop();
                cgroup.remove()?;
            }
            if let Some(wanted) = &spec.linux.intel_rdt
                && let Ok(resctrl) = Resctrl::find()
            {
                resctrl.remains(wanted, id).remove()?;
            }
        }
        return_devices(&directory)?;
        directory.remove()
    }
}

/// The network devices of a container whose `create` was broken off go back to where they were. Those of one that was created
/// are nobody's affair but its namespace's (`config-linux.md`, *Namespace Lifecycle and Container Termination*).
fn return_devices(directory: &Directory) -> Result<()> {
    match directory.kept_network()? {
        Some((namespace, loan)) => net_devices::take_back(&loan, namespace.as_fd()),
        None => Ok(()),
    }
}

/// What a bundle would do, step by step. Nothing is done.
///
/// # Errors
/// As [`Containers::create`], as far as they can be known without doing anything.
pub fn plan_bundle(
    directory: &Path,
    id: &str,
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<impl fmt::Display + use<>> {
    Draft::new(directory, id, bundle, options).map(|draft| draft.plan)
}

impl Container {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// What `create` left out, and why: a capability that can't be granted, for example.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The first process, for the program that made the container: its child.
    #[must_use]
    pub fn init(&self) -> Option<&Process> {
        self.init.as_ref()
    }

    /// A handle of the first process, for anybody: it polls as readable when the process has ended, pidfd_open(2). `None`: it
    /// has. Only who made it learns how it ended ([`Process::wait`]).
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub fn open_init(&self) -> Result<Option<OwnedFd>> {
        self.record.init.map_or(Ok(None), |init| init.open())
    }

    /// The master of the terminal, for who made the container with [`Console::Caller`]. Once.
    pub fn take_master(&mut self) -> Option<OwnedFd> {
        self.init.as_mut()?.take_master()
    }

    /// The bundle's directory.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        &self.record.bundle
    }

    /// The process of the configuration with which the container was made.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when it can't be read.
    pub fn process(&self) -> Result<Option<spec::Process>> {
        spec::Process::of_config(&self.directory.read_config()?)
    }

    /// The state, as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when /proc or the cgroup can't be read.
    pub fn state(&self) -> Result<State> {
        Ok(self.state_as(self.status()?, user_name(self.record.owner)))
    }

    fn state_as(&self, status: Status, owner: String) -> State {
        let record = &self.record;
        State {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: match (status, record.init) {
                (Status::Stopped, _) | (_, None) => 0,
                (_, Some(init)) => init.pid,
            },
            status,
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner,
        }
    }

    /// Where it is in its life.
    ///
    /// # Errors
    /// As [`Container::state`].
    pub fn status(&self) -> Result<Status> {
        let _span = span(|| "find out the status");
        let Some(init) = &self.record.init else { return Ok(Status::Creating) };
        if !init.is_alive()? {
            return Ok(Status::Stopped);
        }
        if self.record.cgroup.is_frozen()? {
            return Ok(Status::Paused);
        }
        Ok(if self.directory.open_start()?.is_some() { Status::Created } else { Status::Running })
    }

    /// Where the program looks for the socket of sd_notify(3), as the host sees it, if it was created with
    /// [`CreateOptions::notify`].
    #[must_use]
    pub fn notify_socket(&self) -> Option<PathBuf> {
        let directory = self.directory.notify();
        directory.is_dir().then(|| directory.join("notify.sock"))
    }

    /// Starts the program. Returns when it was executed, or says why it could not be.
    ///
    /// # Errors
    /// [`ErrorKind::WrongStatus`]; what the steps after the wait for `start` meet; [`ErrorKind::Hook`] when a poststart
    /// hook fails: the container is then killed (`runtime.md`, *Lifecycle*, step 9).
    pub fn start(&self) -> Result<()> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::WrongStatus, text));
        if !self.record.has_process {
            return Err(Error::refused("/process", "required for start"));
        }
        match self.status()? {
            Status::Created => {}
            Status::Stopped => return wrong("cannot start a container that has stopped"),
            Status::Creating => return wrong("cannot start a container that is being created"),
            Status::Running | Status::Paused => return wrong("cannot start an already running container"),
        }
        let verdict = self.directory.open_verdict()?;
        let Some(go) = self.directory.open_start()? else {
            return wrong("cannot start an already running container");
        };
        sys::write(go.as_fd(), &[0]).map_err(|e| Error::system("tell init to start", e))?;
        drop(go);
        let clock = Clock::open(&self.directory.clock());
        // Who has made it watches all its steps already.
        if let (Some(init), None) = (self.record.init, &self.init) {
            let steps = self.record.late_steps.iter().map(|(index, text)| (*index as usize, text));
            clock.watch(By::Init, init.pid, 0, steps);
        }
        let waiting = span(|| "hear from init");
        let mut message = [0u8; REPORT_MAX];
        let length = sys::read(verdict.as_fd(), &mut message).map_err(|e| Error::system("hear from init", e))?;
        drop(waiting);
        clock.executed(self.record.late_steps.last().map_or(0, |(index, _)| *index as usize + 1));
        let report = Message::decode(message.get(..length).unwrap_or_default());
        if let Some((Message::Failed { step, failure }, printed)) = report {
            let step = self.record.late_steps.iter().find(|(index, _)| *index == step);
            let what = step.map_or("run the plan", |(_, text)| text.as_str());
            let cause = launch::late_cause(failure.errno, failure.detail, printed);
            return Err(Error::new(ErrorKind::Program, format!("{what}: {cause}")).with_errno(failure.errno));
        }
        self.poststart()
    }

    fn poststart(&self) -> Result<()> {
        if !self.record.has_poststart {
            return Ok(());
        }
        let hooks = self.spec()?.hooks;
        // For the hooks it runs, with its pid, also where the program has ended meanwhile (`runtime.md`, *State*).
        let state = self.state_as(Status::Running, user_name(self.record.owner));
        hook::run("poststart", &hooks.poststart, &hook_state(&state)).inspect_err(|_| {
            let _ = self.kill_init();
        })
    }

    /// The whole configuration with which the container was made.
    fn spec(&self) -> Result<Spec> {
        Spec::from_slice(&self.directory.read_config()?, &self.record.bundle).map(|(spec, _)| spec)
    }

    /// Runs another process in the container. Returns when its program was executed, or says why it could not be.
    ///
    /// # Errors
    /// [`ErrorKind::WrongStatus`] when the container is stopped or paused; [`ErrorKind::Program`] when there is no such
    /// program.
    pub fn exec(&self, options: ExecOptions) -> Result<Process> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::WrongStatus, text));
        match self.status()? {
            Status::Stopped | Status::Creating => return wrong("cannot exec in a stopped container"),
            Status::Paused if !options.ignore_paused => {
                return wrong("cannot exec in a paused container (use --ignore-paused to override)");
            }
            _ => {}
        }
        check_preserved(options.preserve_fds)?;
        check_console(Some(&options.process), &options.console, &options.stdio)?;
        let Some(init) = self.record.init else { return wrong("cannot exec in a stopped container") };
        let host = probe()?;
        let seccomp = self.directory.read_seccomp()?;
        let spec = match &seccomp {
            Some(program) if program.notifies() => Some(self.spec()?),
            _ => None,
        };
        let target = plan::ExecTarget {
            pid: init.pid,
            namespaces: JOIN_ORDER
                .into_iter()
                .filter(|kind| self.record.namespaces.iter().any(|name| name == kind.name()))
                .collect(),
            user: self.user_namespace(init.pid)?,
            cgroups: match self.record.cgroup.dirs.iter().all(cgroup::Dir::is_unified) {
                true => CgroupEntry::Born,
                false => CgroupEntry::ByItself,
            },
            place_in_resctrl: self.record.rdt.is_some(),
            seccomp,
            listener: spec.and_then(|spec| plan::listener(&spec, state_halves(&self.state().ok()?), Some(init.pid))),
            personality: self.record.personality,
            memory_policy: self.record.memory_policy.clone().map(|(mode, nodes)| spec::MemoryPolicy { mode, nodes }),
            id: self.record.id.clone(),
            console_socket: socket(&options.console)?,
            preserve_fds: options.preserve_fds,
            no_new_keyring: self.record.no_new_keyring,
            own_streams: !options.stdio.is_inherited(),
        };
        let streams = options.stdio.open()?;
        let planning = span(|| "plan");
        let moved = self
            .record
            .cgroup
            .is_users_unit()
            .then(|| plan::ExecTarget { cgroups: CgroupEntry::ByManager, ..target.clone() });
        let mut plan = plan::exec(&options.process, &host, target)?;
        drop(planning);
        // A container that gives its controllers to cgroups of its own has no place for processes in the one above.
        let paths: Vec<_> = options.cgroups.iter().map(|(c, path)| (c.as_str(), path.as_str())).collect();
        let cgroup = self.record.cgroup.below(&paths)?;
        let launch_in = |plan: &Plan, cgroup: &cgroup::Record, born: bool| {
            let place = if born { cgroup.open_unified()? } else { None };
            let birthplace = place.as_ref().map(OwnedFd::as_fd);
            let clock = Clock::new(plan, None);
            launch::launch(
                plan,
                &Surroundings {
                    cgroup,
                    rdt: self.record.rdt.as_ref(),
                    birthplace,
                    streams: streams.as_fds(),
                    directory: None,
                    clock: &clock,
                },
                &mut |_, _| Ok(()),
            )
        };
        let beside = || if paths.is_empty() { self.record.cgroup.beside(init.pid) } else { Ok(cgroup.clone()) };
        let launched = match (launch_in(&plan, &cgroup, true), moved) {
            (Err(error), _) if error.errno() == Some(sys::Errno(libc::EBUSY)) && paths.is_empty() => {
                launch_in(&plan, &beside()?, true)?
            }
            // A user may not move a process from one part of the tree to another; the machine's systemd does so. Where it can't
            // it does not say why, so it is asked for the cgroup where there is a process already.
            (Err(error), Some(target)) if error.errno() == Some(sys::Errno(libc::EACCES)) => {
                plan = plan::exec(&options.process, &host, target)?;
                launch_in(&plan, &beside()?, false)?
            }
            (result, _) => result?,
        };
        Ok(Process::new(launched, plan.warnings))
    }

    /// What the container's own user namespace has, where it has one.
    fn user_namespace(&self, init: i32) -> Result<Option<Known>> {
        if !self.record.namespaces.iter().any(|name| name == Kind::User.name()) {
            return Ok(None);
        }
        let map = |file: &str| {
            let path = format!("/proc/{init}/{file}");
            let text = fs::read_to_string(&path).map_err(|e| Error::system(format!("read {path}"), e.into()))?;
            Ok(parse_map(&text))
        };
        let setgroups = setgroups_allowed(&format!("/proc/{init}/setgroups"))?;
        Ok(Some(Known { uids: map("uid_map")?, gids: map("gid_map")?, setgroups }))
    }

    /// Sends a signal to the first process; with `all`, or with SIGKILL where the container shares its pid namespace, to
    /// every process of the container.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`] when the container has stopped, unless `all`.
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let shares_pids = self.shares_pids();
        let alive = self.open_init()?;
        if all || signal == libc::SIGKILL && shares_pids {
            if alive.is_none() && !all {
                // Init has gone and left others behind: they are the container's still.
                self.kill_all(signal)?;
                return Err(not_running());
            }
            return self.kill_all(signal);
        }
        let Some(pidfd) = alive else { return Err(not_running()) };
        match sys::pidfd_send_signal(pidfd.as_fd(), signal) {
            Ok(()) => {}
            Err(sys::Errno(libc::ESRCH)) => return Err(not_running()),
            Err(errno) => return Err(Error::system(format!("send signal {signal}"), errno)),
        }
        // A frozen process dies when it is thawed, on v1; on v2 the kernel lets it die.
        if signal == libc::SIGKILL && self.record.cgroup.is_frozen()? {
            self.record.cgroup.thaw()?;
        }
        Ok(())
    }

    fn shares_pids(&self) -> bool {
        !self.record.namespaces.iter().any(|name| name == Kind::Pid.name())
    }

    /// Sends a signal to every process.
    fn kill_all(&self, signal: i32) -> Result<()> {
        match self.record.init {
            Some(init) if !self.record.cgroup.tells_processes() => {
                processes::signal(&init, !self.shares_pids(), signal)
            }
            _ => self.record.cgroup.kill_all(signal),
        }
    }

    /// Ends the first process, and with it every process of its pid namespace.
    fn kill_init(&self) -> Result<()> {
        let Some(pidfd) = self.open_init()? else { return Ok(()) };
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        if self.record.cgroup.is_frozen().unwrap_or(false) {
            self.record.cgroup.thaw()?;
        }
        let ended = |patience| match sys::poll([(pidfd.as_fd(), libc::POLLIN)], Some(patience)) {
            Ok(ready) => Ok(ready > 0),
            Err(errno) => Err(Error::system("wait for init", errno)),
        };
        if ended(THAW_AFTER)? {
            return Ok(());
        }
        // In a group below, which the container froze.
        self.record.cgroup.kill_all(libc::SIGKILL)?;
        if ended(KILL_PATIENCE)? { Ok(()) } else { Err(Error::new(ErrorKind::Timeout, "container init still running")) }
    }

    /// Removes the container. A stopped or a merely created one always, another one with `force`.
    ///
    /// The result are the warnings: poststop hooks that failed (`runtime.md`, *Lifecycle*, step 13).
    ///
    /// # Errors
    /// [`ErrorKind::WrongStatus`]; [`ErrorKind::Timeout`] when a process does not end.
    pub fn delete(&self, force: bool) -> Result<Vec<String>> {
        let status = match self.status() {
            Ok(status) => status,
            // What can't be read can be removed all the same.
            Err(_) if force => Status::Creating,
            Err(error) => return Err(error),
        };
        if !force && !matches!(status, Status::Stopped | Status::Created) {
            let text = format!("cannot delete container {} that is not stopped: {status}", self.record.id);
            return Err(Error::new(ErrorKind::WrongStatus, text));
        }
        let hooks = if self.record.has_poststop { self.spec().map(|s| s.hooks.poststop) } else { Ok(Vec::new()) };
        let killing = span(|| "kill what runs");
        if !self.record.cgroup.tells_processes() && self.shares_pids() {
            // While init is there to be the others' ancestor.
            self.kill_all(libc::SIGKILL)?;
        }
        self.kill_init()?;
        self.record.cgroup.kill_all(libc::SIGKILL)?;
        drop(killing);
        let removing = span(|| "remove cgroup");
        let stopped = self.record.cgroup.stop();
        self.record.cgroup.remove()?;
        // A systemd that does not answer must not keep the container's remains: nothing can be done with them any more.
        self.record.rdt.as_ref().map_or(Ok(()), intel_rdt::Record::remove)?;
        drop(removing);
        if self.record.has_net_devices {
            return_devices(&self.directory)?;
        }
        self.directory.remove()?;
        // It would stay a zombie.
        self.init.as_ref().map(Process::try_wait);
        let warnings = self.poststop(hooks);
        stopped.map(|()| warnings)
    }

    /// The warnings of the hooks.
    fn poststop(&self, hooks: Result<Vec<spec::Hook>>) -> Vec<String> {
        let hooks = match hooks {
            Ok(hooks) if hooks.is_empty() => return Vec::new(),
            Ok(hooks) => hooks,
            Err(error) => return vec![format!("poststop hooks: {error}")],
        };
        let state = self.state_as(Status::Stopped, user_name(self.record.owner));
        hooks
            .iter()
            .filter_map(|one| hook::run("poststop", std::slice::from_ref(one), &hook_state(&state)).err())
            .map(|error| error.to_string())
            .collect()
    }

    /// Stops every process of the container, until [`Container::resume`].
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`]; [`ErrorKind::Timeout`] when the kernel can't freeze a process: all run on then.
    pub fn pause(&self) -> Result<()> {
        match self.status()? {
            Status::Running | Status::Created => self.record.cgroup.freeze(),
            _ => Err(not_running()),
        }
    }

    /// Lets a paused container run on.
    ///
    /// # Errors
    /// [`ErrorKind::WrongStatus`].
    pub fn resume(&self) -> Result<()> {
        match self.status()? {
            Status::Paused => self.record.cgroup.resume(),
            _ => Err(Error::new(ErrorKind::WrongStatus, "container not paused")),
        }
    }

    /// Changes the limits of a container that is created, runs or is paused. What `resources` does not have, and the
    /// device rules, stay as they are. `schemata` are lines for the container's class of service, resctrl.rst.
    ///
    /// The result are warnings: what can't have an effect here.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`]; a limit that is refused: its file, its value and why. The limits are then as before.
    /// [`ErrorKind::Unsupported`]: `schemata` for a container that was made without `linux.intelRdt`.
    pub fn update(&self, resources: &spec::Resources, schemata: &[String]) -> Result<Vec<String>> {
        if matches!(self.status()?, Status::Stopped | Status::Creating) {
            return Err(not_running());
        }
        if !self.record.cgroup.tells_processes() {
            let text = "cannot set limits: container could not join or create cgroup";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let class = match (&self.record.rdt, schemata) {
            (_, []) => None,
            (Some(class), _) => Some(class),
            (None, _) => {
                let text = "Intel RDT: the container was made without linux.intelRdt, it has no class of service";
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        };
        let before = class.map_or(Ok(Vec::new()), |class| class.update(schemata))?;
        let linux = || self.spec().map(|spec| spec.linux);
        let ignored = self.record.cgroup.update(resources, &linux).inspect_err(|_| {
            // The error that is told is the first one.
            let _ = class.map(|class| class.update(&before));
        })?;
        Ok(ignored.into_iter().map(|(pointer, reason)| format!("{pointer}: {reason}")).collect())
    }

    /// What the container uses now.
    ///
    /// # Errors
    /// [`ErrorKind::NotRunning`]; [`ErrorKind::System`] when a control file can't be read.
    pub fn stats(&self) -> Result<cgroup::Stats> {
        if matches!(self.status()?, Status::Stopped | Status::Creating) {
            return Err(not_running());
        }
        self.record.cgroup.stats()
    }

    /// Tells what happens to the container until it ends or `tell` breaks. Between two events the caller sleeps.
    ///
    /// # Errors
    /// As [`Container::stats`]; what `tell` fails with.
    pub fn watch(&self, interval: Duration, tell: &mut dyn FnMut(Event) -> Result<ControlFlow<()>>) -> Result<()> {
        if self.status()? == Status::Creating {
            return Err(not_running());
        }
        let Some(init) = self.open_init()? else { return Err(not_running()) };
        let mut out_of_memory = self.record.cgroup.out_of_memory()?;
        // An instant that far away can't be told, and no container lives that long.
        let interval = interval.min(Duration::from_secs(u32::MAX.into()));
        let mut next = Instant::now() + interval;
        loop {
            let init = (init.as_fd(), libc::POLLIN);
            let second = out_of_memory.as_ref().map_or(init, cgroup::OutOfMemory::fd);
            // Rounded up: a part of a millisecond would be a busy loop.
            let left = next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000) as u64;
            let ready = sys::poll([init, second], Some(left)).map_err(|e| Error::system("wait for events", e))?;
            // Also when init has ended: it may be the one that was killed.
            if out_of_memory.as_mut().is_some_and(cgroup::OutOfMemory::happened) && tell(Event::OutOfMemory)?.is_break()
            {
                return Ok(());
            }
            if ready & 1 != 0 {
                return Ok(());
            }
            if Instant::now() >= next {
                // Counted from the plan, so that the time that a report takes does not add up; but no report is made up for.
                next = (next + interval).max(Instant::now());
                if tell(Event::Stats(Box::new(self.record.cgroup.stats()?)))?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// The container's processes, in the caller's pid namespace.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the cgroup can't be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self.record.init {
            Some(init) if !self.record.cgroup.tells_processes() => processes::list(&init, !self.shares_pids()),
            _ => self.record.cgroup.pids(),
        }
    }
}

/// The text that containerd and CRI-O take for "already stopped".
fn not_running() -> Error {
    Error::new(ErrorKind::NotRunning, "container not running")
}

/// The state document for a hook.
fn hook_state(state: &State) -> String {
    let (head, tail) = state_halves(state);
    format!("{head}{}{tail}", state.pid)
}

/// The state document of the specification, before and after the pid.
fn state_halves(state: &State) -> (String, String) {
    plan::state_document(
        &state.oci_version,
        &state.id,
        &state.status.to_string(),
        &state.bundle.to_string_lossy(),
        &state.annotations,
    )
}

/// The name of a user in the host's /etc/passwd; `#` and the number where there is none, as runc does.
fn user_name(uid: u32) -> String {
    let text = files::read("/etc/passwd").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
