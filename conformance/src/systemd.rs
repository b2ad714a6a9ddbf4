//! The systemd that makes the containers' cgroups where `--driver systemd` asks for it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ctx::{Outcome, Stop, ensure};
use crate::user::User;

/// Whose systemd it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The machine's.
    System,
    /// That of the ordinary user who executes the runtime.
    User { uid: u32, gid: u32 },
}

impl Manager {
    pub(crate) fn of(user: Option<&User>) -> Manager {
        user.map_or(Manager::System, |user| Manager::User { uid: user.uid, gid: user.gid })
    }

    /// Has the machine's systemd start that of the user, as the first login of his does or lingering.
    pub(crate) fn start(self) -> Outcome {
        let Manager::User { uid, .. } = self else { return Ok(()) };
        Manager::System.systemctl(&["start", &format!("user@{uid}.service")]).map(drop)
    }

    /// The slice of a container whose `cgroupsPath` names none.
    pub(crate) fn slice(self) -> &'static str {
        match self {
            Manager::System => "system.slice",
            Manager::User { .. } => "user.slice",
        }
    }

    /// Its own cgroup, without a slash at the end: its units are below.
    pub(crate) fn root(self) -> String {
        match self {
            Manager::System => String::new(),
            Manager::User { uid, .. } => format!("/user.slice/user-{uid}.slice/user@{uid}.service"),
        }
    }

    /// The sockets by which it is reached: its bus, and its own.
    pub(crate) fn sockets(self) -> [PathBuf; 2] {
        match self {
            Manager::System => ["/run/dbus/system_bus_socket".into(), "/run/systemd/private".into()],
            Manager::User { uid, .. } => ["bus", "systemd/private"].map(|name| runtime_dir(uid).join(name)),
        }
    }

    /// A program that speaks to it: systemctl, systemd-run.
    pub(crate) fn command(self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Manager::User { uid, gid } = self {
            command.arg("--user").uid(uid).gid(gid).env("XDG_RUNTIME_DIR", runtime_dir(uid));
            command.env_remove("DBUS_SESSION_BUS_ADDRESS");
        }
        command.stdin(Stdio::null());
        command
    }

    /// What `systemctl ARGS` prints.
    pub(crate) fn systemctl(self, args: &[&str]) -> Result<String, Stop> {
        let out = self.command("systemctl").args(args).output()?;
        let stderr = String::from_utf8_lossy(&out.stderr);
        ensure(out.status.success(), format_args!("harness: systemctl {args:?}: {}", stderr.trim_end()))?;
        Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
    }

    /// `NAME=VALUE` of a unit.
    pub(crate) fn show(self, unit: &str, names: &str) -> Result<Vec<String>, Stop> {
        Ok(self.systemctl(&["show", unit, "-p", names])?.lines().map(str::to_owned).collect())
    }

    /// The units that it knows whose name contains `tag`.
    pub(crate) fn units(self, tag: &str) -> Result<Vec<String>, Stop> {
        let pattern = format!("*{tag}*");
        let list = self.systemctl(&["list-units", "--all", "--full", "--plain", "--no-legend", &pattern])?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// Has it forget the units that hold `tag` in their names, which the removal of their cgroups has ended.
    pub(crate) fn forget(self, tag: &str) {
        if is_running() && self.units(tag).is_ok_and(|units| !units.is_empty()) {
            for verb in ["stop", "reset-failed"] {
                let _ = self.systemctl(&[verb, &format!("*{tag}*")]);
            }
        }
    }
}

/// Whether systemd is this machine's first process.
pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// `XDG_RUNTIME_DIR` of a user whose systemd runs.
pub(crate) fn runtime_dir(uid: u32) -> PathBuf {
    format!("/run/user/{uid}").into()
}
