//! Runs containers as the OCI runtime specification 1.3 says.
//!
//! A container is compiled, then executed:
//!
//! ```text
//! config.json -> Spec -> (Spec, Host, options) -> Plan -> descriptors -> clone3 -> steps in the child -> execve
//!                parse   decide                   data    open          one call  system calls only
//! ```
//!
//! - [`spec`]: what the container shall be, parsed once, typed and validated.
//! - [`Host`]: the facts about the machine.
//! - [`plan`]: everything that is going to happen, decided without any I/O. Its `script.rs` is the file to read first.
//! - `launch` and `child`: the two sides of the clone.
//! - [`Containers`] and [`Container`]: the lifecycle.
//!
//! The features have a room each, with its part of the plan and the execution of its steps: [`namespace`], [`chroot`],
//! [`cgroup`], [`user_mapping`], [`seccomp`], [`process`], [`hook`], [`console`],
//! [`intel_rdt`]. [`sys`] holds all unsafe code.
//!
//! # Terms
//!
//! A *step* is one thing that a process does between its clone and its execve. A *plan* is the steps of all processes of
//! a container. *Init* is the container's first process; a *hop* is a short-lived process that some plans need to make it.
//! A *rendezvous* is a point at which a process waits for the runtime.

pub mod cgroup;
mod child;
pub mod chroot;
pub mod console;
mod container;
mod error;
mod features;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod hook;
mod host;
pub mod intel_rdt;
mod launch;
pub mod namespace;
pub mod plan;
pub mod process;
mod processes;
pub mod seccomp;
pub mod spec;
mod state;
pub mod sys;
pub mod trace;
pub mod user_mapping;

pub use container::{Console, Container, Containers, CreateOptions, Event, Exec, ExecOptions, State, plan_bundle};
pub use error::{Error, ErrorKind, Result};
pub use features::features;
pub use host::Host;
pub use state::{Status, rfc3339};
