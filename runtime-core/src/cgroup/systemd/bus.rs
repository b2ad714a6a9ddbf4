//! A connection to a message bus, or to systemd itself: the socket, with a deadline for everything.
//!
//! The format of messages and values is zbus's. A conversation has one deadline; when it comes, whatever was waited for, the
//! error says so. Nothing is received unless it was asked for: replies, and the signals of a match rule.
//!
//! Source: the D-Bus specification, *Authentication Protocol*, *Message Protocol*, *Message Bus Messages*.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, Signature, Type, Variant};

use super::Socket;
use crate::sys::Errno;
use crate::{Error, ErrorKind, Result};

/// The longest message that is taken: what systemd tells of a unit is some kilobytes.
const LONGEST: usize = 16 << 20;

/// Where a call goes, and what it calls.
#[derive(Clone, Copy)]
pub(super) struct Method {
    /// The name on the bus; systemd on its own socket has none.
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
    pub(super) member: &'static str,
}

/// What a call can end in, beside its reply.
pub(super) enum Refusal {
    /// An error reply: its name (`org.freedesktop.systemd1.UnitExists`) and its text.
    Answer { name: String, text: String },
    /// No reply.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Failed(error)
    }
}

impl Refusal {
    /// As an error; `what` was being done.
    pub(super) fn error(self, what: &str) -> Error {
        match self {
            Refusal::Answer { name, text } => Error::new(ErrorKind::System, format!("{what}: {text} ({name})")),
            Refusal::Failed(error) => error.context(what),
        }
    }
}

/// A received message, as far as it matters.
pub(super) struct Message {
    pub(super) kind: u8,
    reply_to: Option<u32>,
    pub(super) sender: Option<String>,
    pub(super) member: Option<String>,
    error: Option<String>,
    body: Data<'static, 'static>,
}

impl Message {
    /// What the message says.
    pub(super) fn body<'d, T: Deserialize<'d> + Type>(&'d self) -> Result<T> {
        self.body.deserialize().map(|(body, _)| body).map_err(|e| unreadable(&e))
    }
}

/// Type of a message: a call, its reply, an error in its place, a signal.
const CALL: u8 = 1;
const REPLY: u8 = 2;
const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// Byte order, type, flags, version, length of the body, serial number, fields.
type Header<V> = (u8, u8, u8, u8, u32, u32, Vec<(u8, V)>);

/// The value of a field that we write.
enum Field<'a> {
    Value(Variant<'a>),
    /// The types of a body. A [`Signature`] of several types is a structure of them, and would be written in parentheses.
    Types(Signature),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Value(value) => value.serialize(serializer),
            Field::Types(types) => {
                // A variant as zbus serializes one: its type, its value.
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", &types.to_string_no_parens())?;
                variant.end()
            }
        }
    }
}

const BUS: Method = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
};

/// A conversation.
pub(super) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    patience: Duration,
    /// What was read and belongs to the next message.
    ahead: Vec<u8>,
    serial: u32,
    /// Signals that came while something else was waited for.
    signals: Vec<Message>,
    /// systemd itself: nobody in between to whom names mean something.
    pub(super) private: bool,
    name: String,
}

impl Bus {
    /// Connects, and says hello. Everything from here to the end of the conversation takes at most `patience`.
    pub(super) fn connect(to: &Socket, patience: Duration) -> Result<Bus> {
        let deadline = Instant::now() + patience;
        let (address, name) = match to {
            Socket::Bus(path) | Socket::Private(path) => (UnixAddr::new(path.as_path()), path.display().to_string()),
            Socket::Abstract(name) => (UnixAddr::new_abstract(name.as_bytes()), format!("@{name}")),
        };
        let failed = |e: nix::Error| Error::system(format!("connect to {name}"), Errno(e as i32));
        let fd: OwnedFd =
            socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
        // connect(2) waits where the other side's queue is full; this is its deadline as well, unix(7).
        setsockopt(&fd, sockopt::SendTimeout, &time(patience)).map_err(failed)?;
        match connect(fd.as_raw_fd(), &address.map_err(failed)?) {
            Err(nix::Error::EAGAIN) => return Err(mute(&name, patience)),
            result => result.map_err(failed)?,
        }
        let mut bus = Bus {
            stream: UnixStream::from(fd),
            deadline,
            patience,
            ahead: Vec::new(),
            serial: 0,
            signals: Vec::new(),
            private: matches!(to, Socket::Private(_)),
            name,
        };
        bus.authenticate()?;
        if !bus.private {
            bus.call(Method { member: "Hello", ..BUS }, &()).map_err(|refusal| refusal.error("say hello"))?;
        }
        Ok(bus)
    }

    /// As who the kernel says that we are: no uid is named, as inside a user namespace we know another one than the bus.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let end = loop {
                match self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                    Some(end) => break end,
                    None if self.ahead.len() > 4096 => return Err(unreadable(&"an endless line")),
                    None => self.receive()?,
                }
            };
            let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
            match &line[..end] {
                // Asks for an identity; the answer, none, is on its way.
                b"DATA" => {}
                line if line.starts_with(b"OK") => return Ok(()),
                line => {
                    let text = String::from_utf8_lossy(line);
                    return Err(Error::new(ErrorKind::System, format!("{} refuses us: {text}", self.name)));
                }
            }
        }
    }

    /// Who has a name of the bus now. `None`: nobody.
    pub(super) fn owner(&mut self, name: &str) -> Result<Option<String>> {
        match self.call(Method { member: "GetNameOwner", ..BUS }, &(name,)) {
            Ok(reply) => Ok(Some(reply.body::<(String,)>()?.0)),
            Err(Refusal::Answer { name, .. }) if name.ends_with(".NameHasNoOwner") => Ok(None),
            Err(refusal) => Err(refusal.error(&format!("look for {name}"))),
        }
    }

    /// From now on the signals of this rule are received.
    pub(super) fn listen(&mut self, rule: &str) -> Result<()> {
        let added = self.call(Method { member: "AddMatch", ..BUS }, &(rule,));
        added.map(drop).map_err(|refusal| refusal.error("ask for signals"))
    }

    /// Calls, and waits for the reply.
    pub(super) fn call(&mut self, method: Method, body: &(impl Serialize + Type)) -> Result<Message, Refusal> {
        self.serial += 1;
        let message = encode(method, self.private, self.serial, body)?;
        self.send(&message)?;
        loop {
            let message = self.message()?;
            match message.kind {
                SIGNAL => self.signals.push(message),
                REPLY if message.reply_to == Some(self.serial) => return Ok(message),
                ERROR if message.reply_to == Some(self.serial) => {
                    // The text is the first value, if there is one.
                    let text =
                        message.body::<(String,)>().map_or_else(|_| "no reason is given".to_owned(), |(text,)| text);
                    return Err(Refusal::Answer { name: message.error.unwrap_or_default(), text });
                }
                _ => {}
            }
        }
    }

    /// The next signal.
    pub(super) fn signal(&mut self) -> Result<Message> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.message()?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn message(&mut self) -> Result<Message> {
        loop {
            if let Some(length) = whole_length(&self.ahead)? {
                while self.ahead.len() < length {
                    self.receive()?;
                }
                let rest = self.ahead.split_off(length);
                return decode(std::mem::replace(&mut self.ahead, rest));
            }
            self.receive()?;
        }
    }

    fn left(&self) -> Result<Duration> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(mute(&self.name, self.patience)),
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let left = self.left()?;
            setsockopt(&self.stream, sockopt::SendTimeout, &time(left))
                .map_err(|e| self.failed("write to", Errno(e as i32)))?;
            match send(self.stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                // At the deadline `left` says so.
                Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                Err(errno) => return Err(self.failed("write to", Errno(errno as i32))),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let left = self.left()?;
            let failed = |e: std::io::Error| self.failed("read from", e.into());
            self.stream.set_read_timeout(Some(left)).map_err(failed)?;
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(self.failed("read from", Errno(libc::ECONNRESET))),
                Ok(count) => {
                    self.ahead.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    fn failed(&self, operation: &str, errno: Errno) -> Error {
        if matches!(errno, Errno(libc::ECONNRESET | libc::EPIPE)) {
            return Error::new(ErrorKind::System, format!("{} hung up", self.name));
        }
        Error::system(format!("{operation} {}", self.name), errno)
    }
}

fn time(duration: Duration) -> TimeVal {
    // Zero would be no deadline.
    let duration = duration.max(Duration::from_micros(1));
    TimeVal::new(duration.as_secs() as i64, i64::from(duration.subsec_micros()))
}

fn mute(name: &str, patience: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer on {name} within {} s", patience.as_secs()))
}

fn unreadable(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::System, format!("a message that can't be read: {why}"))
}

/// A call as bytes.
fn encode(method: Method, private: bool, serial: u32, body: &(impl Serialize + Type)) -> Result<Vec<u8>> {
    let failed = |e: zbus::Error| Error::new(ErrorKind::System, format!("encode a call of {}: {e}", method.member));
    let context = Context::new(Endian::Little, 0);
    let signature = body_signature(body);
    let body = to_bytes(context, body).map_err(failed)?;
    let path = ObjectPath::try_from(method.path).map_err(failed)?;
    let text = |text| Field::Value(Variant::from(text));
    let mut fields = vec![
        (PATH, Field::Value(Variant::from(path))),
        (INTERFACE, text(method.interface)),
        (MEMBER, text(method.member)),
    ];
    if !private {
        fields.push((DESTINATION, text(method.destination)));
    }
    let mut content: &[u8] = &[];
    if signature != Signature::Unit {
        content = body.bytes();
        fields.push((SIGNATURE, Field::Types(signature)));
    }
    let length = u32::try_from(content.len()).map_err(|_| unreadable(&"too long"))?;
    let header: Header<Field<'_>> = (b'l', CALL, 0, 1, length, serial, fields);
    let mut bytes = to_bytes(context, &header).map_err(failed)?.bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(content);
    Ok(bytes)
}

fn body_signature<T: Type>(_: &T) -> Signature {
    T::SIGNATURE.clone()
}

/// How long the message is that begins here. `None`: too little of it is there to tell.
fn whole_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(fixed) = bytes.get(..16) else { return Ok(None) };
    let number = |at: usize| {
        let word = fixed.get(at..at + 4).and_then(|word| word.try_into().ok()).unwrap_or_default();
        (if fixed[0] == b'B' { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }) as usize
    };
    if !matches!(fixed[0], b'l' | b'B') || fixed[3] != 1 {
        return Err(unreadable(&"not of version 1 of the protocol"));
    }
    // Two lengths of 32 bits fit, also together.
    let length = (16 + number(12)).next_multiple_of(8) + number(4);
    if length > LONGEST { Err(unreadable(&format_args!("{length} bytes long"))) } else { Ok(Some(length)) }
}

fn decode(bytes: Vec<u8>) -> Result<Message> {
    let endian = if bytes.first() == Some(&b'B') { Endian::Big } else { Endian::Little };
    let data = Data::new(bytes, Context::new(endian, 0));
    let (header, length): (Header<Variant<'_>>, usize) = data.deserialize().map_err(|e| unreadable(&e))?;
    let mut message = Message {
        kind: header.1,
        reply_to: None,
        sender: None,
        member: None,
        error: None,
        body: data.slice(length.next_multiple_of(8).min(data.bytes().len())..),
    };
    for (code, value) in header.6 {
        let text = || if let Variant::Str(text) = &value { Some(text.as_str().to_owned()) } else { None };
        match code {
            REPLY_SERIAL => message.reply_to = if let Variant::U32(serial) = value { Some(serial) } else { None },
            SENDER => message.sender = text(),
            MEMBER => message.member = text(),
            ERROR_NAME => message.error = text(),
            _ => {}
        }
    }
    Ok(message)
}

/// The sockets of a bus address, D-Bus specification, *Server Addresses*: `unix:path=/run/user/1000/bus,guid=...;...`. What
/// is not a UNIX socket is left out.
pub(super) fn sockets_of(address: &str) -> Vec<Socket> {
    let socket = |address: &str| {
        let keys = address.strip_prefix("unix:")?;
        keys.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => unescape(path).map(|path| Socket::Bus(Path::new(&path).to_owned())),
            ("abstract", name) => unescape(name).map(Socket::Abstract),
            _ => None,
        })
    };
    address.split(';').filter_map(socket).collect()
}

/// `%2F` is `/`.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0'))
}

/// Any bytes as what a bus sends: whole messages, whose bodies are what a call reads, or refused on one line.
#[cfg(any(test, fuzzing))]
pub(crate) fn any_reply(mut bytes: &[u8]) {
    let told = |error: Error| assert!(!error.to_string().contains(char::is_control), "{:?}", error.to_string());
    loop {
        let length = match whole_length(bytes) {
            Ok(Some(length)) => length,
            Ok(None) => return,
            Err(error) => return told(error),
        };
        assert!((16..=LONGEST).contains(&length), "{length}");
        let Some((message, rest)) = bytes.split_at_checked(length) else { return };
        match decode(message.to_vec()) {
            Ok(message) => {
                let _ = message.body::<(String,)>().map_err(told);
                let _ = message.body::<(Variant<'_>,)>().map(|(value,)| value.to_string()).map_err(told);
                let _ = message.body::<(ObjectPath<'_>,)>().map_err(told);
                let _ = message.body::<(u32, ObjectPath<'_>, String, String)>().map_err(told);
            }
            Err(error) => told(error),
        }
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    #[test]
    fn addresses_are_sockets() {
        let check = |address: &str, expect: &[Socket]| assert_eq!(sockets_of(address), expect, "{address}");
        check("unix:path=/run/user/1000/bus", &[Socket::Bus("/run/user/1000/bus".into())]);
        check("unix:guid=00,path=/a%20b", &[Socket::Bus("/a b".into())]);
        check(
            "unix:abstract=/tmp/x,guid=1;tcp:host=h;unix:path=/c",
            &[Socket::Abstract("/tmp/x".into()), Socket::Bus("/c".into())],
        );
        check("", &[]);
        check("unix:path=/a%2", &[]);
        check("unix:path=", &[]);
        check("autolaunch:", &[]);
    }

    /// What a call is on the wire, byte for byte.
    #[test]
    fn calls_are_encoded() {
        let method = Method { destination: "d.e", path: "/p", interface: "i.f", member: "M" };
        let field = |code: u8, kind: &str, value: &[u8]| [&[code, 1, kind.as_bytes()[0], 0], value].concat();
        let text = |text: &str| [&[text.len() as u8, 0, 0, 0], text.as_bytes(), &[0]].concat();
        let pad = |mut bytes: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let fields = [
            pad(field(1, "o", &text("/p"))),
            pad(field(2, "s", &text("i.f"))),
            pad(field(3, "s", &text("M"))),
            pad(field(6, "s", &text("d.e"))),
            field(8, "g", b"\x02su\0"),
        ];
        let fields = fields.concat();
        let header = [&[b'l', 1, 0, 1, 12, 0, 0, 0, 7, 0, 0, 0, fields.len() as u8, 0, 0, 0][..], &fields].concat();
        let expect = [pad(header), b"\x02\0\0\0ab\0\0\x05\0\0\0".to_vec()].concat();
        let encoded = encode(method, false, 7, &("ab", 5u32)).unwrap_or_default();
        assert_eq!(encoded, expect);
        assert_eq!(whole_length(&encoded).ok().flatten(), Some(encoded.len()));
        let message = decode(encoded).unwrap();
        assert_eq!((message.kind, message.member.as_deref()), (CALL, Some("M")));
        assert_eq!(message.body::<(String, u32)>().unwrap(), ("ab".to_owned(), 5));

        let bare = encode(method, true, 1, &()).unwrap_or_default();
        assert_eq!(whole_length(&bare).ok().flatten(), Some(bare.len()));
        assert!(!bare.windows(3).any(|bytes| bytes == b"d.e"));
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [&b"x\x02\0\x01"[..], b"l\x02\0\x02", b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff"] {
            let mut bytes = bytes.to_vec();
            bytes.resize(16, 0);
            assert!(whole_length(&bytes).is_err(), "{bytes:?}");
        }
        assert!(decode(vec![b'l'; 40]).is_err());
    }

    /// A bus that does this or that, and what is said of it.
    #[test]
    fn a_bus_that_does_not_answer_is_left() {
        let path = std::env::temp_dir().join(format!("orlop-bus-{}", std::process::id()));
        let check = |bus: fn(UnixStream), expect: &str| {
            let listener = UnixListener::bind(&path).unwrap();
            let thread = std::thread::spawn(move || bus(listener.accept().unwrap().0));
            let start = Instant::now();
            let error = Bus::connect(&Socket::Bus(path.clone()), Duration::from_millis(300)).err().unwrap().to_string();
            assert_eq!(error.replace(path.to_str().unwrap(), "BUS"), expect);
            assert!(start.elapsed() < Duration::from_secs(5));
            std::fs::remove_file(&path).unwrap();
            thread.join().unwrap();
        };
        let drain = |mut stream: UnixStream| {
            let _ = stream.read_to_end(&mut Vec::new());
        };
        check(drain, "no answer on BUS within 0 s");
        check(drop, "BUS hung up");
        check(|mut s| s.write_all(b"REJECTED EXTERNAL\r\n").unwrap(), "BUS refuses us: REJECTED EXTERNAL");
        check(
            |mut s| {
                s.write_all(b"DATA\r\nOK 00\r\n").unwrap();
                let _ = s.read_to_end(&mut Vec::new());
            },
            "say hello: no answer on BUS within 0 s",
        );
        check(
            |mut s| {
                s.write_all(b"OK 00\r\nHTTP/1.1 400 Bad Request\r\n").unwrap();
                let _ = s.read_to_end(&mut Vec::new());
            },
            "say hello: a message that can't be read: not of version 1 of the protocol",
        );
        let error = Bus::connect(&Socket::Bus(path.clone()), Duration::from_secs(1)).err().unwrap();
        assert_eq!(error.errno(), Some(Errno(libc::ENOENT)));
    }
}
