//! What is asked of systemd: to start the unit, to change it, to stop it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::{ObjectPath, Variant};

use super::bus::{Bus, Method, Refusal, SIGNAL, sockets_of};
use super::{Manager, Property, Socket, TransientUnit, Unit, UserBus};
use crate::sys::{self, Errno};
use crate::{Error, ErrorKind, Result};

/// How long a conversation may take, with the job that it waits for. systemd on a machine with thousands of units takes
/// seconds for a daemon-reload, and answers nobody meanwhile; runc waits as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// It exists where systemd is the first process, sd_booted(3), and belongs to the user whose systemd that is.
const BOOTED: &str = "/run/systemd/system";

const MANAGER: Method = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};

impl Manager {
    /// The systemd that starts the caller's units: the machine's, or the user's own where the machine's belongs to somebody
    /// else (rootless, also as root of a user namespace). It is asked for its version and its place.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where systemd is not running; [`ErrorKind::Timeout`] when it does not answer.
    pub fn probe(bus: &UserBus) -> Result<Manager> {
        let user = match std::fs::symlink_metadata(BOOTED) {
            Ok(metadata) if metadata.is_dir() => metadata.uid() != sys::geteuid(),
            _ => {
                let reason = format!("systemd is not running here: there is no {BOOTED}");
                return Err(Error::new(ErrorKind::Unsupported, format!("--systemd-cgroup: {reason}")));
            }
        };
        let sockets = if user { user_sockets(bus)? } else { system_sockets() };
        let mut systemd = Systemd::connect(&sockets)?;
        let version = systemd.manager_property("Version")?;
        let version = version_of(&version)
            .ok_or_else(|| Error::new(ErrorKind::System, format!("systemd's version is not a number: {version:?}")))?;
        let root = PathBuf::from(systemd.manager_property("ControlGroup")?);
        Ok(Manager { sockets, user, version, root })
    }
}

fn system_sockets() -> Vec<Socket> {
    // systemd's own is "private"; it is there for a machine without a bus.
    vec![Socket::Bus("/run/dbus/system_bus_socket".into()), Socket::Private("/run/systemd/private".into())]
}

/// Only for who has no more rights than whoever set the environment from which the address may come.
fn user_sockets(bus: &UserBus) -> Result<Vec<Socket>> {
    let mut sockets = bus.address.as_deref().map_or_else(Vec::new, sockets_of);
    let directory = bus.runtime_directory.clone().or_else(|| match sys::geteuid() {
        0 => None,
        uid => Some(PathBuf::from(format!("/run/user/{uid}"))),
    });
    if let Some(directory) = directory.filter(|directory| directory.is_absolute()) {
        let bus = Socket::Bus(directory.join("bus"));
        if !sockets.contains(&bus) {
            sockets.push(bus);
        }
        sockets.push(Socket::Private(directory.join("systemd/private")));
    }
    if sockets.is_empty() {
        let reason = "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS says where the user's systemd is";
        return Err(Error::new(ErrorKind::Unsupported, format!("--systemd-cgroup: {reason}")));
    }
    Ok(sockets)
}

/// `252.39-1~deb12u2`, `v245` and `"245"` are 252 and 245.
fn version_of(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A conversation with systemd.
struct Systemd {
    bus: Bus,
    /// Its name on the bus, for the signals; `None` on its own socket.
    owner: Option<String>,
}

impl Systemd {
    /// Connects to the first socket behind which there is a systemd.
    fn connect(sockets: &[Socket]) -> Result<Systemd> {
        let mut first: Option<Error> = None;
        for socket in sockets {
            match Systemd::try_connect(socket) {
                Ok(Some(systemd)) => return Ok(systemd),
                Ok(None) => {
                    let error = Error::new(ErrorKind::Unsupported, "no systemd is on the bus");
                    first.get_or_insert(error);
                }
                // Nobody is there. Everything else is an answer, or the lack of one.
                Err(error) if matches!(error.errno(), Some(Errno(libc::ENOENT | libc::ECONNREFUSED))) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error.context("reach systemd")),
            }
        }
        let nowhere = || Error::new(ErrorKind::Unsupported, "it has no socket");
        Err(first.unwrap_or_else(nowhere).context("reach systemd"))
    }

    fn try_connect(socket: &Socket) -> Result<Option<Systemd>> {
        let mut bus = Bus::connect(socket, PATIENCE)?;
        if bus.private {
            return Ok(Some(Systemd { bus, owner: None }));
        }
        let owner = bus.owner(MANAGER.destination)?;
        Ok(owner.map(|owner| Systemd { bus, owner: Some(owner) }))
    }

    fn manager_property(&mut self, name: &str) -> Result<String> {
        let method = Method { interface: "org.freedesktop.DBus.Properties", member: "Get", ..MANAGER };
        let what = format!("ask systemd for its {name}");
        let reply = self.bus.call(method, &(MANAGER.interface, name)).map_err(|refusal| refusal.error(&what))?;
        match reply.body::<(Variant<'_>,)>()?.0 {
            Variant::Str(text) => Ok(text.as_str().to_owned()),
            other => Err(Error::new(ErrorKind::System, format!("{what}: it is {other}"))),
        }
    }

    /// Before a job is begun whose end shall be heard of.
    fn listen(&mut self) -> Result<()> {
        if !self.bus.private {
            let Method { destination, path, interface, .. } = MANAGER;
            let rule = format!(
                "type='signal',sender='{destination}',path='{path}',interface='{interface}',member='JobRemoved'"
            );
            self.bus.listen(&rule)?;
        }
        let subscribed = self.bus.call(Method { member: "Subscribe", ..MANAGER }, &());
        subscribed.map(drop).map_err(|refusal| refusal.error("subscribe to systemd's jobs"))
    }

    /// Waits for the end of a job; what became of it: `done`, `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
    fn end_of(&mut self, job: &str) -> Result<String> {
        loop {
            let signal = self.bus.signal()?;
            // Anybody on the bus may send us a signal.
            let from_systemd = self.owner.is_none() || signal.sender == self.owner;
            if signal.kind != SIGNAL || !from_systemd || signal.member.as_deref() != Some("JobRemoved") {
                continue;
            }
            let (_, path, _, result) = signal.body::<(u32, ObjectPath<'_>, String, String)>()?;
            if path.as_str() == job {
                return Ok(result);
            }
        }
    }

    /// A unit that has failed stays loaded until somebody has taken notice.
    fn reset_failed(&mut self, name: &str) -> Result<(), Refusal> {
        match self.bus.call(Method { member: "ResetFailedUnit", ..MANAGER }, &(name,)) {
            Ok(_) | Err(Refusal::Answer { .. }) => Ok(()),
            Err(failed) => Err(failed),
        }
    }
}

/// Starts the unit, with the process in it where it is a scope, and waits until it is.
///
/// # Errors
/// A unit of this name exists (`org.freedesktop.systemd1.UnitExists`), a property that systemd refuses;
/// [`ErrorKind::Timeout`].
pub(in crate::cgroup) fn start(unit: &TransientUnit, pid: i32) -> Result<()> {
    let name = unit.unit.name.as_str();
    let what = format!("start unit {name}");
    let mut systemd = Systemd::connect(&unit.unit.sockets).map_err(|error| error.context(&what))?;
    let mut begin = || -> Result<String, Refusal> {
        systemd.listen()?;
        let pids = Variant::from(vec![pid.cast_unsigned()]);
        let mut properties: Vec<_> = unit.properties.iter().map(|p| (p.name.as_str(), &p.value)).collect();
        if !unit.unit.is_slice() {
            properties.push(("PIDs", &pids));
        }
        let auxiliary: &[(&str, Vec<(&str, Variant<'_>)>)] = &[];
        let method = Method { member: "StartTransientUnit", ..MANAGER };
        let body = (name, "replace", properties, auxiliary);
        let started = match systemd.bus.call(method, &body) {
            // Perhaps one that has failed, which an earlier container left behind.
            Err(Refusal::Answer { name: error, .. }) if error.ends_with(".UnitExists") => {
                systemd.reset_failed(name)?;
                systemd.bus.call(method, &body)
            }
            other => other,
        };
        let job = started?.body::<(ObjectPath<'_>,)>()?.0.as_str().to_owned();
        Ok(systemd.end_of(&job)?)
    };
    let result = begin().map_err(|refusal| refusal.error(&what))?;
    if result != "done" {
        let _ = systemd.reset_failed(name);
        return Err(Error::new(ErrorKind::System, format!("{what}: its job ended as {result:?}")));
    }
    Ok(())
}

/// Stops the unit and waits until it is gone. One that does not exist is no error.
///
/// # Errors
/// [`ErrorKind::Timeout`], [`ErrorKind::System`].
pub(in crate::cgroup) fn stop(unit: &Unit) -> Result<()> {
    let name = unit.name.as_str();
    let end = || -> Result<(), Refusal> {
        let mut systemd = Systemd::connect(&unit.sockets)?;
        systemd.listen()?;
        match systemd.bus.call(Method { member: "StopUnit", ..MANAGER }, &(name, "replace")) {
            Ok(reply) => {
                // Whatever became of the job: what is left of the cgroup is removed by hand.
                let job = reply.body::<(ObjectPath<'_>,)>()?.0.as_str().to_owned();
                systemd.end_of(&job)?;
            }
            Err(Refusal::Answer { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(refusal) => return Err(refusal),
        }
        systemd.reset_failed(name)
    };
    end().map_err(|refusal| refusal.error(&format!("stop unit {name}")))
}

/// Changes properties of the unit until the next boot.
///
/// # Errors
/// What systemd refuses; [`ErrorKind::Timeout`].
pub(in crate::cgroup) fn set(unit: &Unit, properties: &[Property]) -> Result<()> {
    let properties: Vec<_> = properties.iter().map(|p| (p.name.as_str(), &p.value)).collect();
    call(unit, "set properties of", "SetUnitProperties", &(unit.name.as_str(), true, properties))
}

/// Moves a process into the unit, or into a cgroup below it. For who may not do so: a user's processes are in another
/// part of the tree, and only the machine's systemd, which the user's asks, may move them across.
///
/// # Errors
/// As [`set`].
pub(in crate::cgroup) fn attach(unit: &Unit, below: &Path, pid: i32) -> Result<()> {
    let path = if below.as_os_str().is_empty() { String::new() } else { format!("/{}", below.display()) };
    let body = (unit.name.as_str(), path, vec![pid.cast_unsigned()]);
    call(unit, &format!("move process {pid} into"), "AttachProcessesToUnit", &body)
}

fn call(unit: &Unit, what: &str, member: &'static str, body: &(impl serde::Serialize + zbus::Type)) -> Result<()> {
    let what = format!("{what} unit {}", unit.name);
    let mut systemd = Systemd::connect(&unit.sockets).map_err(|error| error.context(&what))?;
    systemd.bus.call(Method { member, ..MANAGER }, body).map(drop).map_err(|refusal| refusal.error(&what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expect) in [
            ("252.39-1~deb12u2", Some(252)),
            ("v245", Some(245)),
            ("\"245", Some(245)),
            ("255~rc1", Some(255)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(version_of(text), expect, "{text}");
        }
    }
}
