//! Paths inside the container, resolved at the moment of use: the one place where a name that the container may have
//! shaped meets the file system.
//!
//! Every path here is an allegation. It is walked by openat2(RESOLVE_IN_ROOT), which keeps absolute links and `..` below
//! the root (CVE-2019-18837, CVE-2021-30465, CVE-2024-45310, CVE-2025-24965); what comes out is a descriptor, and only
//! that is used from then on. What is created is created with the `*at` calls in a directory that is held open.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{self, Errno, Result};

/// A path in a fixed buffer, which always ends with a NUL.
struct PathBuffer {
    bytes: [u8; libc::PATH_MAX as usize],
    length: usize,
}

impl PathBuffer {
    fn new() -> Self {
        PathBuffer { bytes: [0; libc::PATH_MAX as usize], length: 0 }
    }

    fn push(&mut self, part: &[u8]) -> Result<()> {
        let end = self.length + part.len();
        // One byte stays for the NUL.
        let room = self.bytes.get_mut(self.length..end + 1).ok_or(Errno(libc::ENAMETOOLONG))?;
        let (text, nul) = room.split_at_mut(part.len());
        text.copy_from_slice(part);
        nul.fill(0);
        self.length = end;
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// Opens what a path refers to, O_PATH, following links inside the root.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    sys::openat2(root, path, flags | libc::O_PATH, 0, sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS)
}

/// Opens the symbolic link that a path ends at, O_PATH. `None`: something else stands there, or nothing.
pub(crate) fn link(root: BorrowedFd<'_>, path: &CStr) -> Result<Option<OwnedFd>> {
    match open(root, path, libc::O_NOFOLLOW) {
        Ok(fd) if sys::fstat(fd.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFLNK => Ok(Some(fd)),
        Ok(_) | Err(Errno(libc::ENOENT)) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens what a path refers to, O_PATH, where no part of the path may be a link.
fn open_ordinary(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    sys::openat2(root, path, flags | libc::O_PATH, 0, sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_SYMLINKS)
}

/// Opens a directory where no part of the path may be a link, and makes it where it is missing.
pub(crate) fn ordinary_directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    match open_ordinary(root, path, libc::O_DIRECTORY) {
        Err(Errno(libc::ENOENT)) => {}
        result => return result,
    }
    directory(root, path)?;
    // Once more: who shares the root may have put a link there meanwhile, and what makes directories follows links.
    open_ordinary(root, path, libc::O_DIRECTORY)
}

/// Opens a directory and makes it, mode 0755, with all above it, where it is missing.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    match open(root, path, libc::O_DIRECTORY) {
        Err(Errno(libc::ENOENT)) => {}
        result => return result,
    }
    let mut whole = PathBuffer::new();
    whole.push(path.to_bytes())?;
    // Each round makes one directory or replaces one dangling link by what it says.
    let mut links = 0;
    'walk: loop {
        let mut prefix = PathBuffer::new();
        let mut rest = whole.bytes();
        let mut parent = open(root, c"/", libc::O_DIRECTORY)?;
        while let Some((name, tail)) = split_first(rest) {
            let above = prefix.length;
            prefix.push(b"/")?;
            prefix.push(name)?;
            parent = match open(root, prefix.as_cstr(), libc::O_DIRECTORY) {
                Ok(fd) => fd,
                Err(Errno(libc::ENOENT)) => {
                    let mut last = PathBuffer::new();
                    last.push(name)?;
                    match make_directory(parent.as_fd(), last.as_cstr()) {
                        Ok(fd) => fd,
                        // A link to something that is not there yet: make what it points to, inside the root.
                        Err(Errno(libc::ELOOP | libc::ENOTDIR)) => {
                            links += 1;
                            if links > 40 {
                                return Err(Errno(libc::ELOOP));
                            }
                            let mut next = PathBuffer::new();
                            let mut target = [0u8; libc::PATH_MAX as usize];
                            let length = sys::readlinkat(parent.as_fd(), last.as_cstr(), &mut target)?;
                            let target = target.get(..length).unwrap_or_default();
                            if target.first() != Some(&b'/') {
                                next.push(prefix.bytes().get(..above).unwrap_or_default())?;
                                next.push(b"/")?;
                            }
                            next.push(target)?;
                            next.push(b"/")?;
                            next.push(tail)?;
                            whole = next;
                            continue 'walk;
                        }
                        Err(errno) => return Err(errno),
                    }
                }
                Err(errno) => return Err(errno),
            };
            rest = tail;
        }
        return Ok(parent);
    }
}

/// Makes a directory, or takes the one that somebody else has made meanwhile (runc#4543: two containers may be made in
/// one root at once). ELOOP or ENOTDIR: a link stands there.
fn make_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    match sys::mkdirat(parent, name, 0o755) {
        Ok(()) | Err(Errno(libc::EEXIST)) => {}
        Err(errno) => return Err(errno),
    }
    sys::openat(parent, name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
}

/// Opens a file, O_PATH, and makes an empty one where it is missing.
pub(crate) fn file(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    match open(root, path, 0) {
        Err(Errno(libc::ENOENT)) => {}
        result => return result,
    }
    let entry = Parent::of(root, path)?;
    match sys::openat(entry.directory.as_fd(), entry.name.as_cstr(), CREATE, 0o644) {
        // Somebody else has made it, or a dangling link stands there: what it is now must lie inside.
        Err(Errno(libc::EEXIST)) => open(root, path, 0),
        result => result,
    }
}

const CREATE: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_RDONLY;

/// The directory of a path, made where it is missing, and the path's last name.
pub(crate) struct Parent {
    pub(crate) directory: OwnedFd,
    name: PathBuffer,
}

impl Parent {
    pub(crate) fn of(root: BorrowedFd<'_>, path: &CStr) -> Result<Self> {
        let bytes = path.to_bytes();
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let slash = bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
        let (above, last) = bytes.split_at(slash);
        if last.is_empty() || last == b"." || last == b".." {
            return Err(Errno(libc::EINVAL));
        }
        let mut directory_path = PathBuffer::new();
        directory_path.push(b"/")?;
        directory_path.push(above)?;
        let mut name = PathBuffer::new();
        name.push(last)?;
        // A link at /dev itself is nobody's wish: CVE-2026-41579 and CVE-2026-47766 made and removed entries through it.
        let directory = match directory_path.as_cstr().to_bytes() {
            b"//dev/" => ordinary_directory(root, c"/dev")?,
            _ => directory(root, directory_path.as_cstr())?,
        };
        Ok(Parent { directory, name })
    }

    pub(crate) fn name(&self) -> &CStr {
        self.name.as_cstr()
    }
}

/// The first name of a path and what follows it, without the slashes between.
fn split_first(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = path.iter().position(|&b| b != b'/')?;
    let path = path.get(start..)?;
    let end = path.iter().position(|&b| b == b'/').unwrap_or(path.len());
    Some(path.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("orlop-in-root-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root")).unwrap();
            Tree(path)
        }

        fn root(&self) -> OwnedFd {
            let path = CString::new(self.0.join("root").into_os_string().into_encoded_bytes()).unwrap();
            sys::openat(sys::CWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn directories_are_made_below_the_root_whatever_links_say() {
        let tree = Tree::new("dirs");
        let root = tree.0.join("root");
        symlink("/../../../outside", root.join("absolute")).unwrap();
        symlink("../../../outside2", root.join("relative")).unwrap();
        symlink("a/b", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, made) in [
            (c"/plain/x/y", "plain/x/y"),
            (c"/absolute/x", "outside/x"),
            (c"relative/x", "outside2/x"),
            (c"/dangling/c//d/", "a/b/c/d"),
            (c"/../../up", "up"),
        ] {
            directory(tree.root().as_fd(), path).unwrap();
            assert!(root.join(made).is_dir(), "{path:?}");
        }
        assert_eq!(directory(tree.root().as_fd(), c"/loop/x").unwrap_err(), Errno(libc::ELOOP));
        assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 1, "something was made outside");
    }

    #[test]
    fn an_ordinary_directory_is_no_link() {
        let tree = Tree::new("ordinary");
        let root = tree.0.join("root");
        symlink("real", root.join("link")).unwrap();
        symlink("none", root.join("dangling")).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        for (path, expect) in [
            (c"/real", Ok(())),
            (c"/new/deep", Ok(())),
            (c"/link", Err(Errno(libc::ELOOP))),
            (c"/dangling", Err(Errno(libc::ELOOP))),
            (c"/file", Err(Errno(libc::ENOTDIR))),
        ] {
            assert_eq!(ordinary_directory(tree.root().as_fd(), path).map(drop), expect, "{path:?}");
        }
        assert!(!root.join("none").exists());
    }

    #[test]
    fn files_are_made_below_the_root() {
        let tree = Tree::new("files");
        let root = tree.0.join("root");
        symlink("/../../conf", root.join("etc")).unwrap();
        file(tree.root().as_fd(), c"/etc/hosts").unwrap();
        assert!(root.join("conf/hosts").exists());
        assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 1, "something was made outside");
        file(tree.root().as_fd(), c"/etc/hosts").unwrap();
        assert_eq!(file(tree.root().as_fd(), c"/").map(drop), Ok(()));
    }

    #[test]
    fn names_are_split() {
        assert_eq!(split_first(b"//a/b"), Some((&b"a"[..], &b"/b"[..])));
        assert_eq!(split_first(b"a"), Some((&b"a"[..], &b""[..])));
        assert_eq!(split_first(b"//"), None);
    }
}
