//! The systemd driver: the container's cgroup is a transient unit, which systemd makes, limits and removes.
//!
//! ```text
//! Manager::probe -> plan -> start (with init's pid) | set | attach | stop
//!   facts           pure     effects
//! ```
//!
//! This file and its neighbours `properties` and `gvariant` are pure: names, slices and properties, tested by equality.
//! `bus` speaks to a bus, `manager` to systemd over it; nothing is connected to where another driver is used.
//!
//! **What is used for D-Bus, and why.** The format of the messages is `zbus`'s, the well-kept implementation of it
//! (zbus 6.2 without its features: types, encoding, validation, signatures). The socket is our own, 150 lines in `bus`:
//! a byte that does not come must not be waited for beyond a deadline, also while the connection is made. Measured with a
//! static program that starts a unit, built as Orlop is, over an empty one of 1217 KiB:
//!
//! | | adds | deadlines |
//! |---|---|---|
//! | zbus, format alone | 247 KiB, no thread | ours: every connect, read and write |
//! | zbus with its connection | 1028 KiB, an executor with its thread in a program that clones | calls, not the handshake |
//! | rustbus 0.19 | 142 KiB | calls, not the handshake, which spins for ever when the bus hangs up; its socket is not close-on-exec; it gives its own uid, which is another one in a user namespace; no release since 2023 |
//! | dbus 0.9 (libdbus, vendored) | 482 KiB of C | calls; the handshake has libdbus's own |
//!
//! Sources: systemd.resource-control(5), org.freedesktop.systemd1(5), the D-Bus specification; for names, conversions
//! and annotations runc, whose behaviour engines count on.

mod bus;
mod gvariant;
mod manager;
mod properties;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zbus::Variant;

#[cfg(any(test, fuzzing))]
pub(crate) use bus::any_reply;
pub(super) use manager::{attach, set, start, stop};
pub(super) use properties::{device_properties, properties};

use crate::{Error, Result};

/// Where an ordinary user's own systemd is reached. The library does not read the environment: who trusts his own says what is in
/// it. Nothing of it is looked at where the machine's systemd is the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserBus {
    /// `DBUS_SESSION_BUS_ADDRESS`: a D-Bus address.
    pub address: Option<String>,
    /// `XDG_RUNTIME_DIR`, which holds the sockets `bus` and `systemd/private`. `None`: /run/user/UID.
    pub runtime_directory: Option<PathBuf>,
}

/// A systemd that answers: the machine's, or that of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Where it is reached, in the order in which it is tried.
    pub sockets: Vec<Socket>,
    /// It is a user's own (rootless).
    pub user: bool,
    /// Its version: 252.
    pub version: u32,
    /// Its own root in each hierarchy: `/`, or `/user.slice/user-1000.slice/user@1000.service`.
    pub root: PathBuf,
}

/// A socket on which systemd can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Socket {
    /// A message bus, on a path.
    Bus(PathBuf),
    /// A message bus, in the abstract namespace of sockets, unix(7).
    Abstract(String),
    /// systemd itself.
    Private(PathBuf),
}

/// A unit as `state.json` remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `runc-ID.scope`.
    pub name: String,
    /// As [`Manager::sockets`]: a later command may have another environment.
    pub sockets: Vec<Socket>,
    /// As [`Manager::user`].
    pub user: bool,
    /// As [`Manager::version`].
    pub version: u32,
}

impl Unit {
    /// A slice: it is started without a process.
    fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }
}

/// A unit that shall be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransientUnit {
    /// Which, and whose.
    pub unit: Unit,
    /// What it shall be. The pid of the container's init, which a scope needs, is not among them: it is not known yet.
    pub properties: Vec<Property>,
}

/// A property of a unit, org.freedesktop.systemd1(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Variant<'static>,
}

fn property(name: &str, value: impl Into<Variant<'static>>) -> Property {
    Property { name: name.to_owned(), value: value.into() }
}

/// What decides beside `linux` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    /// Who starts the unit.
    pub manager: &'a Manager,
    /// `annotations` of the configuration.
    pub annotations: &'a BTreeMap<String, String>,
}

const SLICE: &str = ".slice";
const SCOPE: &str = ".scope";
const POINTER: &str = "/linux/cgroupsPath";
/// Annotations with this prefix are properties of the unit.
pub(crate) const ANNOTATION: &str = "org.systemd.property.";

/// A unit's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `runc-ID.scope`.
    pub(super) name: String,
    /// The slice around it.
    pub(super) slice: String,
    /// Its directory below the manager's root.
    pub(super) path: PathBuf,
}

/// The place that `linux.cgroupsPath` (`slice:prefix:name`) means. Where it is missing or a part of it is empty, what runc
/// takes: `:runc:ID`, system.slice or, for a user's manager, user.slice. A name that ends in `.slice` is a slice by itself,
/// every other one the scope `prefix-name.scope`.
pub(super) fn place(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Place> {
    let path = cgroups_path.filter(|path| !path.is_empty());
    let fields: Vec<_> = path.map_or_else(|| vec!["", "runc", id], |path| path.split(':').collect());
    let [slice, prefix, name] = fields[..] else {
        let reason = format!("{:?} is not of the form slice:prefix:name that systemd takes", path.unwrap_or_default());
        return Err(Error::refused(POINTER, reason));
    };
    let slice = match slice {
        "" if user => "user.slice",
        "" => "system.slice",
        slice => slice,
    };
    if name.ends_with(SLICE) {
        // Where a slice is, is told by its name.
        let path = expand_slice(name)?;
        expand_slice(slice)?;
        return Ok(Place { name: name.to_owned(), slice: slice.to_owned(), path });
    }
    let name = format!("{prefix}-{name}{SCOPE}");
    // unit_name_is_valid() of systemd.
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    if name.len() > 255 || !name.chars().all(valid) {
        return Err(Error::refused(POINTER, format!("{name:?} is not a name that systemd takes for a unit")));
    }
    let path = expand_slice(slice)?.join(escape(&name));
    Ok(Place { name, slice: slice.to_owned(), path })
}

/// Whether a `cgroupsPath` is meant for this driver.
pub(crate) fn is_meant_by(cgroups_path: &str) -> bool {
    !cgroups_path.contains('/') && cgroups_path.split(':').count() == 3
}

/// The directory of a slice: `a-b.slice` is below `a.slice`, systemd.slice(5).
fn expand_slice(slice: &str) -> Result<PathBuf> {
    let refused = || Error::refused(POINTER, format!("{slice:?} is not the name of a slice"));
    let stem = slice.strip_suffix(SLICE).ok_or_else(refused)?;
    if stem == "-" {
        return Ok(PathBuf::new());
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    if slice.len() > 255 || !stem.chars().all(valid) || stem.split('-').any(str::is_empty) {
        return Err(refused());
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.map(|end| escape(&format!("{}{SLICE}", &stem[..end]))).collect())
}

/// A unit's name as the name of a directory: systemd puts `_` before what could be taken for a control file
/// (cg_needs_escape() of systemd).
fn escape(name: &str) -> String {
    let controllers = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "cgroup"];
    let is_file = controllers.iter().any(|c| name.strip_prefix(c).is_some_and(|rest| rest.starts_with('.')));
    if is_file || name.starts_with(['_', '.']) { format!("_{name}") } else { name.to_owned() }
}

/// Everything about the unit that does not come from the limits: first what runc sets, then the annotations, which
/// may change it.
pub(super) fn unit_properties(
    place: &Place,
    v2: bool,
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<Property>> {
    let mut all = vec![property("Description", format!("Orlop container {}", place.name))];
    if place.name.ends_with(SLICE) {
        // A slice is below another one by its name; that one is pulled in.
        all.push(property("Wants", vec![place.slice.clone()]));
    } else {
        all.push(property("Slice", place.slice.clone()));
        // What is below the scope is the container's.
        all.push(property("Delegate", true));
    }
    // Otherwise systemd does not give the cgroup the controllers that engines read statistics from.
    for name in ["MemoryAccounting", "CPUAccounting", if v2 { "IOAccounting" } else { "BlockIOAccounting" }] {
        all.push(property(name, true));
    }
    all.push(property("TasksAccounting", true));
    // A container must not be stopped with the targets of a shutdown before its engine is.
    all.push(property("DefaultDependencies", false));
    for (key, text) in annotations {
        if let Some(name) = key.strip_prefix(ANNOTATION) {
            let changed = annotation(name, text).map_err(|reason| {
                Error::refused(format_args!("/annotations/{}", key.replace('~', "~0").replace('/', "~1")), reason)
            })?;
            all.retain(|property| property.name != changed.name);
            all.push(changed);
        }
    }
    Ok(all)
}

/// The property that an annotation sets. As in runc: letters only, the value a GVariant as text, and a time with the
/// ending of unit files (`TimeoutStopSec`) is given in seconds and becomes one in microseconds.
fn annotation(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(format!("{name:?} is not the name of a property"));
    }
    let value = gvariant::parse(text)?;
    let before = name.strip_suffix("Sec").and_then(|stem| stem.chars().last().map(|last| (stem, last)));
    let Some((stem, 'a'..='z')) = before else { return Ok(Property { name: name.to_owned(), value }) };
    const MILLION: u64 = 1_000_000;
    let whole = |seconds: Option<u64>| seconds.and_then(|seconds| seconds.checked_mul(MILLION));
    let microseconds = match &value {
        Variant::U8(n) => whole(Some(u64::from(*n))),
        Variant::I16(n) => whole(u64::try_from(*n).ok()),
        Variant::U16(n) => whole(Some(u64::from(*n))),
        Variant::I32(n) => whole(u64::try_from(*n).ok()),
        Variant::U32(n) => whole(Some(u64::from(*n))),
        Variant::I64(n) => whole(u64::try_from(*n).ok()),
        Variant::U64(n) => whole(Some(*n)),
        Variant::F64(n) if (0.0..1e12).contains(n) => Some((n * MILLION as f64) as u64),
        _ => None,
    };
    let microseconds = microseconds.ok_or_else(|| format!("{text:?} is not a number of seconds"))?;
    Ok(property(&format!("{stem}USec"), microseconds))
}

/// Where a manager's directory is, in one hierarchy.
pub(super) fn directory(mount: &Path, manager: &Manager, place: &Place) -> PathBuf {
    super::layout::below(mount, &manager.root).join(&place.path)
}

/// The part of a path that is below the unit's directory.
pub(super) fn below_unit<'p>(unit: &Unit, path: &'p Path) -> &'p Path {
    let directory = escape(&unit.name);
    let mut names = path.iter();
    while names.next().is_some_and(|name| name != directory.as_str()) {}
    names.as_path()
}

/// Any text as a bus's address, and as the value of a property: one that can be read is the same when it is shown and read again,
/// unless it has what is shown by Rust's escapes.
#[cfg(any(test, fuzzing))]
pub(crate) fn any_text(text: &str) {
    for socket in bus::sockets_of(text) {
        assert!(!matches!(socket, Socket::Private(_)), "{socket:?}");
    }
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
    if let Ok(value) = gvariant::parse(text)
        && plain
    {
        assert_eq!(gvariant::parse(&value.to_string()).as_ref(), Ok(&value), "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |path: Option<&str>, user, expect: Result<[&str; 3], &str>| {
            let found = place(path, "id", user).map(|p| [p.name, p.slice, p.path.to_str().unwrap().to_owned()]);
            assert_eq!(
                found.map_err(|e| e.to_string()),
                expect.map(|words| words.map(str::to_owned)).map_err(|e| format!("/linux/cgroupsPath: {e}")),
                "{path:?}"
            );
        };
        type Result<T, E> = std::result::Result<T, E>;
        check(None, false, Ok(["runc-id.scope", "system.slice", "system.slice/runc-id.scope"]));
        check(Some(""), false, Ok(["runc-id.scope", "system.slice", "system.slice/runc-id.scope"]));
        check(None, true, Ok(["runc-id.scope", "user.slice", "user.slice/runc-id.scope"]));
        check(Some(":p:n"), true, Ok(["p-n.scope", "user.slice", "user.slice/p-n.scope"]));
        check(
            Some("machine.slice:libpod:1"),
            false,
            Ok(["libpod-1.scope", "machine.slice", "machine.slice/libpod-1.scope"]),
        );
        check(
            Some("a-b-c.slice:p:n"),
            false,
            Ok(["p-n.scope", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"]),
        );
        check(Some("-.slice:p:n"), false, Ok(["p-n.scope", "-.slice", "p-n.scope"]));
        check(Some("::n"), false, Ok(["-n.scope", "system.slice", "system.slice/-n.scope"]));
        check(Some(":p:a-b.slice"), false, Ok(["a-b.slice", "system.slice", "a.slice/a-b.slice"]));
        // Names of directories that would look like control files.
        check(Some("memory.slice:_p:n"), false, Ok(["_p-n.scope", "memory.slice", "_memory.slice/__p-n.scope"]));
        check(
            Some("memory-x.slice:p:n"),
            false,
            Ok(["p-n.scope", "memory-x.slice", "_memory.slice/memory-x.slice/p-n.scope"]),
        );
        for path in ["a", "/a/b", "a:b", "a:b:c:d"] {
            check(Some(path), false, Err(&format!("{path:?} is not of the form slice:prefix:name that systemd takes")));
        }
        for slice in
            ["a", ".slice", "-a.slice", "a-.slice", "a--b.slice", "a/b.slice", "ä.slice", "a b.slice", "a@b.slice"]
        {
            check(Some(&format!("{slice}:p:n")), false, Err(&format!("{slice:?} is not the name of a slice")));
            if slice.ends_with(".slice") {
                check(Some(&format!("::{slice}")), false, Err(&format!("{slice:?} is not the name of a slice")));
            }
        }
        for name in ["a/b", "a+b", "ä", "a b", "a\0"] {
            let scope = format!("p-{name}.scope");
            check(
                Some(&format!(":p:{name}")),
                false,
                Err(&format!("{scope:?} is not a name that systemd takes for a unit")),
            );
        }
        assert!(place(Some(&format!(":p:{}", "n".repeat(250))), "id", false).is_err());
        let unit = Unit { name: "_p-n.scope".into(), sockets: vec![], user: true, version: 255 };
        for (path, expect) in [("/c/a.slice/__p-n.scope", ""), ("/c/a.slice/__p-n.scope/b/c", "b/c"), ("/c", "")] {
            assert_eq!(below_unit(&unit, Path::new(path)), Path::new(expect));
        }
        assert!(is_meant_by("a.slice:b:c") && !is_meant_by("/a:b:c") && !is_meant_by("a"));
    }

    #[test]
    fn properties_of_the_unit() {
        let check = |path, v2, annotations: &[(&str, &str)], expect: &[&str]| {
            let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let all = unit_properties(&place(Some(path), "id", false).unwrap(), v2, &annotations);
            let all = all.map(|all| all.iter().map(|p| format!("{}={}", p.name, p.value)).collect());
            assert_eq!(all.unwrap_or_else(|e| vec![format!("!{e}")]), expect);
        };
        let rest = |io| {
            ["MemoryAccounting=true", "CPUAccounting=true", io, "TasksAccounting=true", "DefaultDependencies=false"]
        };
        let scope = ["Description=\"Orlop container p-n.scope\"", "Slice=\"a.slice\"", "Delegate=true"];
        check("a.slice:p:n", true, &[], &[&scope[..], &rest("IOAccounting=true")].concat());
        check("a.slice:p:n", false, &[], &[&scope[..], &rest("BlockIOAccounting=true")].concat());
        let slice = ["Description=\"Orlop container n.slice\"", "Wants=[\"a.slice\"]"];
        check("a.slice:p:n.slice", true, &[], &[&slice[..], &rest("IOAccounting=true")].concat());
        let annotations = [
            ("org.systemd.property.DefaultDependencies", "true"),
            ("org.systemd.property.TimeoutStopSec", "2.5"),
            ("org.systemd.propertyless", "1"),
            ("other", "x"),
        ];
        let changed = ["DefaultDependencies=true", "TimeoutStopUSec=uint64 2500000"];
        check("a.slice:p:n", true, &annotations, &[&scope[..], &rest("IOAccounting=true")[..4], &changed].concat());
        let refused = [("org.systemd.property.a1b", "1")];
        check(
            "a.slice:p:n",
            true,
            &refused,
            &["!/annotations/org.systemd.property.a1b: \"a1b\" is not the name of a property"],
        );
    }

    #[test]
    fn annotations() {
        let check = |name, text, expect: &str| {
            let property = annotation(name, text).map(|p| format!("{}={}", p.name, p.value));
            assert_eq!(property.unwrap_or_else(|e| format!("!{e}")), expect, "{name}={text}");
        };
        check("CollectMode", "'inactive-or-failed'", "CollectMode=\"inactive-or-failed\"");
        check("TimeoutStopUSec", "uint64 123", "TimeoutStopUSec=uint64 123");
        check("TimeoutStopSec", "uint64 123", "TimeoutStopUSec=uint64 123000000");
        check("TimeoutStopSec", "123", "TimeoutStopUSec=uint64 123000000");
        check("TimeoutStopSec", "byte 3", "TimeoutStopUSec=uint64 3000000");
        check("CPUQuotaPerSec", "0.5", "CPUQuotaPerUSec=uint64 500000");
        // Not after a small letter: no ending of a time.
        check("Sec", "1", "Sec=1");
        check("XSec", "1", "XSec=1");
        check("TimeoutStopSec", "-1", "!\"-1\" is not a number of seconds");
        check("TimeoutStopSec", "'1'", "!\"'1'\" is not a number of seconds");
        check(
            "TimeoutStopSec",
            "uint64 18446744073709551615",
            "!\"uint64 18446744073709551615\" is not a number of seconds",
        );
        for name in ["", "ab", "a-b", "Täglich", "a1b"] {
            check(name, "1", &format!("!{name:?} is not the name of a property"));
        }
    }
}
