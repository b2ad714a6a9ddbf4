//! Runs containers as the OCI runtime specification 1.3 says.
//!
//! # A container's life
//!
//! ```no_run
//! use std::path::Path;
//! use runtime_core::{Bundle, Containers, CreateOptions, Stdio};
//!
//! # fn main() -> runtime_core::Result<()> {
//! // Where the state of containers is kept: what `orlop --root` names. Any program that opens it sees the same ones.
//! let containers = Containers::open(Path::new("/run/mine"))?;
//!
//! // A configuration: here what an engine or a person wrote into /srv/web/config.json.
//! let bundle = Bundle::load("/srv/web")?;
//!
//! // Created: namespaces, cgroup, mounts and devices are there, and the first process waits.
//! let mut options = CreateOptions::default();
//! options.stdio = Stdio::null();
//! let container = containers.create("web", &bundle, options)?;
//!
//! // Started: the program was executed, or the error says why not.
//! container.start()?;
//!
//! // Its end. The handle is a pidfd: an async runtime can poll it instead.
//! let status = container.init().expect("who makes a container has its handle").wait()?;
//! container.delete(false)?;
//! println!("{status}");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Containers`]: those below one state directory: create, get, list.
//! - [`Bundle`]: a configuration from a directory, from JSON, or (feature `oci-spec`) from that crate's types. [`spec`] is what is read from it,
//!   typed and validated.
//! - [`Container`]: start, exec, kill, pause, resume, update, stats, watch, delete, state.
//! - [`Process`]: the first process, or one that `exec` made, for the program whose child it is.
//! - [`CreateOptions`], [`ExecOptions`], [`Stdio`], [`Console`]: what a caller says beside the configuration.
//! - [`Error`]: what was tried, on what, and why it failed; [`Error::kind`] for programs.
//! - [`plan_bundle`]: everything that `create` would do, step by step, without doing it.
//!
//! # What it does to the program that uses it
//!
//! Every call may be made from any thread, from several at once, and beside threads that allocate and fork: between clone3(2) and
//! execve(2) a child takes no lock and allocates nothing. No helper program is needed, and the program is not executed again.
//!
//! The library neither prints nor logs nor reads the environment. It leaves the working directory, the umask, signal
//! handlers, namespaces and the subreaper attribute of the caller alone. For the time of a call, and for its thread alone,
//! signals are blocked while a process is cloned, and the pid namespace of *children* is the container's where it joins one. Containers
//! are children of the program: SIGCHLD comes for them as for others, and only [`Process::wait`] reaps them.
//!
//! What Orlop's own command does beyond (it keeps its binary out of a container's reach, CVE-2019-5736) a program has to do itself where
//! containers that it does not trust run as the user who may write the program's file: see the guide, *Security*.
//!
//! # How it works
//!
//! A container is compiled, then executed:
//!
//! ```text
//! config.json -> Spec -> (Spec, Host, options) -> Plan -> descriptors -> clone3 -> steps in the child -> execve
//!                parse   decide                   data    open          one call  system calls only
//! ```
//!
//! A *step* is one thing that a process does between its clone and its execve. A *plan* is the steps of all processes of
//! a container. *Init* is the container's first process; a *hop* is a short-lived process that some plans need to make it.
//! A *rendezvous* is a point at which a process waits for the runtime.
//!
//! `ARCHITECTURE.md` explains the rooms. They are public for Orlop's command, its benchmarks and tests, hidden here, and no part of
//! what a version promises.
#![deny(missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]

/// The guide's samples are compiled with the tests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/guide/src/first-container.md")]
    mod first_container {}
    #[doc = include_str!("../../docs/guide/src/processes.md")]
    mod processes {}
    #[doc = include_str!("../../docs/guide/src/threads.md")]
    mod threads {}
    #[doc = include_str!("../../docs/guide/src/plan.md")]
    mod plan {}
    #[doc = include_str!("../../docs/guide/src/errors.md")]
    mod errors {}
    #[doc = include_str!("../../docs/guide/src/cgroups.md")]
    mod cgroups {}
    #[doc = include_str!("../../docs/guide/src/rootless.md")]
    mod rootless {}
}

mod bundle;
mod child;
mod container;
mod error;
mod features;
mod files;
mod host;
mod launch;
mod processes;
pub mod spec;
mod state;

#[doc(hidden)]
#[allow(clippy::missing_errors_doc)]
pub mod cgroup;
#[doc(hidden)]
pub mod chroot;
#[doc(hidden)]
#[allow(clippy::missing_errors_doc)]
pub mod console;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod hook;
#[doc(hidden)]
pub mod intel_rdt;
#[doc(hidden)]
pub mod namespace;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod seccomp;
// The errors of a system call are those of its manual page.
#[doc(hidden)]
#[allow(clippy::missing_errors_doc)]
pub mod sys;
#[doc(hidden)]
pub mod trace;
#[doc(hidden)]
pub mod user_mapping;

/// What a container uses, as runc tells it in `events`.
pub mod stats {
    pub use crate::cgroup::{
        BlkioEntry, BlkioStats, CpuStats, CpuUsage, CpusetStats, Empty, HugetlbStats, MemoryEntry, MemoryStats,
        PidsStats, Pressure, PressureLine, Stats, Throttling,
    };
}

pub use bundle::Bundle;
pub use cgroup::systemd::UserBus;
pub use container::{
    Console, Container, Containers, CreateOptions, Event, ExecOptions, Process, State, Stdio, Stream, plan_bundle,
};
pub use error::{Error, ErrorKind, Result};
pub use features::features;
#[doc(hidden)]
pub use host::Host;
pub use state::Status;
#[doc(hidden)]
pub use state::rfc3339;
pub use sys::Errno;
