//! `spec`: a configuration to start from.

use std::io::Write;

use runtime_core::spec::{Ids, example};
use runtime_core::sys::Errno;
use runtime_core::{Error, ErrorKind, Result};

use super::{Call, Command};
use crate::args::{Count, Order, Takes, flag};
use crate::texts;

pub(super) const COMMAND: Command = Command {
    name: "spec",
    summary: "write a config.json to start from",
    usage: "",
    flags: &[
        flag(&["bundle", "b"], Takes::Value, "the directory to write it to (default: the current one)"),
        flag(&["rootless"], Takes::Nothing, "for a container of a user without privileges"),
    ],
    order: Order::Anywhere,
    count: Count { min: 0, max: 0 },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    let bundle = call.args.path("bundle").unwrap_or_default();
    let ids = || Ids { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
    let text = example(call.args.is("rootless").then(ids), has_only_cgroup_v2());
    let path = bundle.join("config.json");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::new(ErrorKind::InvalidSpec, texts::CONFIG_EXISTS))
        }
        Err(error) => Err(Error::system(format!("write {}", path.display()), Errno::from(error))),
    }
}

/// Whether the machine has cgroup v2 and nothing else.
fn has_only_cgroup_v2() -> bool {
    nix::sys::statfs::statfs("/sys/fs/cgroup")
        .is_ok_and(|on| on.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
}
