//! What the examples share: a directory with a root filesystem, a container from it, and a list of what was found.
//!
//! A container's program is the example itself: the binary is static, so a copy of it runs in an empty root. Nothing is
//! downloaded, and nothing is left behind.
#![allow(dead_code, reason = "each example uses a part")]

use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use runtime_core::{Bundle, Container, Containers, CreateOptions, Stdio, Stream};
use serde_json::{Value, json};

/// What an example returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs an example: `outside` on the host; `inside` is the container's program, with the arguments that it was given.
pub(crate) fn example(name: &str, inside: fn(&[String]) -> Result, outside: fn(&Stage) -> Result) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let result = match arguments.get(1).map(String::as_str) {
        Some("inside") => inside(&arguments[2..]),
        _ => Stage::new(name).and_then(|stage| {
            outside(&stage)?;
            match stage.wrong.get() {
                0 => Ok(()),
                wrong => Err(format!("{wrong} of this is not as it should be").into()),
            }
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where an example takes place.
pub(crate) struct Stage {
    /// A directory of its own, which is removed in the end. `rootfs` in it has a copy of the example.
    pub(crate) directory: PathBuf,
    /// Its containers.
    pub(crate) containers: Containers,
    name: String,
    wrong: Cell<u32>,
}

impl Stage {
    fn new(name: &str) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err("takes root".into());
        }
        let directory = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("rootfs"))?;
        fs::copy(std::env::current_exe()?, directory.join("rootfs/example"))?;
        let containers = Containers::open(&directory.join("state"))?;
        Ok(Stage { directory, containers, name: name.to_owned(), wrong: Cell::new(0) })
    }

    /// runc's default configuration, for the example's `inside` with these arguments.
    pub(crate) fn config(&self, arguments: &[&str]) -> Value {
        let mut config: Value = serde_json::from_str(&runtime_core::spec::example(None, false)).expect("it is JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = ["/example", "inside"].iter().chain(arguments).copied().collect();
        config["root"] = json!({"path": "rootfs"});
        config
    }

    /// Makes and starts a container whose standard output, and error, is a pipe.
    pub(crate) fn start(&self, config: &Value) -> Result<Running> {
        let bundle = Bundle::from_json(&self.directory, config.to_string())?;
        let (output, end) = std::io::pipe()?;
        let mut options = CreateOptions::default();
        options.stdio = Stdio::null();
        options.stdio.stdout = Stream::Fd(OwnedFd::from(end.try_clone()?));
        options.stdio.stderr = Stream::Fd(OwnedFd::from(end));
        let container = self.containers.create(&self.name, &bundle, options)?;
        let running = Running { container, output };
        running.container.start()?;
        Ok(running)
    }

    /// Runs a container to its end: what it printed, and how it ended.
    pub(crate) fn run(&self, config: &Value) -> Result<(String, ExitStatus)> {
        self.start(config)?.end()
    }

    /// Shows what was seen and whether it is right.
    pub(crate) fn check(&self, what: &str, seen: impl std::fmt::Display, right: bool) {
        println!("  {what:<52} {seen:<24} {}", if right { "ok" } else { "WRONG" });
        self.wrong.set(self.wrong.get() + u32::from(!right));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A container that runs, and is removed whatever happens.
pub(crate) struct Running {
    pub(crate) container: Container,
    output: PipeReader,
}

impl Running {
    /// The first process in the host's pid namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.container.init().map_or(0, runtime_core::Process::pid)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while self.output.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8(line)?)
    }

    /// Waits for its end: what it printed, and how it ended.
    pub(crate) fn end(mut self) -> Result<(String, ExitStatus)> {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed)?;
        let status = self.container.init().ok_or("it has no process")?.wait()?;
        Ok((printed, status))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.container.delete(true);
    }
}

/// Without some of the namespaces of the configuration: these it shares with the host.
pub(crate) fn share(config: &mut Value, namespace: &str) {
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|n| n["type"] != namespace);
    }
}

/// Names in a directory, in order.
pub(crate) fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A text file without its last line feed.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}
