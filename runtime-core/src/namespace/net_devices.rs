//! `netDevices`: devices of the runtime's network namespace become the container's (`config-linux.md`, *Network Devices*).
//!
//! The runtime does it, between the clone and the first step of init: the container has no power over a device that is not
//! its own yet, and sysctls and hooks may name the device. When the container can't be made, what was moved is given back
//! as it was; also when the runtime was killed before that, by `delete --force`: for so long the namespace, and what was moved
//! into it, is kept by a mount in the container's directory ([`crate::state`]). When a container ends, the kernel does what the specification leaves to it: physical devices go to the
//! initial namespace, virtual ones end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::netlink::{Address, Link, Socket};
use crate::error::{Error, Result};
use crate::spec::NetDevice;
use crate::sys::{self, Errno};

/// What is moved, as it was: enough to give it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loan {
    /// The names of the devices that were in the container's namespace before.
    before: Vec<String>,
    devices: Vec<Lent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lent {
    name: String,
    /// Its name in the container, or the template of it.
    inside: String,
    /// The kernel keeps it in the container's namespace where it is free there.
    index: u32,
    up: bool,
    addresses: Vec<Address>,
}

/// Devices that a container has got, each with what it is there.
pub(crate) struct Moved {
    ends: Ends,
    devices: Vec<(Lent, Link)>,
}

/// The runtime's network namespace and the container's.
struct Ends {
    here: Socket,
    own: OwnedFd,
    there: Socket,
}

impl Ends {
    fn open(namespace: BorrowedFd<'_>) -> Result<Self> {
        let own = sys::openat(sys::CWD, c"/proc/thread-self/ns/net", libc::O_RDONLY, 0).map_err(failed)?;
        let identity = |fd| sys::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).map_err(failed);
        if identity(own.as_fd())? == identity(namespace)? {
            return Err(Error::refused("/linux/netDevices", "the container's network namespace is the runtime's own"));
        }
        let there = Socket::open_in(namespace).map_err(failed)?;
        Ok(Ends { here: Socket::open().map_err(failed)?, own, there })
    }
}

fn failed(errno: Errno) -> Error {
    Error::system("move network devices", errno).context("/linux/netDevices")
}

/// Moves devices from the calling thread's network namespace to another one. When this fails all are where they were. Before
/// the first is moved all are written down by `keep`.
///
/// # Errors
/// A device that does not exist, a name that is taken, a namespace that is the runtime's own, what the kernel refuses.
pub(crate) fn give(
    devices: &[NetDevice],
    namespace: BorrowedFd<'_>,
    keep: impl FnOnce(&Loan) -> Result<()>,
) -> Result<Moved> {
    let ends = Ends::open(namespace)?;
    let before = ends.there.links().map_err(failed)?;
    let lend = |device: &NetDevice| {
        let link = check(device, &ends.here, &before)?;
        let addresses = ends.here.addresses(link.index).map_err(failed)?;
        let (name, inside) = (device.name.clone(), device.inside.clone());
        Ok(Lent { name, inside, index: link.index, up: link.up, addresses })
    };
    let devices = devices.iter().map(lend).collect::<Result<Vec<_>>>()?;
    let loan = Loan { before: before.into_iter().map(|link| link.name).collect(), devices };
    keep(&loan)?;
    let mut moved = Moved { ends, devices: Vec::new() };
    for lent in loan.devices {
        let (pointer, what) =
            (pointer(&lent.name), format!("move network device {} into the container as {}", lent.name, lent.inside));
        if let Err(errno) = moved.take(lent, namespace) {
            moved.give_back();
            let error = Error::system(what, errno);
            // netns_immutable of the kernel: the loopback device, a bridge, a tunnel's fallback device.
            let hint = match errno {
                Errno(libc::EINVAL) => error.context("it may be of a kind that does not leave its namespace"),
                _ => error,
            };
            return Err(hint.context(pointer));
        }
    }
    Ok(moved)
}

/// Gives back, to the calling thread's network namespace, what of a loan is found in the namespace that got it.
///
/// # Errors
/// What can't be given back, for example because its name is taken meanwhile: it is still there.
pub(crate) fn take_back(loan: &Loan, namespace: BorrowedFd<'_>) -> Result<()> {
    let ends = Ends::open(namespace)?;
    let mut links = ends.there.links().map_err(failed)?;
    links.retain(|link| !loan.before.contains(&link.name));
    let mut moved = Moved { ends, devices: Vec::new() };
    for lent in &loan.devices {
        // It may have been moved and not been named.
        let is_it = |link: &Link| matches(&link.name, &lent.inside) || link.name == lent.name;
        let same = links.iter().position(|link| is_it(link) && link.index == lent.index);
        if let Some(at) = same.or_else(|| links.iter().position(is_it)) {
            moved.devices.push((lent.clone(), links.remove(at)));
        }
    }
    moved.devices.iter().try_for_each(|(lent, link)| {
        moved.return_one(lent, link).map_err(|e| Error::system(format!("give network device {} back", lent.name), e))
    })
}

fn check(device: &NetDevice, here: &Socket, there: &[Link]) -> Result<Link> {
    let link = here.link(&device.name).map_err(|errno| match errno {
        Errno(libc::ENODEV) => {
            Error::refused(pointer(&device.name), "there is no such network device").with_errno(errno)
        }
        errno => Error::system(format!("find network device {}", device.name), errno).context(pointer(&device.name)),
    })?;
    // The kernel would move the device first and refuse the name then.
    if there.iter().any(|other| other.name == device.inside) {
        let text = format!("a network device {} exists in the container's network namespace", device.inside);
        return Err(Error::refused(pointer(&device.name), text).with_errno(Errno(libc::EEXIST)));
    }
    Ok(link)
}

/// RFC 6901. A device's name has no slash.
fn pointer(name: &str) -> String {
    format!("/linux/netDevices/{}", name.replace('~', "~0"))
}

impl Moved {
    fn take(&mut self, lent: Lent, namespace: BorrowedFd<'_>) -> sys::Result<()> {
        let Ends { here, there, .. } = &self.ends;
        let before = there.links()?;
        let result = here.move_link(lent.index, namespace, &lent.inside);
        // Also after an error: it may have been moved and not been named.
        let is_new = |l: &Link| before.iter().all(|other| other.index != l.index);
        let named = |l: &&Link| is_new(l) && matches(&l.name, if result.is_ok() { &lent.inside } else { &lent.name });
        let Some(inside) = there.links()?.into_iter().find(|l| named(&l)) else {
            return result.and(Err(Errno(libc::ENODEV)));
        };
        let (index, name) = (inside.index, inside.name.clone());
        self.devices.push((lent, inside));
        result?;
        if let Some((lent, _)) = self.devices.last() {
            for address in &lent.addresses {
                self.ends.there.add_address(index, address, &lent.name, &name)?;
            }
        }
        self.ends.there.set_up(index)
    }

    /// Back to where they were, with their names, addresses and states. What can't be done is left: the error that led here
    /// is the one that is told.
    pub(crate) fn give_back(self) {
        for (lent, inside) in self.devices.iter().rev() {
            let _ = self.return_one(lent, inside);
        }
    }

    fn return_one(&self, lent: &Lent, inside: &Link) -> sys::Result<()> {
        let Ends { here, own, there } = &self.ends;
        there.move_link(inside.index, own.as_fd(), &lent.name)?;
        let link = here.link(&lent.name)?;
        for address in &lent.addresses {
            let _ = here.add_address(link.index, address, &lent.name, &lent.name);
        }
        if lent.up { here.set_up(link.index) } else { Ok(()) }
    }
}

/// Whether a name is this one, or what the kernel may have made of a template (`eth%d`).
fn matches(name: &str, template: &str) -> bool {
    match template.split_once("%d") {
        None => name == template,
        Some((before, after)) => {
            let number = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_what_the_kernel_makes_of_them() {
        for (name, template, expect) in [
            ("eth0", "eth0", true),
            ("eth1", "eth0", false),
            ("eth17", "eth%d", true),
            ("eth", "eth%d", false),
            ("ethx", "eth%d", false),
            ("a3b", "a%db", true),
        ] {
            assert_eq!(matches(name, template), expect, "{name} {template}");
        }
    }
}
