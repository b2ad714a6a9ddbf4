//! One of `mounts`: the option strings become what acts on them.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::json::{Node, Object};
use super::linux::mappings;
use super::types::{
    IdMapping, Linux, Mount, MountIdmap, MountIds, MountKind, Namespace, Propagation, PropagationKind, SourceLink,
};
use crate::Result;

/// What an option asks for.
#[derive(Clone, Copy)]
enum Act {
    /// Nothing: it is the default, or it only speaks to mount(8).
    Nothing,
    /// `bind`, `rbind`.
    Bind { recursive: bool },
    /// A per-mount attribute.
    Attr(Attr),
    /// A per-mount attribute of this mount and of all below it.
    RecAttr(Attr),
    /// A superblock flag, `MS_*`, on or off.
    Super(u64, bool),
    /// `ro` and `rw` are both: of a new file system the superblock too, as mount(2) has it.
    ReadOnly(bool),
    /// A propagation type.
    Propagate(PropagationKind, bool),
    /// `idmap`, `ridmap`.
    Idmap { recursive: bool },
    /// `remount`.
    Remount,
    /// `tmpcopyup`.
    CopyUp,
    /// `src-nofollow`, `copy-symlink`.
    SourceLink(SourceLink),
    /// `dest-nofollow`.
    OverLink,
}

#[derive(Clone, Copy)]
enum Attr {
    Set(u64),
    Clear(u64),
    /// Choose an access time policy: the three exclude each other.
    Atime(u64),
    /// Take the choice of a policy back, if it is this one.
    NotAtime(u64),
}

// linux/mount.h. The policies are values of the field MOUNT_ATTR__ATIME, not bits.
const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;

/// Every option that is not a file system's own, sorted by name: `config.md`, *Linux mount options*, and what runc and
/// crun add to it. `features` lists these too.
const OPTIONS: [(&str, Act); 65] = {
    use Act::{
        Attr as A, Bind, CopyUp, Idmap, Nothing, OverLink, Propagate, ReadOnly, RecAttr as R, Remount,
        SourceLink as Link, Super,
    };
    use Attr::{Atime, Clear, NotAtime, Set};
    use PropagationKind::{Private, Shared, Slave, Unbindable};
    [
        ("async", Super(libc::MS_SYNCHRONOUS, false)),
        ("atime", A(NotAtime(NOATIME))),
        ("bind", Bind { recursive: false }),
        ("copy-symlink", Link(SourceLink::Copy)),
        ("defaults", Nothing),
        ("dest-nofollow", OverLink),
        ("dev", A(Clear(NODEV))),
        ("diratime", A(Clear(NODIRATIME))),
        ("dirsync", Super(libc::MS_DIRSYNC, true)),
        ("exec", A(Clear(NOEXEC))),
        ("idmap", Idmap { recursive: false }),
        ("iversion", Super(libc::MS_I_VERSION, true)),
        ("lazytime", Super(libc::MS_LAZYTIME, true)),
        // silent and loud: whether mount(2) may write to the kernel's log. Nothing that a container could observe.
        ("loud", Nothing),
        ("mand", Super(libc::MS_MANDLOCK, true)),
        ("noatime", A(Atime(NOATIME))),
        ("nodev", A(Set(NODEV))),
        ("nodiratime", A(Set(NODIRATIME))),
        ("noexec", A(Set(NOEXEC))),
        ("noiversion", Super(libc::MS_I_VERSION, false)),
        ("nolazytime", Super(libc::MS_LAZYTIME, false)),
        ("nomand", Super(libc::MS_MANDLOCK, false)),
        ("norelatime", A(NotAtime(RELATIME))),
        ("nostrictatime", A(NotAtime(STRICTATIME))),
        ("nosuid", A(Set(NOSUID))),
        ("nosymfollow", A(Set(NOSYMFOLLOW))),
        ("private", Propagate(Private, false)),
        ("ratime", R(NotAtime(NOATIME))),
        ("rbind", Bind { recursive: true }),
        ("rdev", R(Clear(NODEV))),
        ("rdiratime", R(Clear(NODIRATIME))),
        ("relatime", A(Atime(RELATIME))),
        ("remount", Remount),
        ("rexec", R(Clear(NOEXEC))),
        ("ridmap", Idmap { recursive: true }),
        ("rnoatime", R(Atime(NOATIME))),
        ("rnodev", R(Set(NODEV))),
        ("rnodiratime", R(Set(NODIRATIME))),
        ("rnoexec", R(Set(NOEXEC))),
        ("rnorelatime", R(NotAtime(RELATIME))),
        ("rnostrictatime", R(NotAtime(STRICTATIME))),
        ("rnosuid", R(Set(NOSUID))),
        ("rnosymfollow", R(Set(NOSYMFOLLOW))),
        ("ro", ReadOnly(true)),
        ("rprivate", Propagate(Private, true)),
        ("rrelatime", R(Atime(RELATIME))),
        ("rro", R(Set(RDONLY))),
        ("rrw", R(Clear(RDONLY))),
        ("rshared", Propagate(Shared, true)),
        ("rslave", Propagate(Slave, true)),
        ("rstrictatime", R(Atime(STRICTATIME))),
        ("rsuid", R(Clear(NOSUID))),
        ("rsymfollow", R(Clear(NOSYMFOLLOW))),
        ("runbindable", Propagate(Unbindable, true)),
        ("rw", ReadOnly(false)),
        ("shared", Propagate(Shared, false)),
        ("silent", Nothing),
        ("slave", Propagate(Slave, false)),
        ("src-nofollow", Link(SourceLink::Mount)),
        ("strictatime", A(Atime(STRICTATIME))),
        ("suid", A(Clear(NOSUID))),
        ("symfollow", A(Clear(NOSYMFOLLOW))),
        ("sync", Super(libc::MS_SYNCHRONOUS, true)),
        ("tmpcopyup", CopyUp),
        ("unbindable", Propagate(Unbindable, false)),
    ]
};

/// The options that [`Spec`](super::Spec) knows and honours, sorted: `mountOptions` of `features`.
pub(crate) fn options() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// Attributes to set and to clear, of which the last written wins.
#[derive(Default)]
struct Attrs {
    set: u64,
    clear: u64,
}

impl Attrs {
    fn apply(&mut self, attr: Attr) {
        match attr {
            Attr::Set(bit) => {
                self.set |= bit;
                self.clear &= !bit;
            }
            Attr::Clear(bit) => {
                self.clear |= bit;
                self.set &= !bit;
            }
            // mount_setattr(2): to set a policy, the whole field MOUNT_ATTR__ATIME must be cleared with it.
            Attr::Atime(policy) => {
                self.set = self.set & !ATIME | policy;
                self.clear |= ATIME;
            }
            // `atime` says more than that `noatime` was not written: it undoes the noatime of a bind's source. That the
            // others are not set is the kernel's default.
            Attr::NotAtime(policy) => {
                let chosen = (self.clear & ATIME == ATIME).then_some(self.set & ATIME);
                if policy == NOATIME && chosen.is_none_or(|p| p == NOATIME) {
                    self.apply(Attr::Atime(RELATIME));
                } else if chosen == Some(policy) {
                    self.set &= !ATIME;
                    self.clear &= !ATIME;
                }
            }
        }
    }
}

/// Reads one of `mounts`. A relative source of a bind is taken from `bundle`.
pub(super) fn mount(at: Node<'_>, bundle: &Path, linux: &Linux, warnings: &mut Vec<String>) -> Result<Mount> {
    let o = at.object()?;

    let mut bind = None;
    let mut copy_up = false;
    let mut idmap_option = None;
    let (mut source_link, mut link_option) = (SourceLink::Follow, None);
    let mut over_link = false;
    let mut option_ids = None;
    let (mut attrs, mut rec_attrs) = (Attrs::default(), Attrs::default());
    let (mut sb_flags, mut sb_clear) = (0, 0);
    let mut remount = false;
    let mut propagation = Vec::new();
    let mut data = Vec::new();
    let options = o.field("options");
    options.list(|at| {
        let option = at.required(at.str())?;
        // podman writes some.
        if option.is_empty() {
            return Ok(());
        }
        if let Some(maps) = option.strip_prefix("ridmap=").or_else(|| option.strip_prefix("idmap=")) {
            idmap_option = Some((option.starts_with('r'), at.to_string()));
            option_ids = Some(mappings_of_option(at, maps, linux)?);
            return Ok(());
        }
        let Ok(known) = OPTIONS.binary_search_by_key(&option, |(name, _)| name) else {
            data.push((at.to_string(), own_options(at, option)?));
            return Ok(());
        };
        match OPTIONS[known].1 {
            Act::Nothing => {}
            Act::Bind { recursive } => bind = Some(recursive || bind == Some(true)),
            Act::Attr(attr) => attrs.apply(attr),
            Act::RecAttr(attr) => rec_attrs.apply(attr),
            Act::Super(flag, true) => {
                sb_flags |= flag;
                sb_clear &= !flag;
            }
            Act::Super(flag, false) => {
                sb_flags &= !flag;
                sb_clear |= flag;
            }
            Act::ReadOnly(true) => {
                attrs.apply(Attr::Set(RDONLY));
                sb_flags |= libc::MS_RDONLY;
                sb_clear &= !libc::MS_RDONLY;
            }
            Act::ReadOnly(false) => {
                attrs.apply(Attr::Clear(RDONLY));
                sb_flags &= !libc::MS_RDONLY;
                sb_clear |= libc::MS_RDONLY;
            }
            Act::Propagate(kind, recursive) => propagation.push(Propagation { kind, recursive }),
            Act::Idmap { recursive } => {
                let before = idmap_option.as_ref().is_some_and(|(recursive, _)| *recursive);
                idmap_option = Some((recursive || before, at.to_string()));
            }
            Act::Remount => remount = true,
            Act::CopyUp => copy_up = true,
            Act::SourceLink(link) => {
                if source_link != SourceLink::Follow && source_link != link {
                    return Err(at.refuse("copy-symlink and src-nofollow exclude each other"));
                }
                source_link = link;
                link_option = Some((at.to_string(), option.to_owned()));
            }
            Act::OverLink => over_link = true,
        }
        Ok(())
    })?;
    let idmap = match option_ids {
        Some(ids) => idmap_of_option(&o, ids, idmap_option)?,
        None => idmap(&o, idmap_option, linux)?,
    };

    let (fstype, source) = (o.field("type"), o.field("source"));
    let kind = match (bind, fstype.text()?) {
        (bind, _) if remount => {
            if idmap.is_some() {
                return Err(options.refuse("a mount in place can't be idmapped"));
            }
            if let Some((pointer, _)) = data.first().filter(|_| bind.is_some()) {
                return Err(crate::Error::refused(
                    pointer,
                    "bind mounts cannot have any filesystem-specific options applied",
                ));
            }
            if (sb_flags | sb_clear) & libc::MS_I_VERSION != 0 {
                return Err(options.unsupported("the option iversion can't be changed by remount"));
            }
            let data = data.into_iter().flat_map(|(_, options)| options).collect();
            MountKind::Remount { bind: bind.is_some(), data, sb_set: sb_flags, sb_clear }
        }
        (Some(recursive), _) => {
            // The kernel ignores them for a bind, so nobody would get what he asked for. runc since 1.2 refuses too.
            if let Some((pointer, _)) = data.first() {
                return Err(crate::Error::refused(
                    pointer,
                    "bind mounts cannot have any filesystem-specific options applied",
                ));
            }
            let path = bundle.join(source.required(source.text())?);
            MountKind::Bind { source: source.to_cstring(path.as_os_str().as_bytes())?, recursive }
        }
        (None, None) => return Err(fstype.refuse("must be set, as the mount is not a bind")),
        // Neither runc nor crun takes it for a bind, and the kernel's answer (ENODEV) helps nobody.
        (None, Some("bind" | "rbind")) => {
            return Err(fstype.refuse("a bind mount needs \"bind\" or \"rbind\" in its options"));
        }
        (None, Some("cgroup" | "cgroup2")) => {
            for (pointer, _) in &data {
                warnings.push(format!("{pointer}: a cgroup mount has no options of its own, ignored"));
            }
            MountKind::Cgroup
        }
        (None, Some(name)) => MountKind::Filesystem {
            fstype: fstype.to_cstring(name)?,
            source: source.cstring()?.unwrap_or_default(),
            data: data.into_iter().flat_map(|(_, options)| options).collect(),
            sb_flags,
            copy_up,
        },
    };
    if copy_up && !matches!(&kind, MountKind::Filesystem { fstype, .. } if fstype.as_bytes() == b"tmpfs") {
        return Err(options.refuse("tmpcopyup is for tmpfs only"));
    }

    if let Some((pointer, _)) = link_option.as_ref().filter(|_| over_link && source_link == SourceLink::Copy) {
        return Err(crate::Error::refused(pointer, "copy-symlink and dest-nofollow exclude each other"));
    }
    if let Some((pointer, option)) = link_option.filter(|_| !matches!(kind, MountKind::Bind { .. })) {
        return Err(crate::Error::refused(pointer, format_args!("{option} is for bind mounts only")));
    }

    let destination = o.field("destination");
    let path = destination.required(destination.text())?;
    let path = if path.starts_with('/') {
        destination.to_cstring(path)?
    } else {
        warnings.push(format!(
            "{destination}: mount destination {} is not absolute, taken as relative to / (this is deprecated)",
            path.escape_debug()
        ));
        destination.to_cstring(format!("/{path}"))?
    };

    Ok(Mount {
        destination: path,
        kind,
        attr_set: attrs.set,
        attr_clear: attrs.clear,
        rec_attr_set: rec_attrs.set,
        rec_attr_clear: rec_attrs.clear,
        propagation,
        idmap,
        source_link,
        over_link,
    })
}

/// `option` is whether it says `ridmap`, and where. Mappings without the option are applied to the one mount, as runc does:
/// containerd wrote such.
fn idmap(o: &Object<'_>, option: Option<(bool, String)>, linux: &Linux) -> Result<Option<MountIdmap>> {
    let (uids_at, gids_at) = (o.field("uidMappings"), o.field("gidMappings"));
    let (uids, gids) = (mappings(uids_at)?, mappings(gids_at)?);
    let ids = match (uids.is_empty(), gids.is_empty()) {
        (false, false) => MountIds::Mappings { uids, gids },
        (true, false) => return Err(uids_at.refuse("must be set along with gidMappings")),
        (false, true) => return Err(gids_at.refuse("must be set along with uidMappings")),
        (true, true) => {
            let Some((_, pointer)) = &option else { return Ok(None) };
            match &linux.namespaces.user {
                Namespace::New => {
                    MountIds::Mappings { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone() }
                }
                Namespace::Path(path) => MountIds::Namespace(path.clone()),
                Namespace::Host => {
                    let why = "without uidMappings and gidMappings, an idmapped mount needs a user namespace";
                    return Err(crate::Error::refused(pointer, why));
                }
            }
        }
    };
    Ok(Some(MountIdmap { ids, recursive: option.is_some_and(|(recursive, _)| recursive) }))
}

/// crun's and podman's `idmap=uids=0-1-10#10-11-10;gids=@0-100-10`: the first id on the file system, the first one on the
/// host (with `@`, in the container's user namespace), how many. What is not said is as in the container's user namespace.
fn mappings_of_option(at: Node<'_>, text: &str, linux: &Linux) -> Result<MountIds> {
    let (mut uids, mut gids) = (linux.uid_mappings.clone(), linux.gid_mappings.clone());
    for part in text.split(';') {
        match part.split_once('=') {
            Some(("uids", ranges)) => uids = ranges_of_option(at, ranges, &linux.uid_mappings)?,
            Some(("gids", ranges)) => gids = ranges_of_option(at, ranges, &linux.gid_mappings)?,
            _ => return Err(at.refuse(format_args!("{part:?} is neither uids=... nor gids=..."))),
        }
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(at.refuse("without a user namespace both uids and gids must be given"));
    }
    Ok(MountIds::Mappings { uids, gids })
}

fn ranges_of_option(at: Node<'_>, ranges: &str, container: &[IdMapping]) -> Result<Vec<IdMapping>> {
    ranges
        .split('#')
        .map(|range| {
            let bad = || at.refuse(format_args!("{range:?} is not three numbers, each but the last up to 4294967294"));
            let (relative, numbers) = range.strip_prefix('@').map_or((false, range), |numbers| (true, numbers));
            let numbers: Vec<u32> = numbers.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
            let [inside, outside, size] = numbers[..] else { return Err(bad()) };
            if size == 0 || inside.checked_add(size).is_none() || outside.checked_add(size).is_none() {
                return Err(bad());
            }
            if !relative {
                return Ok(IdMapping { inside, outside, size });
            }
            let holds = |m: &&IdMapping| m.inside <= outside && outside - m.inside + size <= m.size;
            match container.iter().find(holds) {
                Some(m) => Ok(IdMapping { inside, outside: m.outside + (outside - m.inside), size }),
                None => Err(at.refuse(format_args!("{range:?} is in no mapping of the container's user namespace"))),
            }
        })
        .collect()
}

fn idmap_of_option(o: &Object<'_>, ids: MountIds, option: Option<(bool, String)>) -> Result<Option<MountIdmap>> {
    for field in ["uidMappings", "gidMappings"] {
        if !o.field(field).is_empty() {
            return Err(o.field(field).refuse("the mount has mappings in its options"));
        }
    }
    Ok(Some(MountIdmap { ids, recursive: option.is_some_and(|(recursive, _)| recursive) }))
}

/// A file system's own options in one string: mount(2) takes them as one text and parts them at commas, fsconfig(2)
/// wants them one by one. Quotes (SELinux contexts) and backslashes (overlay's paths) protect commas, so such a string
/// stays whole.
fn own_options(at: Node<'_>, option: &str) -> Result<Vec<CString>> {
    if option.contains(['"', '\\']) {
        return Ok(vec![at.to_cstring(option)?]);
    }
    option.split(',').filter(|o| !o.is_empty()).map(|o| at.to_cstring(o)).collect()
}
