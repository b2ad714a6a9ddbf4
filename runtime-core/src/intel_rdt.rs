//! Intel RDT: a container's share of the caches and of the memory's bandwidth (`config-linux.md`, *IntelRdt*).
//!
//! ```text
//! Resctrl::find -> Resctrl::existing -> plan -> create -> place -> remove
//!   the root        facts              pure   effects
//! ```
//!
//! A class of service is a directory of the resctrl file system, a monitoring group one in its `mon_groups`; processes and
//! limits are written into their files. [`plan`] is pure and says which directories are made and removed and what is
//! written. Only a configuration with `intelRdt` makes Orlop look for resctrl.
//!
//! Source: Documentation/filesystems/resctrl.rst of the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::IntelRdt;
use crate::sys::Errno;

/// RDTGROUP_SUPER_MAGIC of the kernel (linux/magic.h).
const RESCTRL_MAGIC: i64 = 0x0765_5821;

/// Where the resctrl file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resctrl(pub PathBuf);

/// What exists of what a container wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Existing {
    /// The text of `schemata` of the container's class. `None`: there is no such class.
    pub schemata: Option<String>,
}

/// What is done for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdt {
    /// Directories to make, in this order.
    pub make: Vec<PathBuf>,
    /// Files and what is written into them, in this order.
    pub writes: Vec<(PathBuf, String)>,
    /// What later operations need.
    pub record: Record,
    /// The root of resctrl, which tells why a write was refused.
    root: PathBuf,
}

/// What exists of a container in resctrl: enough for what comes after its creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The files that get the id of each process of the container, in this order.
    pub tasks: Vec<PathBuf>,
    /// The directories that are removed with the container, in this order.
    pub remove: Vec<PathBuf>,
}

impl Resctrl {
    /// Looks at /sys/fs/resctrl, and only where it is not there into the table of mounts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it is not mounted.
    pub(crate) fn find() -> Result<Self> {
        let usual = Path::new("/sys/fs/resctrl");
        let is_resctrl = |path: &Path| {
            nix::sys::statfs::statfs(path).is_ok_and(|s| {
                #[allow(clippy::unnecessary_cast, reason = "the type is the architecture's")]
                let magic = s.filesystem_type().0 as i64;
                magic == RESCTRL_MAGIC
            })
        };
        if is_resctrl(usual) {
            return Ok(Resctrl(usual.to_owned()));
        }
        let table = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| Error::system("read /proc/self/mountinfo", Errno::from(e)))?;
        match mounted(&table).filter(|path| is_resctrl(path)) {
            Some(path) => Ok(Resctrl(path)),
            None => Err(Error::unsupported("/linux/intelRdt", "no resctrl file system is mounted on this machine")),
        }
    }

    /// Reads what [`plan`] must know.
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub(crate) fn existing(&self, wanted: &IntelRdt, id: &str) -> Result<Existing> {
        let file = self.class(wanted, id).join("schemata");
        let schemata = match fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::system(format_args!("read {}", file.display()), e.into())),
        };
        Ok(Existing { schemata })
    }

    /// What goes with a container, by the names that [`plan`] gives: for one of whose state nothing can be read. A class that
    /// the configuration names stays, also one that was made for this container alone: nobody knows.
    pub(crate) fn remains(&self, wanted: &IntelRdt, id: &str) -> Record {
        let class = self.class(wanted, id);
        let group = wanted.monitoring.then(|| monitoring_group(&class, id));
        let own = wanted.clos_id.is_none().then_some(class);
        Record { tasks: Vec::new(), remove: group.into_iter().chain(own).collect() }
    }

    /// The directory of a container's class of service.
    fn class(&self, wanted: &IntelRdt, id: &str) -> PathBuf {
        match wanted.clos_id.as_deref() {
            Some("/") => self.0.clone(),
            Some(name) => self.0.join(name),
            None => self.0.join(id),
        }
    }
}

/// The directory of a container's monitoring group.
fn monitoring_group(class: &Path, id: &str) -> PathBuf {
    class.join("mon_groups").join(id)
}

/// The mount point of resctrl in a text of proc_pid_mountinfo(5).
fn mounted(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        // A space in the path would be written in octal: who mounts resctrl there has no luck.
        (filesystem.split(' ').next()? == "resctrl").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// What is to be done. Pure.
///
/// # Errors
/// A class that must exist does not, or has other limits than the configuration says; a directory of the container's id that is
/// somebody else's.
pub fn plan(wanted: &IntelRdt, id: &str, resctrl: &Resctrl, existing: &Existing) -> Result<Rdt> {
    let class = resctrl.class(wanted, id);
    let has_schemata = !wanted.schemas.is_empty() || !wanted.schemata.is_empty();
    let mut make = Vec::new();
    match (&wanted.clos_id, &existing.schemata) {
        (None, Some(_)) => {
            let text = format!("{} exists already: it is not this container's", class.display());
            return Err(Error::new(ErrorKind::Exists, format!("/linux/intelRdt: {text}")));
        }
        (Some(_), None) if !has_schemata => {
            let text = format!("{} does not exist, and there is no schemata to make it with", class.display());
            return Err(Error::refused("/linux/intelRdt/closID", text));
        }
        (_, None) => make.push(class.clone()),
        (Some(_), Some(text)) => check_match(&wanted.schemas, text)?,
    }
    let lines = wanted.schemas.iter().chain(&wanted.schemata);
    // A line a write: the kernel then tells of the one that it refuses, and takes no other one with it.
    let writes = lines.map(|line| (class.join("schemata"), format!("{line}\n"))).collect();
    let mut record = Record { tasks: vec![class.join("tasks")], ..resctrl.remains(wanted, id) };
    if wanted.monitoring {
        let group = monitoring_group(&class, id);
        // A process is of the class before it can be of a group of that class.
        record.tasks.push(group.join("tasks"));
        make.push(group);
    }
    Ok(Rdt { make, writes, record, root: resctrl.0.clone() })
}

/// Whether a class that exists has what `l3CacheSchema` and `memBwSchema` say.
fn check_match(wanted: &[String], existing: &str) -> Result<()> {
    let existing = domains(existing);
    for (resource, wanted) in wanted.iter().flat_map(|schema| domains(schema)) {
        for (domain, value) in wanted {
            match existing.get(&resource).and_then(|all| all.get(&domain)) {
                Some(has) if *has == value => {}
                has => {
                    let has = has.map_or("not there".to_owned(), |has| format!("{has:x}"));
                    let text = format!("the class exists and its {resource}:{domain} is {has}, not {value:x}");
                    return Err(Error::refused("/linux/intelRdt", text));
                }
            }
        }
    }
    Ok(())
}

/// `L3:0=7f0;1=1f` lines as numbers: what is written is not what is read (leading zeros, order, spaces). Masks are
/// hexadecimal and percentages decimal, but both sides are read in the same way here.
fn domains(text: &str) -> BTreeMap<String, BTreeMap<u32, u64>> {
    let line = |line: &str| {
        let (resource, domains) = line.split_once(':')?;
        let domain = |one: &str| {
            let (domain, value) = one.split_once('=')?;
            Some((domain.trim().parse().ok()?, u64::from_str_radix(value.trim(), 16).ok()?))
        };
        Some((resource.trim().to_owned(), domains.split(';').filter_map(domain).collect()))
    };
    text.lines().filter_map(line).collect()
}

/// What may have to be removed while it is not known how far [`create`] came.
pub(crate) fn unfinished(rdt: &Rdt) -> Record {
    Record { tasks: rdt.record.tasks.clone(), remove: rdt.make.iter().rev().cloned().collect() }
}

/// Makes the directories and writes the limits.
///
/// # Errors
/// [`ErrorKind::System`], with the kernel's own reason. What was made is removed.
pub(crate) fn create(rdt: &Rdt) -> Result<()> {
    let mut made: Vec<&PathBuf> = Vec::new();
    let result = rdt.make.iter().try_for_each(|directory| {
        fs::DirBuilder::new().mode(0o755).create(directory).map_err(|e| rdt.refused("make", directory, e))?;
        made.push(directory);
        Ok(())
    });
    let result =
        result.and_then(|()| rdt.writes.iter().try_for_each(|(file, text)| write(file, text, "write to", &rdt.root)));
    if result.is_err() {
        for directory in made.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
    result
}

impl Rdt {
    fn refused(&self, operation: &str, path: &Path, error: io::Error) -> Error {
        refused(operation, path, error, &self.root)
    }
}

fn write(file: &Path, text: &str, operation: &str, root: &Path) -> Result<()> {
    // In resctrl every file is there with its directory; a root of a test's own has none.
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    opened.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| refused(operation, file, e, root))
}

/// The kernel's errno says little, and its `info/last_cmd_status` the rest.
fn refused(operation: &str, path: &Path, error: io::Error, root: &Path) -> Error {
    let error = Error::system(format_args!("{operation} {}", path.display()), error.into());
    let status = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    match status.trim() {
        "" | "ok" => error.context("/linux/intelRdt"),
        status => error.context(format_args!("/linux/intelRdt: {}", status.replace('\n', " "))),
    }
}

impl Record {
    /// Puts a process of one thread into the groups.
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub(crate) fn place(&self, pid: i32) -> Result<()> {
        self.tasks.iter().try_for_each(|file| {
            let root = file.parent().unwrap_or(file);
            write(file, &pid.to_string(), &format!("write process {pid} to"), root)
        })
    }

    /// Writes lines into the `schemata` of the container's class, which may be that of others too. All or none; the result is
    /// the text as it was, whose lines take them back.
    ///
    /// # Errors
    /// [`ErrorKind::System`], with the kernel's own reason.
    pub(crate) fn update(&self, lines: &[String]) -> Result<Vec<String>> {
        let Some(class) = self.tasks.first().and_then(|file| file.parent()) else { return Ok(Vec::new()) };
        let file = class.join("schemata");
        let failed = |e: io::Error| Error::system(format_args!("read {}", file.display()), e.into());
        let before: Vec<_> =
            fs::read_to_string(&file).map_err(failed)?.lines().map(|line| line.trim().to_owned()).collect();
        // The root, whose info/ tells why, is the class itself or the directory above.
        let root = class.ancestors().find(|path| path.join("info").is_dir()).unwrap_or(class);
        let put = |line: &String| write(&file, &format!("{line}\n"), "write to", root);
        lines.iter().try_for_each(put).inspect_err(|_| before.iter().for_each(|line| drop(put(line))))?;
        Ok(before)
    }

    /// Removes what belongs to the container. What is not there any more is no error; processes fall back to the group
    /// above.
    ///
    /// # Errors
    /// [`ErrorKind::System`].
    pub(crate) fn remove(&self) -> Result<()> {
        self.remove.iter().try_for_each(|directory| match fs::remove_dir(directory) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::system(format_args!("remove {}", directory.display()), e.into()))
            }
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(clos_id: Option<&str>, schemas: &[&str], schemata: &[&str], monitoring: bool) -> IntelRdt {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        IntelRdt { clos_id: clos_id.map(str::to_owned), schemas: own(schemas), schemata: own(schemata), monitoring }
    }

    fn paths(list: &[&str]) -> Vec<PathBuf> {
        list.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_is_made_written_and_removed() {
        let check = |wanted: &IntelRdt, has: Option<&str>, expect: [&[&str]; 4]| {
            let existing = Existing { schemata: has.map(str::to_owned) };
            let rdt = plan(wanted, "id", &Resctrl("/r".into()), &existing).unwrap();
            let writes: Vec<String> = rdt.writes.iter().map(|(f, t)| format!("{}<{t}", f.display())).collect();
            assert_eq!(rdt.make, paths(expect[0]), "{wanted:?}");
            assert_eq!(writes, expect[1], "{wanted:?}");
            assert_eq!(rdt.record.tasks, paths(expect[2]), "{wanted:?}");
            assert_eq!(rdt.record.remove, paths(expect[3]), "{wanted:?}");
        };
        // Without closID: a directory of the container's id, which goes with it.
        check(&wanted(None, &[], &[], false), None, [&["/r/id"], &[], &["/r/id/tasks"], &["/r/id"]]);
        // The order of the specification: l3CacheSchema, memBwSchema, schemata.
        check(
            &wanted(None, &["L3:0=f", "MB:0=20"], &["L2:0=3"], false),
            None,
            [
                &["/r/id"],
                &["/r/id/schemata<L3:0=f\n", "/r/id/schemata<MB:0=20\n", "/r/id/schemata<L2:0=3\n"],
                &["/r/id/tasks"],
                &["/r/id"],
            ],
        );
        // With closID: made where it is missing, never removed.
        check(
            &wanted(Some("gold"), &["L3:0=f"], &[], false),
            None,
            [&["/r/gold"], &["/r/gold/schemata<L3:0=f\n"], &["/r/gold/tasks"], &[]],
        );
        check(&wanted(Some("gold"), &[], &[], false), Some("L3:0=f"), [&[], &[], &["/r/gold/tasks"], &[]]);
        check(
            &wanted(Some("gold"), &["L3:0=0f;1=3"], &[], false),
            Some("    L3:1=003;0=00f\n    MB:0=100\n"),
            [&[], &["/r/gold/schemata<L3:0=0f;1=3\n"], &["/r/gold/tasks"], &[]],
        );
        check(&wanted(Some("/"), &[], &[], false), Some(""), [&[], &[], &["/r/tasks"], &[]]);
        // A monitoring group goes with the container in every class.
        check(
            &wanted(Some("/"), &[], &[], true),
            Some(""),
            [&["/r/mon_groups/id"], &[], &["/r/tasks", "/r/mon_groups/id/tasks"], &["/r/mon_groups/id"]],
        );
        check(
            &wanted(None, &[], &[], true),
            None,
            [
                &["/r/id", "/r/id/mon_groups/id"],
                &[],
                &["/r/id/tasks", "/r/id/mon_groups/id/tasks"],
                &["/r/id/mon_groups/id", "/r/id"],
            ],
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |wanted: IntelRdt, has: Option<&str>, expect: &str| {
            let existing = Existing { schemata: has.map(str::to_owned) };
            let error = plan(&wanted, "id", &Resctrl("/r".into()), &existing).unwrap_err();
            assert_eq!(error.to_string(), expect);
        };
        check(
            wanted(Some("gold"), &[], &[], false),
            None,
            "/linux/intelRdt/closID: /r/gold does not exist, and there is no schemata to make it with",
        );
        check(
            wanted(Some("gold"), &["L3:0=f"], &[], false),
            Some("L3:0=7"),
            "/linux/intelRdt: the class exists and its L3:0 is 7, not f",
        );
        check(
            wanted(Some("gold"), &["L3:3=f"], &[], false),
            Some("L3:0=f"),
            "/linux/intelRdt: the class exists and its L3:3 is not there, not f",
        );
        check(
            wanted(None, &[], &[], false),
            Some("L3:0=f"),
            "/linux/intelRdt: /r/id exists already: it is not this container's",
        );
    }

    #[test]
    fn a_life_below_a_directory_of_our_own() {
        let root = std::env::temp_dir().join(format!("orlop-resctrl-{}", std::process::id()));
        fs::create_dir_all(root.join("info")).unwrap();
        let resctrl = Resctrl(root.clone());
        let wanted = wanted(None, &["L3:0=f", "MB:0=20"], &["L2:0=3"], false);
        let rdt = plan(&wanted, "c1", &resctrl, &resctrl.existing(&wanted, "c1").unwrap()).unwrap();
        create(&rdt).unwrap();
        assert_eq!(fs::read_to_string(root.join("c1/schemata")).unwrap(), "L3:0=f\nMB:0=20\nL2:0=3\n");
        rdt.record.place(42).unwrap();
        assert_eq!(fs::read_to_string(root.join("c1/tasks")).unwrap(), "42");
        let before = rdt.record.update(&["L3:0=3".to_owned()]).unwrap();
        assert_eq!(before, ["L3:0=f", "MB:0=20", "L2:0=3"]);
        assert_eq!(fs::read_to_string(root.join("c1/schemata")).unwrap(), "L3:0=f\nMB:0=20\nL2:0=3\nL3:0=3\n");
        // Now it is there, and the next container of this id is refused.
        assert!(plan(&wanted, "c1", &resctrl, &resctrl.existing(&wanted, "c1").unwrap()).is_err());
        // The kernel's files go with their directory; these do not.
        fs::remove_file(root.join("c1/schemata")).unwrap();
        fs::remove_file(root.join("c1/tasks")).unwrap();
        rdt.record.remove().unwrap();
        assert!(!root.join("c1").exists());
        rdt.record.remove().unwrap();

        // What fails is undone, and the kernel's reason is told.
        fs::write(root.join("info/last_cmd_status"), "out of CLOSIDs\n").unwrap();
        let broken = Rdt { make: vec![root.join("a"), root.join("missing/b")], ..rdt };
        let text = create(&broken).unwrap_err().to_string();
        assert!(text.starts_with("/linux/intelRdt: out of CLOSIDs: make "), "{text}");
        assert!(!root.join("a").exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_left_of_an_unreadable_state_is_found_by_its_name() {
        let root = std::env::temp_dir().join(format!("orlop-resctrl-left-{}", std::process::id()));
        let resctrl = Resctrl(root.clone());
        let all = ["gold/mon_groups/c1", "gold/mon_groups/c2", "c1/mon_groups/c1", "c2", "mon_groups/c1"];
        let left = |wanted: &IntelRdt| {
            all.iter().for_each(|directory| fs::create_dir_all(root.join(directory)).unwrap());
            // The kernel's own directory goes with its group.
            if !wanted.monitoring {
                fs::remove_dir_all(root.join("c1/mon_groups")).unwrap();
            }
            let result = resctrl.remains(wanted, "c1").remove();
            let left = all.map(|directory| root.join(directory).exists());
            fs::remove_dir_all(&root).unwrap();
            (result.is_ok(), left)
        };
        assert_eq!(left(&wanted(None, &["L3:0=f"], &[], false)), (true, [true, true, false, true, true]));
        assert_eq!(left(&wanted(Some("gold"), &[], &[], true)), (true, [false, true, true, true, true]));
        assert_eq!(left(&wanted(Some("/"), &[], &[], true)), (true, [true, true, true, true, false]));
        assert_eq!(left(&wanted(Some("gold"), &["L3:0=f"], &[], false)), (true, [true, true, false, true, true]));
        // Nothing was made yet.
        resctrl.remains(&wanted(None, &[], &[], true), "c1").remove().unwrap();
    }

    #[test]
    fn the_mount_is_found() {
        let table =
            "24 1 0:21 / /sys rw - sysfs sysfs rw\n30 24 0:30 / /mnt/rdt rw,nosuid shared:9 - resctrl resctrl rw\n";
        assert_eq!(mounted(table), Some("/mnt/rdt".into()));
        assert_eq!(mounted("24 1 0:21 / /sys rw - sysfs sysfs rw\n"), None);
    }
}
