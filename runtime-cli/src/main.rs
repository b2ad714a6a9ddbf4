//! The `orlop` command: runtime-core with runc's command line.
//!
//! `args` reads the command line by tables, `commands` has one file a command, `texts` is the table of what engines
//! match on, `log` writes it. What is run on behalf of an engine must not say anything else anywhere.

#![cfg_attr(fuzzing, no_main, allow(dead_code))]

mod args;
mod commands;
mod foreground;
#[cfg(fuzzing)]
mod fuzz;
mod log;
mod notify;
mod own_binary;
mod pid_file;
mod signals;
mod size;
mod socket;
mod texts;
mod trace_file;
mod version;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use args::{Order, Parsed, Takes, flag};
use commands::{COMMANDS, Call, Command};
use log::{Format, Log};
use trace_file::TraceFile;

/// musl's allocator gives every few kilobytes back to the kernel at once, with two system calls and the page faults of the
/// next use: 220 calls in a `run`. This one keeps what it has.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The flags before the command.
const GLOBAL: &[args::Flag] = &[
    flag(&["debug"], Takes::Nothing, "log what is done, and where in the source"),
    flag(&["log"], Takes::Value, "append messages to this file (default: standard error)"),
    flag(&["log-format"], Takes::Value, "text or json (default: text)"),
    flag(&["root"], Takes::Value, "directory of the containers' state, on a tmpfs (default: see below)"),
    flag(&["criu"], Takes::Value, "accepted for old callers, has no effect"),
    flag(&["systemd-cgroup"], Takes::Nothing, "let systemd manage the cgroups"),
    flag(
        &["rootless"],
        Takes::Maybe(&["true", "false", "auto"]),
        "do without cgroups where they may not be made: true, false, or auto for whoever is not the machine's root",
    ),
    flag(&["trace"], Takes::Value, "write Chrome trace events to this file: where the time of the command went"),
    flag(&["version", "v"], Takes::Nothing, "print the version"),
];

#[cfg(not(fuzzing))]
fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(&argv))
}

/// Does what the command line says and returns the exit code.
fn run(argv: &[OsString]) -> u8 {
    let program = argv.first().map_or(env!("CARGO_BIN_NAME").into(), |program| program.to_string_lossy());
    let name = version::name(&program);
    let global = match args::parse(GLOBAL, argv.get(1..).unwrap_or_default(), Order::First) {
        Ok(global) => global,
        Err(message) => {
            print(&format!("Incorrect Usage. {message}\n\n{}", help(name)));
            Log::default().error(&message);
            return 1;
        }
    };
    // Before anything that can fail: engines ask for the version of a runtime that has nowhere to keep its state.
    if global.is("version") {
        return print(&version::text(name));
    }
    let opened = open_log(&global)
        .and_then(|log| Ok((log, TraceFile::open(global.path("trace").as_deref(), own_binary::is_second())?)));
    let (log, trace) = match opened {
        Ok(opened) => opened,
        Err(message) => {
            Log::default().error(&message);
            return 1;
        }
    };
    let mut words = global.arguments.iter();
    let mut word = words.next().map(|word| word.to_string_lossy());
    let mut wants_help = global.is("help") || word.is_none();
    if !wants_help && matches!(word.as_deref(), Some("help" | "h")) {
        wants_help = true;
        word = words.next().map(|word| word.to_string_lossy());
    } else if wants_help {
        word = None;
    }
    let Some(word) = word else { return print(&help(name)) };
    if commands::UNSUPPORTED.contains(&&*word) {
        return refuse(&log, &word, words.as_slice());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == word) else {
        let (message, code) = texts::unknown_command(&word);
        log.error(&message);
        return code;
    };
    if wants_help {
        return print(&command_help(name, command));
    }
    let usage = |prefix: &str, message: &str| {
        print(&format!("Incorrect Usage{prefix}\n\n{}", command_help(name, command)));
        log.error(message);
        1
    };
    let args = match args::parse(command.flags, words.as_slice(), command.order) {
        Ok(args) => args,
        Err(message) => return usage(&format!(": {message}"), &message),
    };
    if args.is("help") {
        return print(&command_help(name, command));
    }
    if let Err(message) = command.count.check(&program, command.name, args.arguments.len()) {
        return usage(".", &message);
    }
    let call = match state_root(&global, name) {
        Ok(root) => {
            let in_run = global.value("root").is_none() && root.parent() == Some(Path::new("/run"));
            Call { global, args, root, in_run, argv, log: &log, trace: &trace }
        }
        Err(message) => {
            log.error(&message);
            return 1;
        }
    };
    let result = (command.run)(&call);
    trace.write(true);
    match result {
        Ok(code) => code,
        Err(error) => {
            log.error(&texts::message(command.name, &error));
            texts::exit_code(command.name)
        }
    }
}

/// What can't be done yet. The one thing that is looked at is whether `--lsm-mount-context` lacks its value: podman asks
/// so whether `restore` knows that flag, and `not supported yet` would be no answer.
fn refuse(log: &Log, command: &str, arguments: &[OsString]) -> u8 {
    const RESTORE: &[args::Flag] = &[flag(&["lsm-mount-context"], Takes::Value, "")];
    let message = match args::parse(RESTORE, arguments, Order::Anywhere) {
        Err(message) if command == "restore" && message.starts_with("flag needs an argument") => {
            print(&format!("Incorrect Usage: {message}\n"));
            message
        }
        _ => texts::unsupported_command(command),
    };
    log.error(&message);
    1
}

fn open_log(global: &Parsed) -> Result<Log, String> {
    let format = match global.text("log-format").as_deref() {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return Err(format!("invalid log-format: {other}")),
    };
    Log::open(global.path("log").as_deref(), format, global.is("debug"))
}

/// The directory of the containers' state: `--root`, else `/run/NAME`, where NAME is `runc` for a program of that
/// name, so that it takes over from the runc that it replaces (podman passes no `--root`), and `orlop` else. Without root's
/// powers on the machine it is `$XDG_RUNTIME_DIR/NAME`.
fn state_root(global: &Parsed, name: &str) -> Result<PathBuf, String> {
    if let Some(root) = global.value("root") {
        let root = std::path::absolute(if root.is_empty() { OsStr::new(".") } else { root })
            .map_err(|error| format!("--root {}: {}", root.display(), runtime_core::sys::Errno::from(error)))?;
        let root = without_dots(&root);
        return if root == Path::new("/") { Err(texts::ROOT_IS_SLASH.into()) } else { Ok(root) };
    }
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty() && own_runtime_dir());
    Ok(runtime_dir.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join(name))
}

/// Whether `$XDG_RUNTIME_DIR` is ours. For the machine's root it is that of a login, which ends. Root of a user namespace
/// may be such a login's user, unless it calls itself root.
fn own_runtime_dir() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    let whole = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
    let in_user_namespace = std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !whole(&map));
    in_user_namespace && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// An absolute path without `.` and `..`, by its text alone.
fn without_dots(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
        path
    })
}

/// Prints, and says with what to exit. A reader that went away is no failure.
fn print(text: &str) -> u8 {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

fn help(name: &str) -> String {
    let width = COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or(0);
    let commands: String =
        COMMANDS.iter().map(|command| format!("   {:width$}  {}\n", command.name, command.summary)).collect();
    format!(
        "NAME:\n   {name} - run containers as the OCI runtime specification says\n\n\
         USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n{commands}\n\
         GLOBAL OPTIONS:\n{}\n\
         The state is kept in /run/{name} (root), $XDG_RUNTIME_DIR/{name} (others), or where --root says.\n",
        args::options(GLOBAL),
    )
}

fn command_help(name: &str, command: &Command) -> String {
    format!(
        "NAME:\n   {name} {} - {}\n\nUSAGE:\n   {name} {} [command options] {}\n\nOPTIONS:\n{}",
        command.name,
        command.summary,
        command.name,
        command.usage,
        args::options(command.flags),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots() {
        let check = |root: &str, expect: Result<&str, &str>| {
            let global = args::parse(GLOBAL, &[format!("--root={root}").into()], Order::First).unwrap();
            assert_eq!(state_root(&global, "orlop"), expect.map(PathBuf::from).map_err(String::from), "{root}");
        };
        check("/run/x", Ok("/run/x"));
        check("/run/./x/../y/", Ok("/run/y"));
        check("/", Err(texts::ROOT_IS_SLASH));
        check("//", Err(texts::ROOT_IS_SLASH));
        check("/run/..", Err(texts::ROOT_IS_SLASH));
        check("/../..", Err(texts::ROOT_IS_SLASH));
        check("../../../../../../../../../../..", Err(texts::ROOT_IS_SLASH));
    }
}
