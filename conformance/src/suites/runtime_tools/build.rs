//! Builds the validation programs with the Go and the libraries of the distribution; nothing is downloaded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ctx::{Stop, fail};

/// Where the sources belong among Go's packages.
const HOME: &str = "github.com/opencontainers/runtime-tools";
/// Where Debian's packages of Go libraries install them.
const LIBRARIES: &str = "/usr/share/gocode";

/// The names of the validation programs in `sources`.
pub(crate) fn programs(sources: &Path) -> Vec<String> {
    let entries = fs::read_dir(sources.join("validation")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|e| e.file_name() != "util" && e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Builds those `wanted` of the programs in `sources` below `into`, with what they need beside them: the program that they
/// put into containers, and the archive of a root filesystem. Returns their directory.
pub(crate) fn build(sources: &Path, into: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf, Stop> {
    let sources = fs::canonicalize(sources).map_err(|e| Stop::Fail(format!("{}: {e}", sources.display())))?;
    if !sources.join("cmd/runtimetest").is_dir() || programs(&sources).is_empty() {
        return fail(format!(
            "{} has no cmd/runtimetest and validation: no sources of OCI runtime-tools",
            sources.display()
        ));
    }
    let (path, built) = (into.join("go"), into.join("bin"));
    let package = path.join("src").join(HOME);
    let tap = path.join("src/github.com/mndrix/tap-go");
    for dir in [package.parent().unwrap_or(&path), &tap, &built] {
        fs::create_dir_all(dir)?;
    }
    symlink(&sources, &package)?;
    fs::write(tap.join("tap.go"), include_str!("tap.go"))?;
    for entry in fs::read_dir(&sources)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("rootfs-") {
            symlink(entry.path(), built.join(entry.file_name()))?;
        }
    }
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&built).arg(format!("{HOME}/cmd/runtimetest"));
    go.args(programs(&sources).iter().filter(|p| wanted(p)).map(|p| format!("{HOME}/validation/{p}")));
    // Without modules, nothing is looked for in a network. Without C, `runtimetest` is static: it runs in a strange root.
    go.envs([
        ("GO111MODULE", "off"),
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOFLAGS", ""),
        ("CGO_ENABLED", "0"),
    ]);
    go.env("GOPATH", format!("{}:{LIBRARIES}", path.display()));
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        go.env("GOCACHE", into.join("cache"));
    }
    eprintln!("building the validation programs of {}", sources.display());
    let out = go.output().map_err(|e| Stop::Fail(format!("run go (the package golang-go): {e}")))?;
    if !out.status.success() {
        return fail(format!("build {}: {}", sources.display(), String::from_utf8_lossy(&out.stderr).trim_end()));
    }
    Ok(built)
}
