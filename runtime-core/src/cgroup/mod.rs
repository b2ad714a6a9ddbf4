//! The cgroup of a container.
