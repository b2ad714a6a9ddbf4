//! What the parent does for a process that waits.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::Surroundings;
use crate::cgroup;
use crate::error::{Error, Result};
use crate::hook;
use crate::namespace::net_devices::{self, Moved};
use crate::plan::{ParentStep, Plan};
use crate::spec::NetDevice;
use crate::state::Directory;
use crate::sys::{self, Errno};
use crate::trace;
use crate::user_mapping::{IdMap, IdMaps, Writer, helper};

pub(super) fn take(step: &ParentStep, plan: &Plan, pid: i32, surroundings: &Surroundings<'_>) -> Result<()> {
    let _span = trace::span(|| step.to_string());
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        // One write: the kernel takes an id map in one piece.
        let written = fs::OpenOptions::new().write(true).open(&path).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|e| Error::system(format!("write {:?} to {file} of the process", text.trim_end()), e.into()))
    };
    match step {
        ParentStep::IdMaps(IdMaps { uids, gids, deny_setgroups }) => {
            if *deny_setgroups {
                write("setgroups", "deny")?;
            }
            let map = |file: &str, helper: &str, map: &IdMap| match map.writer {
                Writer::Runtime => write(file, &map.text),
                Writer::Helper => helper::write(helper, pid, &map.text),
            };
            map("uid_map", "newuidmap", uids)?;
            map("gid_map", "newgidmap", gids)
        }
        ParentStep::StartUnit(_) => plan.cgroup.as_ref().map_or(Ok(()), |planned| cgroup::start(planned, pid)),
        ParentStep::PlaceInCgroups => surroundings.cgroup.place(pid, surroundings.birthplace.is_some()),
        ParentStep::PlaceInResctrl => surroundings.rdt.map_or(Ok(()), |groups| groups.place(pid)),
        // What it did can be undone, so it has a result: `net_devices`.
        ParentStep::NetDevices { .. } => Ok(()),
        ParentStep::OomScoreAdj { value, optional } => match write("oom_score_adj", &value.to_string()) {
            Err(error) if *optional && error.errno() == Some(Errno(libc::EACCES)) => Ok(()),
            result => result,
        },
        ParentStep::Rlimit(limit) => {
            sys::set_rlimit(pid, limit.resource, limit.soft, limit.hard).map_err(|e| Error::system(step, e))
        }
        ParentStep::Hooks { point, hooks } => {
            let (head, tail) = &plan.hook_state;
            hook::run(point, hooks, &format!("{head}{pid}{tail}"))
        }
    }
}

/// Moves network devices into the namespace that the process joins, or into its own new one.
pub(super) fn net_devices(
    devices: &[NetDevice],
    pid: i32,
    joined: Option<OwnedFd>,
    directory: Option<&Directory>,
) -> Result<Moved> {
    let namespace = match joined {
        Some(namespace) => namespace,
        // A child that nobody has waited for: the pid is its own.
        None => fs::File::open(format!("/proc/{pid}/ns/net"))
            .map_err(|e| Error::system("open the network namespace of the process", e.into()))?
            .into(),
    };
    net_devices::give(devices, namespace.as_fd(), |loan| {
        directory.map_or(Ok(()), |directory| directory.keep_network(namespace.as_fd(), loan))
    })
}

/// How long the agent of a filter may take to read what does not fit into its socket.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// Hands the filter's listener to its agent, with the container process state (`config-linux.md`).
pub(super) fn notify_agent(plan: &Plan, pid: i32, pidfd: BorrowedFd<'_>, number: i32) -> Result<()> {
    let Some(agent) = &plan.listener else {
        return Err(Error::unsupported("/linux/seccomp/listenerPath", "SCMP_ACT_NOTIFY needs a listenerPath"));
    };
    let failed =
        |errno: Errno| Error::system(format!("hand the seccomp listener to {}", agent.socket.display()), errno);
    let listener = sys::pidfd_getfd(pidfd, number).map_err(failed)?;
    let (head, tail) = &agent.state;
    let init = agent.init.unwrap_or(pid);
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let message = format!(
        "{{\"ociVersion\":{},\"fds\":[\"seccompFd\"],\"pid\":{pid},\"metadata\":{},\"state\":{head}{init}{tail}}}",
        text(&agent.oci_version),
        text(&agent.metadata)
    );
    let mut socket = super::fds::connect(&agent.socket).map_err(failed)?;
    // An agent that does not read must not hold the command up for ever.
    socket.set_write_timeout(Some(AGENT_PATIENCE)).map_err(|e| failed(e.into()))?;
    // All in one message if possible: most agents read once.
    let sent = sys::send_with_fd(socket.as_fd(), message.as_bytes(), listener.as_fd()).map_err(failed)?;
    socket.write_all(message.as_bytes().get(sent..).unwrap_or_default()).map_err(|e| failed(e.into()))
}
