//! Makes a bundle, runs a container from it and lets it tell what it sees; then checks that against what was asked.
//!
//! The container's program is this one: the binary is static, so a copy of it runs in an empty root. Nothing is
//! downloaded, nothing is left behind. Takes root.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use runtime_core::spec::example;
use runtime_core::{Bundle, Containers, CreateOptions, sys};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let result = match arguments.get(1).map(String::as_str) {
        Some("inside") => Ok(inside(&arguments[2..])),
        _ => outside(),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} of what the container sees is not what was asked");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}

// --- on the host: what a program does that embeds the library

/// Returns how many facts are not as asked.
fn outside() -> Result<usize> {
    if sys::geteuid() != 0 {
        return Err("takes root".into());
    }
    let work = Work::new()?;
    let mut config = config();
    let containers = Containers::open(&work.0.join("state"))?;
    let create = |config: &Value| {
        let begin = Instant::now();
        let bundle = Bundle::from_json(&work.0, config.to_string())?;
        containers.create("hello", &bundle, CreateOptions::default()).map(|made| (made, begin.elapsed()))
    };
    let (container, created) = match create(&config) {
        // A machine that is itself a container may have no controllers to give.
        Err(error) if error.pointer().is_some_and(|pointer| pointer.starts_with("/linux/resources/")) => {
            println!("without limits: {error}");
            config["linux"]["resources"] = json!({});
            create(&config)?
        }
        made => made?,
    };
    // Its program's standard streams are ours: what it prints appears here.
    println!("container {:?}, which the host knows as process {}, sees:\n", container.id(), container.state()?.pid);
    let init = container.init().ok_or("who makes a container has its handle")?;
    let begin = Instant::now();
    let started = container.start().map(|()| begin.elapsed());
    let ended = started.and_then(|started| Ok((started, init.wait()?)));
    let begin = Instant::now();
    container.delete(true)?;
    let deleted = begin.elapsed();
    let (started, status) = ended?;

    println!("\ncreated in {created:.1?}, started in {started:.1?}, deleted in {deleted:.1?}");
    for warning in container.warnings() {
        println!("warning: {warning}");
    }
    Ok(status.code().ok_or("it was killed")?.try_into()?)
}

/// A directory that is the bundle and is removed at the end.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self> {
        let work = Work(std::env::temp_dir().join(format!("orlop-hello-{}", std::process::id())));
        fs::create_dir_all(work.0.join("rootfs"))?;
        fs::copy(std::env::current_exe()?, work.0.join("rootfs/hello"))?;
        Ok(work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The default configuration, with some wishes whose fulfilment can be seen.
fn config() -> Value {
    let mut config: Value = serde_json::from_str(&example(None, false)).expect("the example is JSON");
    config["hostname"] = json!("hello");
    config["process"]["terminal"] = json!(false);
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
    config["process"]["cwd"] = json!("/made/for/you");
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
    config["linux"]["resources"]["pids"] = json!({"limit": 16});
    config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOANO}]});
    // An expectation is NAME=VALUE or NAME!=VALUE.
    let mut expect = vec![
        "pid=1".to_owned(),
        "processes=1".to_owned(),
        "hostname=hello".to_owned(),
        "ids=uid 1000, gid 1000, groups 5".to_owned(),
        "directory=/made/for/you".to_owned(),
        "open files=64 (at most 128)".to_owned(),
        "no_new_privs=1".to_owned(),
        "seccomp=a filter: mkdir fails with ENOANO".to_owned(),
        "network=lo, up".to_owned(),
        "write to /=read-only".to_owned(),
        "masked files=nothing to read".to_owned(),
    ];
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("the example has namespaces");
    if !namespaces.iter().any(|n| n["type"] == "cgroup") {
        namespaces.push(json!({"type": "cgroup"}));
    }
    expect.extend(
        namespaces
            .iter()
            .filter_map(|n| n["type"].as_str())
            .map(file_of)
            .map(|name| format!("{name} namespace!={}", namespace(name))),
    );
    config["process"]["args"] = ["/hello", "inside"].into_iter().map(str::to_owned).chain(expect).collect();
    config
}

/// A namespace's name in /proc.
fn file_of(kind: &str) -> &str {
    match kind {
        "mount" => "mnt",
        "network" => "net",
        kind => kind,
    }
}

// --- in the container: the program

/// Prints what is seen and returns how much of it is not as expected.
fn inside(expectations: &[String]) -> usize {
    let facts = facts();
    let mut wrong = 0;
    for (name, value) in &facts {
        let expected = expectations.iter().find_map(|e| {
            let rest = e.strip_prefix(name)?;
            rest.strip_prefix("!=").map(|v| v != value).or_else(|| rest.strip_prefix('=').map(|v| v == value))
        });
        let mark = match expected {
            Some(true) => "as asked",
            Some(false) => "WRONG",
            None => "",
        };
        wrong += usize::from(expected == Some(false));
        let mut lines = value.lines();
        println!("{name:>28}  {:<38} {mark}", lines.next().unwrap_or_default());
        lines.for_each(|line| println!("{:>28}  {line}", ""));
    }
    let unseen = expectations.iter().filter(|e| !facts.iter().any(|(name, _)| e.starts_with(name.as_str()))).count();
    wrong + unseen
}

fn facts() -> Vec<(String, String)> {
    let status = pairs("/proc/self/status", ':');
    let status = |name: &str| status.get(name).cloned().unwrap_or_default();
    let id = |name: &str| status(name).split_whitespace().next().unwrap_or_default().to_owned();
    let mut facts = vec![
        ("pid".to_owned(), std::process::id().to_string()),
        ("processes".to_owned(), names("/proc").iter().filter(|n| n.parse::<u32>().is_ok()).count().to_string()),
    ];
    let mut namespaces = names("/proc/self/ns");
    namespaces.retain(|name| !name.ends_with("_for_children"));
    facts.extend(namespaces.iter().map(|name| (format!("{name} namespace"), namespace(name))));
    let rest = [
        ("hostname", text("/proc/sys/kernel/hostname").trim().to_owned()),
        ("ids", format!("uid {}, gid {}, groups {}", id("Uid"), id("Gid"), status("Groups").trim()).trim().to_owned()),
        ("capabilities", format!("{} effective, {} bounding", status("CapEff"), status("CapBnd"))),
        ("no_new_privs", status("NoNewPrivs")),
        ("seccomp", seccomp(&status("Seccomp"))),
        ("open files", open_files()),
        ("directory", std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default()),
        ("environment", std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect()),
        ("root", names("/").join(" ")),
        ("write to /", write("/x")),
        ("masked files", masked()),
        ("mounts", mounts()),
        ("devices", devices()),
        ("network", network()),
        ("cgroup", cgroup()),
    ];
    facts.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    facts
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The lines `NAME: VALUE` of a file.
fn pairs(path: &str, between: char) -> BTreeMap<String, String> {
    let text = text(path);
    text.lines().filter_map(|l| l.split_once(between)).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

/// What a directory holds, in order.
fn names(directory: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn namespace(name: &str) -> String {
    fs::read_link(Path::new("/proc/self/ns").join(name)).map(|l| l.display().to_string()).unwrap_or_default()
}

fn open_files() -> String {
    let limits = text("/proc/self/limits");
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files")).unwrap_or_default();
    let mut words = line.split_whitespace();
    format!("{} (at most {})", words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

fn seccomp(mode: &str) -> String {
    match fs::create_dir("/dev/shm/x") {
        Err(e) if e.raw_os_error() == Some(libc::ENOANO) && mode == "2" => "a filter: mkdir fails with ENOANO".into(),
        other => format!("mode {mode}, mkdir: {other:?}"),
    }
}

fn write(path: &str) -> String {
    match fs::File::create(path) {
        Err(e) if e.raw_os_error() == Some(libc::EROFS) => "read-only".into(),
        Err(e) => e.to_string(),
        Ok(_) => "possible".into(),
    }
}

/// Files of the kernel that tell of other containers and of the machine's memory.
fn masked() -> String {
    let readable = |path: &&str| fs::File::open(path).and_then(|mut file| file.read(&mut [0])).is_ok_and(|n| n > 0);
    let found: Vec<_> = ["/proc/kcore", "/proc/keys", "/proc/timer_list"].into_iter().filter(readable).collect();
    if found.is_empty() { "nothing to read".into() } else { found.join(" ") }
}

fn mounts() -> String {
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let kind = words.iter().skip_while(|w| **w != "-").nth(1)?;
        Some(format!("{:<22} {kind:<8} {}\n", words.get(4)?, words.get(5)?))
    };
    text("/proc/self/mountinfo").lines().filter_map(line).collect()
}

fn devices() -> String {
    let is_device = |name: &String| {
        fs::symlink_metadata(Path::new("/dev").join(name))
            .is_ok_and(|m| m.file_type().is_char_device() && m.rdev() != 0)
    };
    names("/dev").into_iter().filter(is_device).collect::<Vec<_>>().join(" ")
}

fn network() -> String {
    let describe = |name: &String| {
        let flags = text(format!("/sys/class/net/{name}/flags"));
        let up = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).is_ok_and(|f| f & 1 != 0);
        format!("{name}, {}", if up { "up" } else { "down" })
    };
    names("/sys/class/net").iter().map(describe).collect::<Vec<_>>().join("; ")
}

/// Where it is, and its limits: on cgroup v2, or in the hierarchies of v1.
fn cgroup() -> String {
    let own = text("/proc/self/cgroup");
    let limits = ["pids.max", "memory.max", "pids/pids.max", "memory/memory.limit_in_bytes"];
    let limit = |file: &&str| {
        let value = text(Path::new("/sys/fs/cgroup").join(file));
        (!value.is_empty()).then(|| format!("{file} {}", value.trim()))
    };
    let mut paths: Vec<_> = own.lines().filter_map(|l| l.rsplit(':').next()).collect();
    paths.sort_unstable();
    paths.dedup();
    let limits: Vec<_> = limits.iter().filter_map(limit).collect();
    format!("{}\n{}", paths.join(" "), limits.join(", "))
}
