//! `exec`: another process in a running container.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use runtime_core::spec::{Capabilities, Process};
use runtime_core::sys::{self, Errno};
use runtime_core::{Console, Container, Error, ErrorKind, ExecOptions, Result};

use super::{CONSOLE_SOCKET, Call, Command, DETACH, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS, Started};
use crate::args::{Count, Order, Parsed, Takes, flag};
use crate::{foreground, texts};

pub(super) const COMMAND: Command = Command {
    name: "exec",
    summary: "run another process in a container",
    usage: "<container-id> <program> [arguments...], or --process FILE <container-id>",
    flags: &[
        CONSOLE_SOCKET,
        PIDFD_SOCKET,
        flag(&["cwd"], Takes::Value, "working directory, inside the container"),
        flag(&["env", "e"], Takes::Value, "NAME=value to add to the environment; may be repeated"),
        flag(&["tty", "t"], Takes::Nothing, "give the process a terminal"),
        flag(&["user", "u"], Takes::Value, "numeric uid[:gid]"),
        flag(&["additional-gids", "g"], Takes::Value, "a further group id; may be repeated"),
        flag(&["process", "p"], Takes::Value, "file with the process as JSON, instead of everything else here"),
        DETACH,
        PID_FILE,
        flag(&["process-label"], Takes::Value, "SELinux label"),
        flag(&["apparmor"], Takes::Value, "AppArmor profile"),
        flag(&["no-new-privs"], Takes::Nothing, "set no_new_privs"),
        flag(&["cap", "c"], Takes::Value, "a capability to add; may be repeated"),
        PRESERVE_FDS,
        flag(&["cgroup"], Takes::Value, "[controller:]path of an existing cgroup below the container's"),
        flag(&["ignore-paused"], Takes::Nothing, "also in a paused container"),
    ],
    // What follows the id is the program's.
    order: Order::First,
    count: Count { min: 1, max: usize::MAX },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    call.prepare_to_enter()?;
    let container = call.container()?;
    let cgroups = cgroups_of(&call.args)?;
    let (process, mut warnings) = process(call, &container)?;
    let detach = call.args.is("detach");
    let console = match (call.args.path("console-socket"), process.terminal) {
        (Some(socket), true) if detach => Console::Socket(socket),
        (Some(_), _) => return Err(invalid(texts::SOCKET_UNUSED)),
        (None, true) if detach => return Err(invalid(texts::SOCKET_MISSING)),
        (None, _) => Console::Caller,
    };
    let signals = if detach { None } else { Some(foreground::begin(false)?) };
    let mut options = ExecOptions::new(process);
    options.console = console;
    options.preserve_fds = call.args.number("preserve-fds");
    options.ignore_paused = call.args.is("ignore-paused");
    options.cgroups = cgroups;
    let mut exec = container.exec(options)?;
    warnings.extend_from_slice(exec.warnings());
    let master = exec.take_master();
    let process = Started::from(&exec);
    if let Err(error) = call.announce(process, "setns") {
        let _ = sys::pidfd_send_signal(process.pidfd, libc::SIGKILL);
        return Err(error);
    }
    let code = match signals {
        Some(signals) => {
            let terminal = master.map(foreground::connect).transpose()?;
            foreground::wait(call, process, false, &signals, terminal)?
        }
        None => 0,
    };
    call.warn(&warnings, true);
    Ok(code)
}

/// The process to run, and what to warn of.
fn process(call: &Call<'_>, container: &Container) -> Result<(Process, Vec<String>)> {
    if let Some(file) = call.args.path("process") {
        let failed = |error| Error::system(format!("read {}", file.display()), Errno::from(error));
        return Process::from_slice(&std::fs::read(&file).map_err(failed)?);
    }
    let base = container.process()?;
    let base = base.ok_or_else(|| invalid("the container's configuration has no process"))?;
    with_flags(base, &call.args)
}

/// The container's own process as the flags change it.
fn with_flags(mut process: Process, args: &Parsed) -> Result<(Process, Vec<String>)> {
    let mut warnings = Vec::new();
    process.args = args.arguments[1..].iter().map(|argument| c_string(argument)).collect::<Result<_>>()?;
    if process.args.is_empty() {
        return Err(invalid("process args cannot be empty"));
    }
    if let Some(cwd) = args.value("cwd").filter(|cwd| !cwd.is_empty()) {
        if cwd.as_bytes()[0] != b'/' {
            return Err(invalid("Cwd must be an absolute path"));
        }
        process.cwd = c_string(cwd)?;
    }
    for variable in args.all("env") {
        let bytes = variable.as_bytes();
        // Never the value: it may be a secret.
        let equals = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        let equals = equals.ok_or_else(|| invalid("invalid environment variable: it must be NAME=value"))?;
        process.env.retain(|known| !known.as_bytes().starts_with(&bytes[..=equals]));
        process.env.push(c_string(variable)?);
    }
    process.terminal = args.boolean("tty").unwrap_or(process.terminal);
    process.no_new_privileges = args.boolean("no-new-privs").unwrap_or(process.no_new_privileges);
    if let Some(user) = args.value("user") {
        let (uid, gid) = user_and_group(&user.to_string_lossy())?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    for gid in args.all("additional-gids") {
        process.user.additional_gids.push(id("gid", &gid.to_string_lossy())?);
    }
    if let Some(label) = args.value("process-label").filter(|label| !label.is_empty()) {
        process.selinux_label = Some(c_string(label)?);
    }
    if let Some(profile) = args.value("apparmor").filter(|profile| !profile.is_empty()) {
        process.apparmor_profile = Some(c_string(profile)?);
    }
    let names: Vec<_> = args.all("cap").map(|name| name.to_string_lossy().into_owned()).collect();
    if !names.is_empty() {
        let (added, unknown) = capabilities(&names)?;
        // Not inheritable and not ambient: CVE-2022-29162.
        process.capabilities.bounding |= added;
        process.capabilities.effective |= added;
        process.capabilities.permitted |= added;
        warnings.extend(unknown);
    }
    Ok((process, warnings))
}

/// A container's process as the flags change it, and the cgroups that they name.
#[cfg(fuzzing)]
pub(super) fn read(args: &Parsed) -> Result<()> {
    let text = br#"{"user":{"uid":5,"gid":6},"args":["sh"],"cwd":"/","env":["PATH=/bin","A=1"]}"#;
    with_flags(Process::from_slice(text)?.0, args)?;
    cgroups_of(args).map(drop)
}

fn cgroups_of(args: &Parsed) -> Result<Vec<(String, String)>> {
    let paths: Vec<_> = args.all("cgroup").map(|path| path.to_string_lossy()).collect();
    cgroups(&paths)
}

/// `path` alone, or `controller[,controller...]:path` and more of that kind, as pairs of controller and path.
fn cgroups(arguments: &[impl AsRef<str>]) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    let wrong = |text: &str, why: &str| Err(invalid(&format!("invalid --cgroup argument: {text} ({why})")));
    for argument in arguments.iter().map(AsRef::as_ref) {
        let Some((controllers, path)) = argument.split_once(':') else {
            if arguments.len() != 1 {
                return wrong(argument, "missing <controller>: prefix");
            }
            return Ok(vec![(String::new(), argument.to_owned())]);
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return wrong(argument, "empty <controller> prefix");
            }
            if found.iter().any(|(known, _)| known == controller) {
                return wrong(argument, &format!("controller {controller} specified multiple times"));
            }
            found.push((controller.to_owned(), path.to_owned()));
        }
    }
    Ok(found)
}

/// `uid[:gid]`, numbers and nothing else: crun took `1` for root once (CVE-2026-30892).
fn user_and_group(text: &str) -> Result<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id("uid", uid)?, Some(id("gid", gid)?))),
        None => Ok((id("uid", text)?, None)),
    }
}

/// An id in decimal. 2^32-1 is none: setresuid(2) takes it for "unchanged".
fn id(what: &str, text: &str) -> Result<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number != u32::MAX);
    number.ok_or_else(|| {
        invalid(&format!("parsing {text:?} as int for {what} failed: not a number from 0 to 4294967294"))
    })
}

/// The bits of capabilities by name, and a warning for each name that is unknown.
fn capabilities(names: &[String]) -> Result<(u64, Vec<String>)> {
    // The library reads names in one place only: in a process document.
    let document = serde_json::json!({
        "user": {"uid": 0, "gid": 0}, "args": ["-"], "cwd": "/", "capabilities": {"bounding": names},
    });
    let (process, warnings) = Process::from_slice(document.to_string().as_bytes())?;
    let Capabilities { bounding, .. } = process.capabilities;
    Ok((bounding, warnings))
}

fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| invalid("an argument holds a NUL byte"))
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidSpec, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;
    use std::ffi::OsString;

    #[test]
    fn cgroups_below() {
        let check = |arguments: &[&str], expect: Result<&[(&str, &str)], &str>| {
            let found = cgroups(arguments).map_err(|error| error.to_string());
            let expect = expect.map(|pairs| pairs.iter().map(|(c, p)| (c.to_string(), p.to_string())).collect());
            assert_eq!(found, expect.map_err(str::to_owned), "{arguments:?}");
        };
        check(&[], Ok(&[]));
        check(&["a/b"], Ok(&[("", "a/b")]));
        check(&["cpu,memory:a", "pids:b"], Ok(&[("cpu", "a"), ("memory", "a"), ("pids", "b")]));
        check(&["a", "pids:b"], Err("invalid --cgroup argument: a (missing <controller>: prefix)"));
        check(&[":a"], Err("invalid --cgroup argument: :a (empty <controller> prefix)"));
        check(&["cpu:a", "cpu:b"], Err("invalid --cgroup argument: cpu:b (controller cpu specified multiple times)"));
    }

    #[test]
    fn users() {
        let check = |text, expect| assert_eq!(user_and_group(text).ok(), expect, "{text}");
        check("1", Some((1, None)));
        check("1:2", Some((1, Some(2))));
        check("0:4294967294", Some((0, Some(4_294_967_294))));
        for wrong in
            ["abc", "1:", ":1", "-1", "+1", "", "4294967296", "4294967295", "1:4294967295", "1:2:3", " 1", "0x1"]
        {
            check(wrong, None);
        }
    }

    fn base() -> Process {
        let text =
            br#"{"user":{"uid":5,"gid":6,"additionalGids":[7]},"args":["sh"],"cwd":"/x","env":["PATH=/bin","A=1"],
            "capabilities":{"bounding":["CAP_KILL"]}}"#;
        Process::from_slice(text).unwrap().0
    }

    fn flags(line: &str) -> Result<Process> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        with_flags(base(), &args::parse(COMMAND.flags, &arguments, Order::First).unwrap()).map(|(process, _)| process)
    }

    #[test]
    fn flags_change_the_containers_process() {
        let check = |line: &str, change: fn(&mut Process)| {
            let mut expect = base();
            expect.args = vec![c"ls".into()];
            change(&mut expect);
            assert_eq!(flags(line).unwrap(), expect, "{line}");
        };
        check("x ls", |_| {});
        check("x ls -t", |process| process.args.push(c"-t".into()));
        check("-t x ls", |process| process.terminal = true);
        check("--cwd /y x ls", |process| process.cwd = c"/y".into());
        check("--cwd= x ls", |_| {});
        check("-e A=2 -e B= x ls", |process| process.env = vec![c"PATH=/bin".into(), c"A=2".into(), c"B=".into()]);
        check("-u 1 x ls", |process| process.user.uid = 1);
        check("-u 1:2 x ls", |process| (process.user.uid, process.user.gid) = (1, 2));
        check("-g 8 -g 9 x ls", |process| process.user.additional_gids = vec![7, 8, 9]);
        check("--no-new-privs x ls", |process| process.no_new_privileges = true);
        check("--apparmor p x ls", |process| process.apparmor_profile = Some(c"p".into()));
        check("--process-label l x ls", |process| process.selinux_label = Some(c"l".into()));
        check("-c CAP_NET_RAW x ls", |process| {
            let net_raw = 1 << 13;
            process.capabilities.bounding |= net_raw;
            process.capabilities.effective = net_raw;
            process.capabilities.permitted = net_raw;
        });
    }

    #[test]
    fn refusals() {
        for line in ["x", "--cwd y x ls", "-e A x ls", "-e =A x ls", "-u= x ls", "-g x x ls"] {
            assert_eq!(flags(line).unwrap_err().kind(), ErrorKind::InvalidSpec, "{line}");
        }
        assert!(!flags("-e SECRETVALUE x ls").unwrap_err().to_string().contains("SECRET"));
    }
}
