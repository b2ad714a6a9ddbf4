//! Making the cgroup, limiting it, and placing processes in it.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use super::{Cgroup, Dir, Driver, OnFailure, Record, Value, Write, devices, files, systemd};
use crate::sys::Errno;
use crate::{Error, ErrorKind, Result};

/// A cgroup that was made and limited, and that no process is in yet. On v2 its device rules come with
/// [`Created::attach_devices`].
#[derive(Debug)]
pub struct Created {
    /// What is needed for everything that comes later.
    pub record: Record,
    /// The v2 directory, for CLONE_INTO_CGROUP: v2 and hybrid.
    pub unified: Option<OwnedFd>,
    /// Its directories did not exist.
    fresh: bool,
}

impl Created {
    /// Attaches the device program of v2, which `create` leaves out: the kernel takes longer to verify it than for all
    /// else, and init has no use for devices while it makes the root. So this is done meanwhile, before anything of the
    /// container's can run.
    pub fn attach_devices(&self, cgroup: &Cgroup) -> Result<()> {
        self.unified.as_ref().map_or(Ok(()), |fd| attach(&self.record, fd, self.fresh, cgroup))
    }
}

/// Makes the directories, gives them their controllers and limits, on v1 also device rules. Where it fails, nothing is left of it.
///
/// A directory that exists already is taken over if no process is in it and if it is not frozen. Where directories above
/// are missing, `announce` hears which before they are made ([`Record::parents`]): whoever cleans up after a caller that
/// was killed must know them.
///
/// Of a unit of systemd's only that is made which systemd does not make: directories on v1. The rest takes the process:
/// [`start`].
pub fn create(cgroup: &Cgroup, announce: &mut dyn FnMut(&[PathBuf]) -> Result<()>) -> Result<Created> {
    let mut made = Made { dirs: Vec::new(), parents: Vec::new(), announced: false, announce };
    let result = if cgroup.unit.is_some() { made.prepare(cgroup) } else { made.create(cgroup) };
    if result.is_err() {
        // Best effort: the error that is reported is the one that came first.
        for path in made.dirs.iter().chain(made.parents.iter().rev()) {
            let _ = files::rmdir(path);
        }
    }
    result
}

/// The kernel's words for "not you": file permissions, capabilities, and a hierarchy that is mounted read-only.
const NOT_PERMITTED: [i32; 3] = [libc::EPERM, libc::EACCES, libc::EROFS];

/// The v1 controllers that systemd has properties for.
const SYSTEMDS: [&str; 6] = ["cpu", "cpuacct", "blkio", "memory", "devices", "pids"];

/// How often that is tried which others, who are at work in the same hierarchy, may undo meanwhile.
const ATTEMPTS: u32 = 16;

/// The text is runc's: people search for it.
const ROOTLESS: &str = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";

/// Starts the unit with the process in it, limits the cgroup further than systemd can, and puts the process into the
/// hierarchies that systemd leaves alone. Without a unit there is nothing to be done.
///
/// A scope can't be started without a process, so here it is not born in its cgroup; but it waits, and nothing of the
/// container runs before this returns.
///
/// # Errors
/// As [`create`]; what systemd refuses, or does not answer.
pub fn start(cgroup: &Cgroup, pid: i32) -> Result<()> {
    let Some(unit) = &cgroup.unit else { return Ok(()) };
    systemd::start(unit, pid)?;
    let record = Record::from(cgroup);
    // Beside v1, systemd removes the directories of controllers that by its properties the unit does not need (devices, where
    // all are allowed); and it has the unified hierarchy too, unless it was told otherwise on the kernel's command line.
    for dir in record.dirs.iter().filter(|_| record.dirs.len() > 1) {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&dir.path);
        made.map_err(|error| failed("create cgroup", &dir.path, Errno::from(error)))?;
    }
    // As if the directory were fresh: systemd's device program is left where it is, beside ours. systemd would not know
    // that it is gone, and both must allow a device.
    if let Some(unified) = limit(&record, &[], true, cgroup)? {
        attach(&record, &unified, true, cgroup)?;
    }
    // Of a scope on v2 this changes nothing, and says so if systemd put the process elsewhere.
    record.place(pid, false)
}

/// What was made so far.
struct Made<'a> {
    dirs: Vec<PathBuf>,
    parents: Vec<PathBuf>,
    announced: bool,
    announce: &'a mut dyn FnMut(&[PathBuf]) -> Result<()>,
}

impl Made<'_> {
    fn create(&mut self, cgroup: &Cgroup) -> Result<Created> {
        let mut record = Record { dirs: Vec::with_capacity(cgroup.dirs.len()), ..Record::from(cgroup) };
        let mut existed = Vec::new();
        let mut missing = vec![None; cgroup.dirs.len()];
        for (index, dir) in cgroup.dirs.iter().enumerate() {
            match self.mkdir(dir, &cgroup.dirs) {
                Ok(fresh) => {
                    existed.extend((!fresh).then_some(index));
                    record.dirs.push(dir.clone());
                }
                Err(error) => {
                    let errno = error.errno().filter(|errno| cgroup.rootless && NOT_PERMITTED.contains(&errno.0));
                    match errno {
                        None => return Err(error),
                        Some(errno) if cgroup.best_effort => missing[index] = Some(errno),
                        Some(_) => return Err(error.context(ROOTLESS).context("/linux/cgroupsPath")),
                    }
                }
            }
        }
        record.expect_unused(!existed.is_empty())?;

        let unified = limit(&record, &missing, existed.is_empty(), cgroup)?;
        record.parents.clone_from(&self.parents);
        Ok(Created { record, unified, fresh: existed.is_empty() })
    }

    /// The directories of v1 controllers: systemd knows some of them, and takes those that exist.
    fn prepare(&mut self, cgroup: &Cgroup) -> Result<Created> {
        let mut record = Record::from(cgroup);
        // Before systemd says that there is such a unit: of a cgroup that is not systemd's it would say nothing.
        record.expect_unused(true)?;
        let dirs = cgroup.dirs.iter().filter(|dir| !dir.is_unified() && !dir.has("name=systemd")).cloned();
        let (shared, own): (Vec<_>, Vec<_>) = dirs.partition(|dir| SYSTEMDS.iter().any(|name| dir.has(name)));
        own.iter().try_for_each(|dir| self.mkdir(dir, &own).map(drop))?;
        record.parents.clone_from(&self.parents);
        // The slices above are systemd's: it would not notice that one is gone, and not set its limits again.
        shared.iter().try_for_each(|dir| self.mkdir(dir, &[]).map(drop))?;
        Ok(Created { record, unified: None, fresh: true })
    }

    /// Makes one directory, and those above it that do not exist. False: it existed. `all` are those of the container.
    fn mkdir(&mut self, dir: &Dir, all: &[Dir]) -> Result<bool> {
        let failed = |errno| failed("create cgroup", &dir.path, errno);
        // Another runtime may remove an empty parent at any time: its container was the last one there.
        for _ in 0..ATTEMPTS {
            match files::mkdir(&dir.path) {
                Ok(()) => {
                    self.dirs.push(dir.path.clone());
                    self.share(dir);
                    return Ok(true);
                }
                Err(Errno(libc::EEXIST)) => return Ok(false),
                Err(Errno(libc::ENOENT)) => {
                    self.announce(all)?;
                    self.mkdir_parents(dir).map_err(failed)?;
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(failed(Errno(libc::ENOENT)))
    }

    /// Tells of all parents that are missing, in all hierarchies, once.
    fn announce(&mut self, dirs: &[Dir]) -> Result<()> {
        if std::mem::replace(&mut self.announced, true) {
            return Ok(());
        }
        let missing = |dir: &Dir| parents(dir).into_iter().filter(|path| !path.exists()).collect::<Vec<_>>();
        (self.announce)(&dirs.iter().flat_map(missing).collect::<Vec<_>>())
    }

    fn mkdir_parents(&mut self, dir: &Dir) -> Result<(), Errno> {
        for parent in parents(dir) {
            match files::mkdir(&parent) {
                Ok(()) => {
                    files::mark_parent(&parent);
                    if !self.parents.contains(&parent) {
                        self.parents.push(parent);
                    }
                }
                Err(Errno(libc::EEXIST | libc::ENOENT)) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Those above that were made for an earlier container are this one's too: the last one that goes removes them.
    fn share(&mut self, dir: &Dir) {
        let mut all = parents(dir);
        all.retain(|parent| self.parents.contains(parent) || files::is_parent(parent));
        // The outer ones first.
        self.parents.retain(|parent| !all.contains(parent));
        self.parents.append(&mut all);
    }
}

/// The directories between a hierarchy's mount and the container's, the outer ones first.
fn parents(dir: &Dir) -> Vec<PathBuf> {
    let parents: Vec<_> = dir.path.ancestors().skip(1).take_while(|path| *path != dir.mount).collect();
    parents.into_iter().rev().map(Path::to_owned).collect()
}

/// Attaches the device program to the v2 directory.
fn attach(record: &Record, unified: &OwnedFd, fresh: bool, cgroup: &Cgroup) -> Result<()> {
    let Some(program) = &cgroup.devices else { return Ok(()) };
    match devices::attach(unified.as_fd(), program, fresh) {
        Ok(()) => Ok(()),
        // As on v1, where the directory could not be made.
        Err(errno) if cgroup.rootless && NOT_PERMITTED.contains(&errno.0) => Ok(()),
        Err(errno) => Err(failed("attach the device program to", &record.dirs[0].path, errno)),
    }
}

/// Gives the directories their controllers, limits and owner, on v1 also device rules. The result is the v2 directory.
fn limit(record: &Record, missing: &[Option<Errno>], fresh: bool, cgroup: &Cgroup) -> Result<Option<OwnedFd>> {
    let mut unified = None;
    if let Some(dir) = record.unified() {
        unified = Some(files::open_dir(&dir.path).map_err(|e| failed("open cgroup", &dir.path, e))?);
    }
    let at = |index: usize| unified.as_ref().filter(|_| cgroup.dirs[index].is_unified()).map(AsFd::as_fd);
    let mut attempts = 1..ATTEMPTS;
    loop {
        if let (Some(dir), Some(fd)) = (record.unified(), &unified) {
            enable_controllers(dir, fd.as_fd(), cgroup)?;
        }
        match write_all(&cgroup.dirs, missing, &at, &cgroup.writes) {
            // Whoever owns the cgroups above may take a controller back before it is used: systemd does, as it starts and
            // reloads, where none of its units needs it. ENODEV: the file was open already.
            Err(error)
                if !cgroup.controllers.is_empty()
                    && matches!(error.errno(), Some(Errno(libc::ENOENT | libc::ENODEV)))
                    && attempts.next().is_some() => {}
            written => break written?,
        }
    }

    // What was just made belongs to who made it.
    let owner = cgroup.owner.filter(|owner| !fresh || *owner != nix::unistd::geteuid().as_raw());
    if let (Some(owner), Some(fd)) = (owner, &unified) {
        match delegate(fd.as_fd(), &record.dirs[record.dirs.len() - 1].path, owner) {
            // An ordinary user can't give files away, not even to his subordinate ids.
            Err(error) if cgroup.rootless && error.errno() == Some(Errno(libc::EPERM)) => {}
            delegated => delegated?,
        }
    }
    Ok(unified)
}

/// `operation path: cause`.
fn failed(operation: &str, path: &Path, errno: Errno) -> Error {
    Error::system(format_args!("{operation} {}", path.display()), errno)
}

/// Gives a v2 directory its controllers. Normally the parent passes them on already, so that looking at the result is
/// all that is done.
fn enable_controllers(dir: &Dir, fd: BorrowedFd<'_>, cgroup: &Cgroup) -> Result<()> {
    if cgroup.controllers.is_empty() {
        return Ok(());
    }
    let read = |name| files::open(fd, Path::new(name), libc::O_RDONLY).and_then(|file| files::read_fd(file.as_fd()));
    let has =
        read("cgroup.controllers").map_err(|errno| failed("read", &dir.path.join("cgroup.controllers"), errno))?;
    if cgroup.controllers.iter().all(|wanted| has.split_whitespace().any(|name| name == wanted)) {
        return Ok(());
    }
    let mut path = dir.mount.clone();
    for name in dir.path.strip_prefix(&dir.mount).unwrap_or(&dir.path) {
        let file = path.join("cgroup.subtree_control");
        let enable: Vec<_> = cgroup.controllers.iter().map(|name| format!("+{name}")).collect();
        if files::write(&file, &enable.join(" ")).is_err() {
            // One that can't be enabled (no permission, or processes in the ancestor) must not take the others with it.
            // It is not an error here: whoever needs it for a limit will find its file missing.
            for name in enable {
                let _ = files::write(&file, &name);
            }
        }
        path.push(name);
        make_valid(&path, &cgroup.writes)?;
    }
    Ok(())
}

/// Below a threaded cgroup a new one is "domain invalid": no process can join it before it is threaded too, and only
/// threaded controllers are to be had then.
fn make_valid(path: &Path, limits: &[Write]) -> Result<()> {
    let file = path.join("cgroup.type");
    if files::read(&file).as_deref() != Ok("domain invalid\n") {
        return Ok(());
    }
    let domain =
        |write: &&Write| !["pids.", "cpuset.", "cgroup."].iter().any(|threaded| write.file.starts_with(threaded));
    if let Some(write) = limits.iter().find(domain) {
        let reason = format!("{} is below a threaded cgroup, which has no such controller", path.display());
        return Err(Error::unsupported(&write.pointer, reason));
    }
    files::write(&file, "threaded").map_err(|errno| failed("write \"threaded\" to", &file, errno))
}

/// The files of a delegated cgroup, in the kernel's own list; the list for kernels that do not tell.
fn delegate(fd: BorrowedFd<'_>, path: &Path, owner: u32) -> Result<()> {
    let list = match files::read(Path::new("/sys/kernel/cgroup/delegate")) {
        Ok(list) => list,
        Err(Errno(libc::ENOENT)) => "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned(),
        Err(errno) => return Err(failed("read", Path::new("/sys/kernel/cgroup/delegate"), errno)),
    };
    for name in std::iter::once(".").chain(list.lines()) {
        match files::chown(fd, Path::new(name), owner) {
            // Files of controllers that are not enabled here.
            Ok(()) | Err(Errno(libc::ENOENT)) => {}
            Err(errno) => return Err(failed(&format!("change the owner to {owner} of"), &path.join(name), errno)),
        }
    }
    Ok(())
}

/// Makes the writes. `missing` says for a directory why it could not be made, `at` gives an open directory.
pub(super) fn write_all<'fd>(
    dirs: &[Dir],
    missing: &[Option<Errno>],
    at: &dyn Fn(usize) -> Option<BorrowedFd<'fd>>,
    writes: &[Write],
) -> Result<()> {
    let mut writer = Writer { dirs, at, open: None };
    let mut later = Vec::new();
    for write in writes {
        if let Some(Some(errno)) = missing.get(write.dir) {
            if write.pointer.is_empty() || write.file.starts_with("devices.") {
                continue;
            }
            return Err(failed("create cgroup", &dirs[write.dir].path, *errno)
                .context(ROOTLESS)
                .context(&write.pointer)
                .with_pointer(&write.pointer));
        }
        match (writer.write(write), &write.on_failure) {
            (Ok(()), _)
            | (Err(Errno(libc::ENOENT)), OnFailure::Skip)
            | (Err(Errno(libc::EPERM | libc::EACCES)), OnFailure::SkipRefused) => {}
            (Err(Errno(libc::EINVAL)), OnFailure::Later) => later.push(write),
            (Err(Errno(libc::ENOENT)), OnFailure::Instead { file, value }) => {
                let other = Write { file: file.clone(), value: Value::Text(value.clone()), ..write.clone() };
                writer.write(&other).map_err(|errno| refused(&other, dirs, errno))?;
            }
            (Err(errno), _) => return Err(refused(write, dirs, errno)),
        }
    }
    for write in later {
        writer.write(write).map_err(|errno| refused(write, dirs, errno))?;
    }
    Ok(())
}

/// `write "1" to FILE: cause (POINTER)`.
fn refused(write: &Write, dirs: &[Dir], errno: Errno) -> Error {
    let dir = &dirs[write.dir].path;
    let file = dir.join(&write.file);
    let what = match &write.value {
        Value::Text(value) => format!("write {value:?} to {}", file.display()),
        Value::Parent => format!("copy the parent's value to {}", file.display()),
    };
    let mut why = errno.to_string();
    // dockerd and podman take "no such file or directory" for a program that the container lacks, and end with 127.
    if errno == Errno(libc::ENOENT) {
        why = if dir.exists() { "the kernel has no such control file" } else { "the cgroup is gone" }.to_owned();
    }
    if errno == Errno(libc::EBUSY) && write.file == "memory.limit_in_bytes" {
        let usage = |file: &str| files::read(&dir.join(file)).unwrap_or_default().trim().to_owned();
        let (now, peak) = (usage("memory.usage_in_bytes"), usage("memory.max_usage_in_bytes"));
        why += &format!(", the limit is below the use (current usage: {now}, peak usage: {peak})");
    }
    let controller = write.file.split('.').next().unwrap_or_default();
    let has = |text: String| text.split_whitespace().any(|name| name == controller);
    if matches!(errno, Errno(libc::ENOENT | libc::ENODEV))
        && dirs[write.dir].is_unified()
        && files::read(&dir.join("cgroup.controllers")).is_ok_and(|text| !has(text))
    {
        why += &format!(", the cgroups above do not pass the {controller} controller on");
    }
    let pointer = if write.pointer.is_empty() { String::new() } else { format!(" ({})", write.pointer) };
    let error = Error::new(ErrorKind::System, format!("{what}: {why}{pointer}")).with_errno(errno).with_operation(what);
    if write.pointer.is_empty() { error } else { error.with_pointer(&write.pointer) }
}

/// Writes into control files; the last file stays open, as the rules of a device cgroup all go into the same one.
struct Writer<'a, 'fd> {
    dirs: &'a [Dir],
    at: &'a dyn Fn(usize) -> Option<BorrowedFd<'fd>>,
    open: Option<(usize, String, OwnedFd)>,
}

impl Writer<'_, '_> {
    fn write(&mut self, write: &Write) -> Result<(), Errno> {
        let dir = &self.dirs[write.dir];
        let text = match &write.value {
            Value::Text(text) => {
                if write.file.starts_with("cpuset.") && !dir.is_unified() {
                    inherit(dir.path.parent().unwrap_or(&dir.path), &dir.mount, &write.file)?;
                }
                text
            }
            Value::Parent => return inherit(&dir.path, &dir.mount, &write.file).map(drop),
        };
        if !matches!(&self.open, Some((dir, file, _)) if *dir == write.dir && *file == write.file) {
            self.open = None;
            let name = Path::new(&write.file);
            let fd = match (self.at)(write.dir) {
                Some(fd) => files::open(fd, name, libc::O_WRONLY)?,
                None => files::open(files::CWD, &dir.path.join(name), libc::O_WRONLY)?,
            };
            self.open = Some((write.dir, write.file.clone(), fd));
        }
        self.open.as_ref().map_or(Ok(()), |(_, _, fd)| files::write_fd(fd, text))
    }
}

/// The value of a v1 cpuset file; an empty one is filled from the parent before, whose own may have to be filled.
fn inherit(dir: &Path, mount: &Path, file: &str) -> Result<String, Errno> {
    let path = dir.join(file);
    let value = files::read(&path)?;
    match dir.parent() {
        Some(parent) if value.trim().is_empty() && dir != mount => {
            let value = inherit(parent, mount, file)?;
            files::write(&path, value.trim())?;
            Ok(value)
        }
        _ => Ok(value),
    }
}

impl Record {
    /// Refuses a cgroup in which somebody lives, or in which nobody could: also a new one, where one around it is frozen.
    /// Its first process would stand still for ever, and the runtime would wait for it.
    fn expect_unused(&self, existed: bool) -> Result<()> {
        let count = if existed { self.pids()?.len() } else { 0 };
        if count != 0 {
            let what = format!("container's cgroup is not empty: {count} process(es) found");
            return Err(Error::new(ErrorKind::System, what));
        }
        if self.stands_still()? {
            return Err(Error::new(ErrorKind::System, "container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// The files by which a process enters the cgroup on its own, writing `0`: of every hierarchy, but of the unified one
    /// only if it is not born there. The descriptor carries the opener's rights (cgroups(7), since Linux 5.16).
    ///
    /// A single thread that writes itself into a `tasks` of v1 does not take the lock over all forks and ends of the machine
    /// (`cgroup_threadgroup_rwsem`, since Linux 5.5), for which who moves another process waits for RCU: some milliseconds.
    pub(crate) fn entries(&self, born_in_unified: bool) -> impl Iterator<Item = PathBuf> {
        let dirs = self.dirs.iter().filter(move |dir| !(born_in_unified && dir.is_unified()));
        dirs.map(|dir| dir.path.join(if dir.is_unified() { "cgroup.procs" } else { "tasks" }))
    }

    /// Moves a process into the cgroup, in every hierarchy; in the unified one too unless it was born there.
    pub fn place(&self, pid: i32, born_in_unified: bool) -> Result<()> {
        for dir in self.dirs.iter().filter(|dir| !(born_in_unified && dir.is_unified())) {
            let file = dir.path.join("cgroup.procs");
            match (files::write(&file, &pid.to_string()), &self.driver) {
                (Ok(()), _) => {}
                (Err(Errno(libc::EACCES | libc::EPERM)), Driver::Systemd(unit)) if unit.user => {
                    systemd::attach(unit, systemd::below_unit(unit, &dir.path), pid)?;
                }
                (Err(errno), _) => return Err(failed(&format!("write \"{pid}\" to"), &file, errno)),
            }
        }
        Ok(())
    }

    /// The cgroups below the container's that `exec --cgroup` names: a path for all hierarchies (empty controller), or for
    /// the one of a v1 controller. It only places processes; what is done with the container works on the whole.
    pub fn below(&self, paths: &[(&str, &str)]) -> Result<Record> {
        let mut below = Record { parents: Vec::new(), ..self.clone() };
        for (controller, path) in paths {
            let relative = Path::new(path.trim_start_matches('/'));
            if relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
                return Err(Error::new(ErrorKind::InvalidSpec, format!("bad sub cgroup path: {path}")));
            }
            let mut known = false;
            for (dir, own) in below.dirs.iter_mut().zip(&self.dirs) {
                if controller.is_empty() || own.has(controller) {
                    dir.path = own.path.join(relative);
                    known = true;
                }
            }
            if !known {
                let what = format!("unknown controller {controller} in --cgroup flag");
                return Err(Error::new(ErrorKind::InvalidSpec, what));
            }
        }
        Ok(below)
    }

    /// The v2 directory, for CLONE_INTO_CGROUP. `None`: pure v1.
    pub fn open_unified(&self) -> Result<Option<OwnedFd>> {
        let open = |dir: &Dir| files::open_dir(&dir.path).map_err(|errno| failed("open cgroup", &dir.path, errno));
        self.unified().map(open).transpose()
    }

    /// The cgroup where init is now, on v2: for a process that can't be in the container's own because that has given its
    /// controllers to children (systemd in a container does so). Like [`Record::below`] it only places processes.
    pub fn beside(&self, init: i32) -> Result<Record> {
        let mut beside = Record { parents: Vec::new(), ..self.clone() };
        let Some(dir) = beside.dirs.iter_mut().find(|dir| dir.is_unified()) else { return Ok(beside) };
        let file = PathBuf::from(format!("/proc/{init}/cgroup"));
        let text = files::read(&file).map_err(|errno| failed("read", &file, errno))?;
        let memberships = super::layout::Membership::parse(&text);
        let Some(own) = memberships.iter().find(|membership| membership.hierarchy.is_empty()) else {
            return Err(failed("find the v2 cgroup in", &file, Errno(libc::ENOENT)));
        };
        dir.path = super::layout::below(&dir.mount, &own.path);
        Ok(beside)
    }
}
