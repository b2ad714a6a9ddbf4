//! The little of rtnetlink(7) that moving a network device takes: find, list, move, name, address, set up.
//!
//! Written here instead of taken from `netlink-packet-route`, `netlink-packet-core` and `netlink-sys`: these four requests
//! with them make a static program 790 KiB larger (a fifth of what `orlop` may weigh), and a link or an address with an
//! attribute that they can't parse can't be read at all. Here attributes that mean nothing to us stay bytes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt::RcvBuf,
};

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::sys::{self, Errno, Result};

/// linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP_INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
const CREATE_OR_REPLACE: u16 = 0x400 | 0x100;
/// linux/if_link.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
/// linux/if_addr.h.
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
/// Address, local address, broadcast address, lifetimes, metric of its route, protocol.
const KEPT: [u16; 6] = [1, 2, 4, 6, 9, 11];
const IFA_F_PERMANENT: u32 = 0x80;
/// nodad, homeaddress, managetempaddr, noprefixroute, mcautojoin: what was asked for, not what the address is going through.
const KEPT_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// A network device, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) up: bool,
    pub(super) name: String,
}

/// An address of a device: all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    label: Option<String>,
    flags: u32,
    /// Type and value.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A socket in one network namespace, whichever the caller is in.
pub(super) struct Socket(OwnedFd);

struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Socket {
    /// In the calling thread's network namespace.
    pub(super) fn open() -> Result<Self> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let fd = socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkRoute).map_err(errno)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(errno)?;
        // A host may have thousands of devices. What the limit does not allow is not given, and is no error.
        let _ = setsockopt(&fd, RcvBuf, &(1 << 20));
        Ok(Socket(fd))
    }

    /// In another one. A thread of its own goes there, so that nobody has to come back: for that the caller's own
    /// namespace would have to belong to him.
    pub(super) fn open_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        let enter = || {
            sys::setns(namespace, Kind::Network.flag())?;
            Socket::open()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or(Err(Errno(libc::EFAULT)))
    }

    /// ENODEV: there is no device of this name.
    pub(super) fn link(&self, name: &str) -> Result<Link> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &text(name));
        let answer = self.ask(GET_LINK, REQUEST | ACK, &body)?;
        answer.iter().find_map(|m| parse_link(&m.body)).ok_or(Errno(libc::ENODEV))
    }

    pub(super) fn links(&self) -> Result<Vec<Link>> {
        let answer = self.list(GET_LINK, &link_header(0, 0, 0))?;
        Ok(answer.iter().filter(|m| m.kind == NEW_LINK).filter_map(|m| parse_link(&m.body)).collect())
    }

    /// The permanent addresses of global scope of a device, of every family.
    pub(super) fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let answer = self.list(GET_ADDRESS, &address_header(0, 0, 0, 0))?;
        Ok(answer.iter().filter(|m| m.kind == NEW_ADDRESS).filter_map(|m| parse_address(&m.body, index)).collect())
    }

    /// Moves a device to another network namespace and gives it a name there. The kernel sets it down and takes its
    /// addresses.
    pub(super) fn move_link(&self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut body = link_header(index, 0, 0);
        attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut body, IFLA_IFNAME, &text(name));
        self.ask(NEW_LINK, REQUEST | ACK, &body).map(drop)
    }

    pub(super) fn set_up(&self, index: u32) -> Result<()> {
        let up = libc::IFF_UP as u32;
        self.ask(NEW_LINK, REQUEST | ACK, &link_header(index, up, up)).map(drop)
    }

    /// `was` and `is` are the device's names: labels begin with it.
    pub(super) fn add_address(&self, index: u32, address: &Address, was: &str, is: &str) -> Result<()> {
        let body = address_request(index, address, was, is);
        self.ask(NEW_ADDRESS, REQUEST | ACK | CREATE_OR_REPLACE, &body).map(drop)
    }

    /// A dump that the kernel calls interrupted is made again: something has changed meanwhile.
    fn list(&self, kind: u16, body: &[u8]) -> Result<Vec<Message>> {
        for _ in 0..16 {
            let answer = self.ask(kind, REQUEST | DUMP, body)?;
            if answer.iter().all(|m| m.flags & DUMP_INTERRUPTED == 0) {
                return Ok(answer);
            }
        }
        Err(Errno(libc::EAGAIN))
    }

    /// One request and all of its answer, to the acknowledgement or the end of the dump.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Message>> {
        let mut request = Vec::with_capacity(16 + body.len());
        request.extend((16 + body.len() as u32).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        // Sequence and port: one request at a time, and the kernel fills the port in.
        request.extend([0; 8]);
        request.extend(body);
        sys::send(self.0.as_fd(), &request)?;
        let mut all = Vec::new();
        // The kernel sends at most 32 KiB of a dump at once.
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = sys::receive(self.0.as_fd(), &mut buffer)?;
            let messages = parse(buffer.get(..length).unwrap_or_default());
            if messages.is_empty() {
                return Err(Errno(libc::EBADMSG));
            }
            if let Some(end) = take(messages, &mut all) {
                return end.map(|()| all);
            }
        }
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno(error as i32)
}

/// A string as the kernel wants it.
fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// struct ifinfomsg.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// struct ifaddrmsg, of global scope.
fn address_header(family: u8, prefix: u8, flags: u8, index: u32) -> Vec<u8> {
    [family, prefix, flags, 0].into_iter().chain(index.to_ne_bytes()).collect()
}

/// struct rtattr and its value, up to the next multiple of four.
fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend((4 + value.len() as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The messages in what was received.
fn parse(mut bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind), Some(flags)) = (word(bytes, 0), half(bytes, 4), half(bytes, 6)) {
        let Some(body) = bytes.get(16..length as usize) else { break };
        all.push(Message { kind, flags, body: body.to_vec() });
        bytes = bytes.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// Adds to the answer, up to its end, or to the error in its place.
fn take(messages: Vec<Message>, answer: &mut Vec<Message>) -> Option<Result<()>> {
    for message in messages {
        match message.kind {
            ERROR => {
                let code = word(&message.body, 0).unwrap_or_default() as i32;
                return Some(if code == 0 { Ok(()) } else { Err(Errno(code.wrapping_neg())) });
            }
            DONE => return Some(Ok(())),
            _ => answer.push(message),
        }
    }
    None
}

/// Type and value of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (half(bytes, 0)? as usize, half(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The upper two bits say how the value is coded (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        Some((kind & 0x3fff, value))
    })
}

fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let name = attributes(body.get(16..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
    Some(Link { index: word(body, 4)?, up: word(body, 8)? & libc::IFF_UP as u32 != 0, name: string(name) })
}

fn parse_address(body: &[u8], index: u32) -> Option<Address> {
    let (&[family, prefix, flags, scope], attributes_of) = (body.first_chunk()?, body.get(8..)?);
    let all = || attributes(attributes_of);
    // The header has room for eight flags.
    let flags = all().find(|(kind, _)| *kind == IFA_FLAGS).and_then(|(_, v)| word(v, 0)).unwrap_or(flags.into());
    if word(body, 4)? != index || scope != 0 || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    Some(Address {
        family,
        prefix,
        label: all().find(|(kind, _)| *kind == IFA_LABEL).map(|(_, value)| string(value)),
        flags: flags & KEPT_FLAGS,
        attributes: all().filter(|(kind, _)| KEPT.contains(kind)).map(|(kind, value)| (kind, value.to_vec())).collect(),
    })
}

/// The address of another device, whose name `is`; labels begin with what it `was`.
fn address_request(index: u32, address: &Address, was: &str, is: &str) -> Vec<u8> {
    let mut body = address_header(address.family, address.prefix, address.flags as u8, index);
    for (kind, value) in &address.attributes {
        attribute(&mut body, *kind, value);
    }
    if address.flags != 0 {
        attribute(&mut body, IFA_FLAGS, &address.flags.to_ne_bytes());
    }
    if let Some(label) = address.label.as_deref().and_then(|label| relabel(label, was, is)) {
        attribute(&mut body, IFA_LABEL, &text(&label));
    }
    body
}

/// `eth0:web` of eth0 is `net1:web` of net1. Without one the kernel takes the device's name.
fn relabel(label: &str, was: &str, is: &str) -> Option<String> {
    let label = match label.strip_prefix(was) {
        Some("") => return None,
        Some(rest) if rest.starts_with(':') => format!("{is}{rest}"),
        _ => label.to_owned(),
    };
    // IFNAMSIZ with the NUL.
    (label.len() < 16).then_some(label)
}

/// Any bytes as what the kernel sends: links, and addresses whose attributes are asked for again as they were.
#[cfg(any(test, fuzzing))]
pub(crate) fn any_answer(bytes: &[u8]) {
    let mut answer = Vec::new();
    let end = take(parse(bytes), &mut answer);
    assert!(end != Some(Err(Errno(0))), "an error that is none");
    assert!(answer.iter().map(|message| 16 + message.body.len()).sum::<usize>() <= bytes.len());
    for message in answer {
        if let Some(link) = parse_link(&message.body) {
            assert_eq!(relabel(&link.name, &link.name, "net0"), None);
        }
        let index = word(&message.body, 4).unwrap_or_default();
        if let Some(address) = parse_address(&message.body, index) {
            let request = address_request(index, &address, "eth0", "net0");
            assert_eq!(parse_address(&request, index), None, "permanent by request");
            let kept = attributes(&request[8..]).filter(|(kind, _)| KEPT.contains(kind));
            let wanted = address.attributes.iter().map(|(kind, value)| (*kind, value.as_slice()));
            assert!(kept.eq(wanted), "{address:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_name() {
        for (label, expect) in
            [("eth0", None), ("eth0:web", Some("net1:web")), ("other", Some("other")), ("eth0:abcdefghijk", None)]
        {
            assert_eq!(relabel(label, "eth0", "net1").as_deref(), expect, "{label}");
        }
    }

    #[test]
    fn addresses_are_read_and_others_left_out() {
        let message = |scope: u8, flags: u8, wide: Option<u32>| {
            let mut body = vec![2, 24, flags, scope];
            body.extend(7u32.to_ne_bytes());
            attribute(&mut body, 1, &[192, 0, 2, 7]);
            attribute(&mut body, 3, b"eth0\0");
            wide.iter().for_each(|flags| attribute(&mut body, IFA_FLAGS, &flags.to_ne_bytes()));
            // An attribute of a later kernel.
            attribute(&mut body, 99, &[1]);
            body
        };
        let expect = |flags| Address {
            family: 2,
            prefix: 24,
            label: Some("eth0".into()),
            flags,
            attributes: vec![(1, vec![192, 0, 2, 7])],
        };
        assert_eq!(parse_address(&message(0, 0x80, None), 7), Some(expect(0)));
        // Tentative goes, noprefixroute stays.
        assert_eq!(parse_address(&message(0, 0xc0, Some(0x2c0)), 7), Some(expect(0x200)));
        assert_eq!(parse_address(&message(0, 0x80, None), 8), None);
        assert_eq!(parse_address(&message(253, 0x80, None), 7), None);
        assert_eq!(parse_address(&message(0, 0, None), 7), None);
        assert_eq!(parse_address(&[2, 24], 7), None);
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let mut link = vec![];
        link.extend(40u32.to_ne_bytes());
        link.extend([16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        link.extend(link_header(3, 1, 0));
        attribute(&mut link, IFLA_IFNAME, b"lo\0");
        let messages = parse(&link);
        assert_eq!(messages.len(), 1);
        assert_eq!(parse_link(&messages[0].body), Some(Link { index: 3, up: true, name: "lo".into() }));
        assert!(parse(&link[..20]).is_empty());
        assert_eq!(parse_link(&messages[0].body[..10]), None);
    }
}
