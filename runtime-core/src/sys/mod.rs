//! The only unsafe code: one system call a function, no policy.
//!
//! Every function here may be called after clone3(2) in a copy of a threaded program: none allocates, takes a lock or
//! reads the environment, and none goes through a libc wrapper that does (libc's set*id broadcast to all threads).
#![allow(unsafe_code)]

mod errno;

pub use errno::{Errno, Result};
