//! What the benchmarks share: a bundle like an engine's, the middle of a list of figures.

pub mod chart;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What dockerd gave its runtime for `docker run`.
pub const CONFIG: &str = include_str!("../../runtime-core/tests/fixtures/docker-default.json");

/// The programs of the containers.
const BUSYBOX: &str = "/bin/busybox";

/// A directory of its own that is removed in the end.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// On a tmpfs, where engines too keep the state of containers.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(name: &str) -> io::Result<Self> {
        let path = Path::new("/dev/shm").join(format!("orlop-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }

    /// A bundle with dockerd's configuration, which runs `args` of a static busybox. What needs an engine is left out: its
    /// hooks, its files, its cgroup; and limits, for which a v2 hierarchy may lack the controllers.
    ///
    /// # Errors
    /// When it can't be written, or when there is no /bin/busybox.
    pub fn bundle(&self, name: &str, args: &[&str]) -> io::Result<PathBuf> {
        let bundle = self.0.join(name);
        let rootfs = bundle.join("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(directory))?;
        }
        fs::copy(BUSYBOX, rootfs.join("bin/busybox"))?;
        for program in ["true", "sleep"] {
            symlink("busybox", rootfs.join("bin").join(program))?;
        }
        fs::write(bundle.join("config.json"), configuration(args).to_string())?;
        Ok(bundle)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn configuration(args: &[&str]) -> Value {
    let mut config: Value = serde_json::from_str(CONFIG).unwrap_or_default();
    config["process"]["args"] = json!(args);
    config["process"]["rlimits"] = json!([]);
    config["root"] = json!({"path": "rootfs"});
    config["hooks"] = json!({});
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "bind");
    }
    let devices = config["linux"]["resources"]["devices"].take();
    config["linux"]["resources"] = json!({"devices": devices});
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("cgroupsPath");
    }
    config
}

/// The program that a test is about: what `ORLOP` names, or the one that was built beside the test. `None`, with the reason
/// on standard error: this machine can't run the test, which in CI is a failure.
#[must_use]
pub fn orlop(test: &str) -> Option<PathBuf> {
    let beside = || std::env::current_exe().ok()?.ancestors().nth(2).map(|directory| directory.join("orlop"));
    let orlop = std::env::var_os("ORLOP").map(PathBuf::from).or_else(beside).filter(|path| path.exists());
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let strace = std::process::Command::new("strace").arg("-V").output();
    let reason = match &orlop {
        None => "orlop is not built",
        Some(_) if !is_root => "needs root",
        Some(_) if !Path::new(BUSYBOX).exists() => "needs /bin/busybox",
        Some(_) if strace.is_err() => "needs strace",
        Some(_) => return orlop,
    };
    assert!(std::env::var_os("CI").is_none(), "can't be skipped in CI: {reason}");
    eprintln!("SKIPPED {test}: {reason}");
    None
}

/// A life with every command, one after the other: `quick` and `slow` are bundles whose programs end at once and never.
pub fn life<'a>(quick: &'a str, slow: &'a str, id: &'a str) -> [Vec<&'a str>; 7] {
    [
        vec!["run", "-b", quick, id],
        vec!["create", "-b", slow, id],
        vec!["start", id],
        vec!["state", id],
        vec!["exec", id, "/bin/true"],
        vec!["kill", id, "KILL"],
        vec!["delete", "-f", id],
    ]
}

/// The figure below which the share `q` of all lies. 0 for none.
#[must_use]
pub fn quantile(figures: &[f64], q: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len() as f64 * q) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let check =
            |figures: &[f64], q, expect: f64| assert!((quantile(figures, q) - expect).abs() < 1e-9, "{figures:?}");
        check(&[], 0.5, 0.0);
        check(&[3.0, 1.0, 2.0], 0.5, 2.0);
        check(&[3.0, 1.0, 2.0], 0.99, 3.0);
        check(&[3.0, 1.0, 2.0], 0.0, 1.0);
    }
}
