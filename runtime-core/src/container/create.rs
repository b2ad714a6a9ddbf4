//! How a container is made: decided first, without any effect, and then made, in the order in which it can be undone.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::options::{Console, CreateOptions, Stdio, Streams};
use crate::bundle::{Bundle, absolute};
use crate::cgroup::{self, systemd::Manager, systemd::UserBus};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::intel_rdt::{self, Rdt, Resctrl};
use crate::launch::{self, Launched, Moment, Surroundings};
use crate::namespace::JOIN_ORDER;
use crate::plan::{self, Plan, Step};
use crate::spec::{self, Mount, MountKind, Namespace, SourceLink, Spec};
use crate::state::{self, Directory, Init, Record};
use crate::sys;
use crate::trace::{Clock, span};

/// A container that is decided, and of which nothing exists.
pub(super) struct Draft {
    pub(super) plan: Plan,
    pub(super) record: Record,
}

impl Draft {
    pub(super) fn new(parent: &Path, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<Self> {
        state::check_id(id)?;
        check_preserved(options.preserve_fds + options.listen_fds)?;
        check_rootfs(&bundle.spec().root.path)?;
        let directory = Directory(parent.join(id));
        let spec = &*with_sockets(bundle.spec(), options, &directory)?;
        check_console(spec.process.as_ref(), &options.console, &options.stdio)?;
        let host = probe()?;
        let _span = span(|| "plan");
        let rootless = options.rootless.unwrap_or_else(|| is_rootless(&host));
        let manager = options.systemd_cgroup.as_ref().map(Manager::probe).transpose()?;
        let cgroup = plan_cgroup(spec, id, &host, rootless, manager.as_ref())?;
        let rdt = plan_rdt(spec, id)?;
        let mut record = record(spec, id, bundle.directory(), &host, &cgroup, options);
        record.rdt = rdt.as_ref().map(intel_rdt::unfinished);
        let options = plan::CreateOptions {
            id: id.to_owned(),
            bundle: bundle.directory().to_string_lossy().into_owned(),
            state_directory: directory.as_cstring(),
            console_socket: socket(&options.console)?,
            no_pivot: options.no_pivot,
            no_new_keyring: options.no_new_keyring,
            preserve_fds: options.preserve_fds + options.listen_fds,
            own_streams: !options.stdio.is_inherited(),
        };
        let mut plan = plan::create(spec, &host, cgroup, rdt, &options)?;
        plan.warnings.splice(0..0, bundle.warnings().iter().cloned());
        Ok(Draft { plan, record })
    }
}

/// Whether permission for cgroups is not to be taken for granted.
fn is_rootless(host: &Host) -> bool {
    host.euid != 0 || host.in_user_namespace
}

/// The facts about the machine.
pub(super) fn probe() -> Result<Host> {
    let _span = span(|| "probe the machine");
    Host::probe()
}

fn plan_cgroup(
    spec: &Spec,
    id: &str,
    host: &Host,
    rootless: bool,
    systemd: Option<&Manager>,
) -> Result<cgroup::Cgroup> {
    let options = cgroup::Options {
        owner: cgroup::owner(spec),
        skip_devices: host.in_user_namespace,
        rootless,
        systemd: systemd.map(|manager| cgroup::systemd::Options { manager, annotations: &spec.annotations }),
    };
    cgroup::plan(&spec.linux, id, &host.cgroup, options)
}

fn plan_rdt(spec: &Spec, id: &str) -> Result<Option<Rdt>> {
    let Some(wanted) = &spec.linux.intel_rdt else { return Ok(None) };
    let resctrl = Resctrl::find()?;
    let existing = resctrl.existing(wanted, id)?;
    intel_rdt::plan(wanted, id, &resctrl, &existing).map(Some)
}

/// The cgroup of a container whose state says nothing.
pub(super) fn remaining_cgroup(spec: &Spec, id: &str, bus: &UserBus) -> Result<cgroup::Record> {
    let host = Host::probe()?;
    let systemd = spec.linux.cgroups_path.as_deref().is_some_and(cgroup::systemd::is_meant_by);
    let manager = systemd.then(|| Manager::probe(bus)).transpose()?;
    Ok(cgroup::Record::from(&plan_cgroup(spec, id, &host, is_rootless(&host), manager.as_ref())?))
}

fn record(
    spec: &Spec,
    id: &str,
    bundle: &Path,
    host: &Host,
    cgroup: &cgroup::Cgroup,
    options: &CreateOptions,
) -> Record {
    let namespaces = &spec.linux.namespaces;
    Record {
        version: state::VERSION,
        oci_version: spec.oci_version.clone(),
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: spec.root.path.clone(),
        created: state::now(),
        annotations: spec.annotations.clone(),
        owner: host.euid,
        cgroup: cgroup::Record::from(cgroup),
        rdt: None,
        namespaces: JOIN_ORDER
            .into_iter()
            .filter(|kind| *kind.of(namespaces) != Namespace::Host)
            .map(|kind| kind.name().to_owned())
            .collect(),
        no_new_keyring: options.no_new_keyring,
        personality: spec.linux.personality,
        memory_policy: spec.linux.memory_policy.as_ref().map(|p| (p.mode, p.nodes.clone())),
        has_process: spec.process.is_some(),
        has_poststart: !spec.hooks.poststart.is_empty(),
        has_poststop: !spec.hooks.poststop.is_empty(),
        has_net_devices: !spec.linux.net_devices.is_empty(),
        late_steps: Vec::new(),
        init: None,
    }
}

/// Every effect of `create`, in order. What can be undone only with the state's help comes after the state.
pub(super) fn make(
    directory: &Directory,
    bundle: &Bundle,
    plan: &Plan,
    notify: bool,
    streams: &Streams,
    record: &mut Record,
) -> Result<Launched> {
    directory.write_config(bundle.config())?;
    if notify {
        directory.create_notify()?;
    }
    if let Some(program) = filter(plan) {
        directory.write_seccomp(program)?;
    }
    record.late_steps = launch::late_steps(&plan.init);
    directory.write_state(record)?;
    let Some(cgroup) = &plan.cgroup else { unreachable!("a plan of create has a cgroup") };
    let groups = plan.rdt.as_ref().map(|rdt| &rdt.record);
    let made = plan.rdt.as_ref().map(intel_rdt::unfinished);
    plan.rdt.as_ref().map_or(Ok(()), intel_rdt::create)?;
    let making = span(|| "make cgroup");
    let created = cgroup::create(cgroup, &mut |parents| {
        record.cgroup.parents = parents.to_vec();
        directory.write_state(record)
    });
    drop(making);
    let clock = Clock::new(plan, Some(&directory.clock()));
    let launched = created.and_then(|created| {
        record.cgroup.clone_from(&created.record);
        let birthplace = created.unified.as_ref().map(OwnedFd::as_fd);
        launch::launch(
            plan,
            &Surroundings {
                cgroup: &created.record,
                rdt: groups,
                birthplace,
                streams: streams.as_fds(),
                directory: Some(directory),
                clock: &clock,
            },
            &mut |moment, pid| match moment {
                Moment::Working => {
                    {
                        let _span = span(|| "attach the device program");
                        created.attach_devices(cgroup)?;
                    }
                    record.init = Some(Init::of(pid)?);
                    // Once that counts, a class of service that the configuration names stays.
                    record.rdt = groups.cloned();
                    directory.prepare_state(record)
                }
                Moment::Ready => directory.commit_state(),
            },
        )
        .inspect_err(|_| {
            // Hooks may have put processes there.
            let _ = record.cgroup.kill_all(libc::SIGKILL);
            let _ = record.cgroup.stop();
            let _ = record.cgroup.remove();
        })
    });
    // Not before: init gives up when the runtime ends before it has said `go on`, also when the state is written.
    if launched.is_ok() && record.has_net_devices {
        directory.forget_network();
    }
    launched.inspect_err(|_| made.iter().for_each(|made| _ = made.remove()))
}

/// The system call filter that a plan installs.
fn filter(plan: &Plan) -> Option<&crate::seccomp::Program> {
    plan.init.iter().find_map(|step| match step {
        Step::Seccomp(program) | Step::SeccompListener(program) => Some(program),
        _ => None,
    })
}

fn check_rootfs(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::refused("/root/path", format!("{} is not a directory", path.display()))),
        Err(e) => Err(Error::refused("/root/path", format!("{}: {}", path.display(), sys::Errno::from(e)))),
    }
}

/// The configuration with what only the caller's sockets add to it. The descriptors of socket activation come with their
/// count; the pid is the program's own. The directory of the socket for sd_notify(3) is mounted as runc does it.
fn with_sockets<'a>(spec: &'a Spec, options: &CreateOptions, directory: &Directory) -> Result<Cow<'a, Spec>> {
    if options.listen_fds == 0 && !options.notify {
        return Ok(Cow::Borrowed(spec));
    }
    let mut spec = spec.clone();
    let mut variables = Vec::new();
    if options.listen_fds > 0 {
        variables.extend([format!("LISTEN_FDS={}", options.listen_fds), "LISTEN_PID=1".to_owned()]);
    }
    if options.notify {
        spec.mounts.push(Mount {
            destination: c"/run/notify".into(),
            kind: MountKind::Bind { source: directory.notify_directory()?, recursive: false },
            attr_set: libc::MOUNT_ATTR_RDONLY
                | libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC,
            attr_clear: 0,
            rec_attr_set: 0,
            rec_attr_clear: 0,
            propagation: Vec::new(),
            idmap: None,
            source_link: SourceLink::Follow,
            over_link: false,
        });
        variables.push("NOTIFY_SOCKET=/run/notify/notify.sock".to_owned());
    }
    if let Some(process) = &mut spec.process {
        for variable in variables {
            process.env.push(CString::new(variable).map_err(|e| Error::refused("/process/env", e))?);
        }
    }
    Ok(Cow::Owned(spec))
}

pub(super) fn check_console(process: Option<&spec::Process>, console: &Console, stdio: &Stdio) -> Result<()> {
    let terminal = process.is_some_and(|p| p.terminal);
    if terminal && !stdio.is_inherited() {
        let text = "a process with a terminal has that for its standard streams: it can't be given others";
        return Err(Error::new(ErrorKind::InvalidSpec, text));
    }
    match console {
        Console::Socket(_) if !terminal => {
            Err(Error::new(ErrorKind::InvalidSpec, "cannot use console socket if runc will not detach or allocate tty"))
        }
        Console::Nobody if terminal => Err(Error::new(
            ErrorKind::InvalidSpec,
            "cannot allocate tty if runc will detach without setting console socket",
        )),
        _ => Ok(()),
    }
}

/// A descriptor that the caller has not opened would be one of ours, and the container would get that: ours are all
/// close-on-exec.
pub(super) fn check_preserved(count: u32) -> Result<()> {
    match (3..3 + count as i32).find(|&number| !sys::survives_exec(number)) {
        Some(number) => {
            let text = format!("unable to stat preserved-fd {number} (of {count})");
            Err(Error::new(ErrorKind::InvalidSpec, text))
        }
        None => Ok(()),
    }
}

pub(super) fn socket(console: &Console) -> Result<Option<CString>> {
    match console {
        Console::Caller | Console::Nobody => Ok(None),
        Console::Socket(path) => {
            let path = absolute(path)?;
            let path = CString::new(path.as_os_str().as_bytes());
            path.map(Some).map_err(|e| Error::new(ErrorKind::InvalidSpec, format!("console socket: {e}")))
        }
    }
}
