//! `netDevices`: devices of the runtime's network namespace become the container's (`config-linux.md`, *Network Devices*).
//!
//! The runtime does it, between the clone and the first step of init: the container has no power over a device that is not
//! its own yet, and sysctls and hooks may name the device. When the container can't be made, what was moved is given back
//! as it was. When a container ends, the kernel does what the specification leaves to it: physical devices go to the
//! initial namespace, virtual ones end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::netlink::{Address, Link, Socket};
use crate::error::{Error, Result};
use crate::spec::NetDevice;
use crate::sys::{self, Errno};

/// Devices that a container has got.
pub(crate) struct Moved {
    /// In the runtime's network namespace.
    here: Socket,
    own: OwnedFd,
    /// In the container's.
    there: Socket,
    devices: Vec<Device>,
}

/// One of them, as it was, and its index where it is.
struct Device {
    name: String,
    up: bool,
    addresses: Vec<Address>,
    inside: Link,
}

/// Moves devices from the calling thread's network namespace to another one. When this fails all are where they were.
///
/// # Errors
/// A device that does not exist, a name that is taken, a namespace that is the runtime's own, what the kernel refuses.
pub(crate) fn give(devices: &[NetDevice], namespace: BorrowedFd<'_>) -> Result<Moved> {
    let failed = |errno| Error::system("move network devices", errno).context("/linux/netDevices");
    let own = sys::openat(sys::CWD, c"/proc/thread-self/ns/net", libc::O_RDONLY, 0).map_err(failed)?;
    let identity = |fd| sys::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).map_err(failed);
    if identity(own.as_fd())? == identity(namespace)? {
        return Err(Error::refused("/linux/netDevices", "the container's network namespace is the runtime's own"));
    }
    let here = Socket::open().map_err(failed)?;
    let there = Socket::open_in(namespace).map_err(failed)?;
    // All are looked at before the first one is touched.
    let before = there.links().map_err(failed)?;
    let links = devices.iter().map(|device| check(device, &here, &before)).collect::<Result<Vec<_>>>()?;
    let mut moved = Moved { here, own, there, devices: Vec::new() };
    for (device, link) in devices.iter().zip(links) {
        if let Err(errno) = moved.take(device, &link, namespace) {
            moved.give_back();
            let what = format!("move network device {} into the container as {}", device.name, device.inside);
            let error = Error::system(what, errno);
            // netns_immutable of the kernel: the loopback device, a bridge, a tunnel's fallback device.
            let hint = match errno {
                Errno(libc::EINVAL) => error.context("it may be of a kind that does not leave its namespace"),
                _ => error,
            };
            return Err(hint.context(pointer(device)));
        }
    }
    Ok(moved)
}

fn check(device: &NetDevice, here: &Socket, there: &[Link]) -> Result<Link> {
    let link = here.link(&device.name).map_err(|errno| match errno {
        Errno(libc::ENODEV) => Error::refused(pointer(device), "there is no such network device").with_errno(errno),
        errno => Error::system(format!("find network device {}", device.name), errno).context(pointer(device)),
    })?;
    // The kernel would move the device first and refuse the name then.
    if there.iter().any(|other| other.name == device.inside) {
        let text = format!("a network device {} exists in the container's network namespace", device.inside);
        return Err(Error::refused(pointer(device), text).with_errno(Errno(libc::EEXIST)));
    }
    Ok(link)
}

/// RFC 6901. A device's name has no slash.
fn pointer(device: &NetDevice) -> String {
    format!("/linux/netDevices/{}", device.name.replace('~', "~0"))
}

impl Moved {
    fn take(&mut self, device: &NetDevice, link: &Link, namespace: BorrowedFd<'_>) -> sys::Result<()> {
        let addresses = self.here.addresses(link.index)?;
        let before = self.there.links()?;
        let result = self.here.move_link(link.index, namespace, &device.inside);
        // Also after an error: it may have been moved and not been named.
        let is_new = |l: &Link| before.iter().all(|other| other.index != l.index);
        let named =
            |l: &&Link| is_new(l) && matches(&l.name, if result.is_ok() { &device.inside } else { &device.name });
        let inside = self.there.links()?.iter().find(named).cloned();
        if let Some(inside) = inside.clone() {
            let name = device.name.clone();
            self.devices.push(Device { name, up: link.up, addresses: addresses.clone(), inside });
        }
        result?;
        let inside = inside.ok_or(Errno(libc::ENODEV))?;
        for address in &addresses {
            self.there.add_address(inside.index, address, &device.name, &inside.name)?;
        }
        self.there.set_up(inside.index)
    }

    /// Back to where they were, with their names, addresses and states. What can't be done is left: the error that led here
    /// is the one that is told.
    pub(crate) fn give_back(self) {
        for device in self.devices.iter().rev() {
            let _ = self.return_one(device);
        }
    }

    fn return_one(&self, device: &Device) -> sys::Result<()> {
        self.there.move_link(device.inside.index, self.own.as_fd(), &device.name)?;
        let link = self.here.link(&device.name)?;
        for address in &device.addresses {
            let _ = self.here.add_address(link.index, address, &device.name, &device.name);
        }
        if device.up { self.here.set_up(link.index) } else { Ok(()) }
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
