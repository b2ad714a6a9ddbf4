//! Runs containers as the OCI runtime specification 1.3 says.

pub mod cgroup;
mod error;
mod features;
pub mod seccomp;
pub mod spec;
pub mod sys;

pub use error::{Error, ErrorKind, Result};
pub use features::features;
