//! What engines look for besides containers: a name, an unfinished flag, a descriptor.

use std::fs;
use std::os::fd::AsRawFd;

use super::case;
use crate::ctx::{contains, ensure, eq, skip};
use crate::frame::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("version/named-runc", "contract 5.1.16, 5.7: a copy that is called runc says so", |x| {
            if !["runc", "orlop"].contains(&x.job.version.split(' ').next().unwrap_or_default()) {
                return skip("a runtime that has one name");
            }
            let dir = x.fresh("bin");
            fs::create_dir(&dir)?;
            let copy = dir.join("runc");
            fs::copy(&x.job.runtime, &copy)?;
            let out = x.program(&copy, ["--version"]).go()?.ok()?;
            ensure(out.stdout.starts_with("runc version "), out.stdout)
        }),
        case("restore/lsm-mount-context", "contract 5.2 podman: a flag without its value is told as such", |x| {
            let out = x.rt(["restore", "--lsm-mount-context"])?.errs()?;
            let text = out.stdout + &out.stderr;
            contains("output", &text, &["flag needs an argument"])
                .or_else(|_| contains("output", &text, &["requires an argument"]))
        }),
        case("pidfd-socket/create", "contract 5.1.14: one message, a name, a pidfd of init", |x| {
            let socket = x.console()?;
            let b = x.bundle(|_| ())?;
            let pid_file = b.path("pid");
            let mut out = x
                .cmd(["create", "--bundle", b.dir(), "--pid-file", &pid_file, "--pidfd-socket", &socket.path, &b.id])
                .spawn()?;
            out.started()?;
            let got = socket.accept()?;
            eq("descriptors", got.fds, 1)?;
            eq("name", got.name.as_str(), "standard")?;
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", got.master.as_raw_fd()))?;
            contains("the descriptor", &info, &[&format!("Pid:\t{}\n", fs::read_to_string(pid_file)?)])
        }),
    ]
}
