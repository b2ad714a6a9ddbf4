//! A seccomp profile becomes a BPF program.
