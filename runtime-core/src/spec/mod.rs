//! What a container shall be: `config.json`, parsed once, typed and validated.
//!
//! JSON ends here. After this room nobody sees an option string, an `Option<bool>` or a string that might hold a NUL
//! byte: [`Spec`] is what the rest of the library decides by. Every refusal names the JSON pointer of the value and
//! the reason (`/mounts/3/options/1: ...`). A field that Orlop does not act on is refused, unless nobody set it; a field
//! that the specification does not know is ignored (`config.md`, *Extensibility*), and so are the sections of other
//! platforms.
//!
//! Source: the OCI runtime specification 1.3, `config.md` and `config-linux.md`. Where runc is stricter or laxer than
//! the text, runc is followed and the comment says so.
//!
//! The document is read directly (`json`), in one pass over the text and one over the values. The `oci-spec` crate's
//! model is the tests' oracle instead of a layer in between: it rejects valid documents (two scheduler flags, an unknown
//! capability, an empty affinity), loses the difference of absent and 0, and can't name the place of a wrong value.

mod example;
mod json;
mod linux;
mod mount;
mod process;
mod resources;
mod seccomp;
#[cfg(test)]
mod tests;
mod types;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use example::{Ids, example};
pub(crate) use linux::{MEMORY_FLAGS, MEMORY_MODES, NAMESPACES};
pub(crate) use mount::options as mount_options;
pub(crate) use process::CAPABILITIES;
pub(crate) use seccomp::{
    actions as seccomp_actions, architectures as seccomp_architectures, flags as seccomp_flags,
    operators as seccomp_operators,
};
pub use types::*;

use crate::{Error, Result};
use json::{Json, Node, broken};

/// The version of the specification that Orlop implements.
pub const OCI_VERSION: &str = "1.3.0";

impl Spec {
    /// Reads a configuration. Relative paths in it are taken from `bundle`, which is absolute. The second value are
    /// warnings: what was read although it is not as it should be, one line each, beginning with a JSON pointer.
    ///
    /// # Errors
    /// The text is not JSON (with line and column), or holds a value that is refused (with its pointer).
    pub fn from_slice(json: &[u8], bundle: &Path) -> Result<(Spec, Vec<String>)> {
        Spec::parse(json, bundle, "config.json")
    }

    /// Reads a configuration that is called `what`.
    pub(crate) fn parse(text: &[u8], bundle: &Path, what: impl std::fmt::Display) -> Result<(Spec, Vec<String>)> {
        let json = Json::parse(text, what)?;
        let mut warnings = Vec::new();
        Ok((spec(Node::root(&json), bundle, &mut warnings)?, warnings))
    }
}

impl Process {
    /// Reads a process on its own: the document of `exec --process`. The second value are warnings, see
    /// [`Spec::from_slice`].
    ///
    /// # Errors
    /// As [`Spec::from_slice`].
    pub fn from_slice(json: &[u8]) -> Result<(Process, Vec<String>)> {
        let json = Json::parse(json, "process document")?;
        let mut warnings = Vec::new();
        Ok((process::process(Node::root(&json), &mut warnings)?, warnings))
    }

    /// Reads only `process` of a configuration that was accepted before: what `exec` starts from. The rest is skipped.
    ///
    /// # Errors
    /// As [`Spec::from_slice`], for this part alone.
    pub fn of_config(json: &[u8]) -> Result<Option<Process>> {
        #[derive(Deserialize)]
        struct Config<'a> {
            #[serde(borrow)]
            process: Option<Json<'a>>,
        }
        // A derived reader takes an array for the fields in their order.
        if json.trim_ascii_start().starts_with(b"[") {
            return Err(Error::refused("/", "must be an object, not an array"));
        }
        let config: Config<'_> = serde_json::from_slice(json).map_err(|e| broken("config.json", &e))?;
        let Some(json) = config.process else { return Ok(None) };
        let document = Json::Object(vec![("process".into(), json)]);
        process::process(Node::root(&document).object()?.field("process"), &mut Vec::new()).map(Some)
    }
}

impl Resources {
    /// Reads resources on their own: the document of `update --resources`.
    ///
    /// # Errors
    /// As [`Spec::from_slice`].
    pub fn from_slice(json: &[u8]) -> Result<Resources> {
        let json = Json::parse(json, "resources")?;
        resources::resources(Node::root(&json))
    }
}

/// Where the file of a sysctl is below `/proc/sys`: `net.ipv4.ip_forward` is `net/ipv4/ip_forward`. Of dots and slashes
/// the one that comes first parts the name, the other one is part of it, as in sysctl(8) (`net/ipv4/conf/eth0.1/mtu`).
#[must_use]
pub fn sysctl_path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key.as_bytes()[first] == b'.' => linux::swap_separators(key),
        _ => key.to_owned(),
    }
}

fn spec(at: Node<'_>, bundle: &Path, warnings: &mut Vec<String>) -> Result<Spec> {
    let o = at.object()?;
    let oci_version = version(o.field("ociVersion"))?;
    let process_at = o.field("process");
    let process = if process_at.is_null() { None } else { Some(process::process(process_at, warnings)?) };
    let mut linux = linux::linux(o.field("linux"), bundle)?;
    // Of a document that is older than that, 0 is none: podman 4 writes it where nothing is to be limited.
    if minor(&oci_version) < ZERO_IS_A_LIMIT && linux.resources.pids_limit == Some(0) {
        linux.resources.pids_limit = None;
    }

    let name = |field: &'static str| {
        /// __NEW_UTS_LEN, sethostname(2).
        const LENGTH_MAX: usize = 64;
        let at = o.field(field);
        let Some(name) = at.text()? else { return Ok(None) };
        if name.len() > LENGTH_MAX {
            return Err(at.refuse(format_args!("{} bytes long, the kernel takes {LENGTH_MAX}", name.len())));
        }
        // runc's text. The host's own name must not change.
        if linux.namespaces.uts == Namespace::Host {
            return Err(at.refuse(format_args!("unable to set {field} without a private UTS namespace")));
        }
        at.cstring()
    };
    Ok(Spec {
        oci_version,
        root: root(o.field("root"), bundle)?,
        process,
        hostname: name("hostname")?,
        domainname: name("domainname")?,
        mounts: o.field("mounts").list(|at| mount::mount(at, bundle, &linux, warnings))?,
        hooks: hooks(o.field("hooks"))?,
        annotations: annotations(o.field("annotations"))?,
        linux,
    })
}

/// `config.md`: compatible is what has the same major version. A later minor one adds fields, which are then unknown
/// ones.
fn version(at: Node<'_>) -> Result<String> {
    let version = at.required(at.text())?;
    match major(version) {
        Some(1) => Ok(version.to_owned()),
        Some(_) => Err(at.refuse(format_args!("version {version:?} is not supported, only 1.x is"))),
        None => Err(at.refuse(format_args!("{version:?} is not a version as SemVer 2.0.0 has it"))),
    }
}

/// The minor version of the specification since which a limit of 0 processes is one.
const ZERO_IS_A_LIMIT: u64 = 3;

/// The minor number of a version that [`version`] has accepted.
fn minor(version: &str) -> u64 {
    version.split('.').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The major number of a SemVer 2.0.0 version, or `None`.
fn major(version: &str) -> Option<u64> {
    let (version, build) = version.split_once('+').map_or((version, None), |(v, b)| (v, Some(b)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(v, p)| (v, Some(p)));
    let number = |text: &str| match text {
        "0" => Some(0),
        _ if text.starts_with(['0', '+']) => None,
        _ => text.parse::<u64>().ok(),
    };
    let identifiers = |text: &str, zeros: bool| {
        text.split('.').all(|id| {
            let digits = id.bytes().all(|b| b.is_ascii_digit());
            !id.is_empty()
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && (zeros || !digits || id == "0" || !id.starts_with('0'))
        })
    };
    let mut numbers = core.split('.').map(number);
    let (major, _minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let good = numbers.next().is_none()
        && pre.is_none_or(|pre| identifiers(pre, false))
        && build.is_none_or(|build| identifiers(build, true));
    good.then_some(major)
}

fn root(at: Node<'_>, bundle: &Path) -> Result<Root> {
    if at.is_null() {
        return Err(at.missing());
    }
    let o = at.object()?;
    let path = o.field("path");
    let relative = PathBuf::from(path.required(path.text())?);
    Ok(Root { path: bundle.join(relative), readonly: o.field("readonly").flag()? })
}

/// The names of `hooks`, in the order of a container's life.
pub(crate) const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn hooks(at: Node<'_>) -> Result<Hooks> {
    let o = at.object()?;
    let [prestart, create_runtime, create_container, start_container, poststart, poststop] = HOOKS;
    Ok(Hooks {
        prestart: o.field(prestart).list(hook)?,
        create_runtime: o.field(create_runtime).list(hook)?,
        create_container: o.field(create_container).list(hook)?,
        start_container: o.field(start_container).list(hook)?,
        poststart: o.field(poststart).list(hook)?,
        poststop: o.field(poststop).list(hook)?,
    })
}

fn hook(at: Node<'_>) -> Result<Hook> {
    let o = at.object()?;
    let path_at = o.field("path");
    let path = path_at.to_cstring(path_at.required(path_at.absolute())?)?;
    let mut args = o.field("args").strings()?;
    if args.is_empty() {
        args.push(path.clone());
    }
    Ok(Hook { path, args, env: o.field("env").strings()?, timeout: o.field("timeout").int_in(1, u32::MAX)? })
}

fn annotations(at: Node<'_>) -> Result<std::collections::BTreeMap<String, String>> {
    let all = at.map(|key, at| Ok((key.to_owned(), at.required(at.str())?.to_owned())))?;
    Ok(all.into_iter().collect())
}
