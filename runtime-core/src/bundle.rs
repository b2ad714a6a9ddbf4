//! A configuration, and the directory it belongs to (`bundle.md`).

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::spec::Spec;
use crate::sys::Errno;
use crate::trace::span;

/// A container's configuration, and the directory from which its relative paths are taken.
///
/// It comes from a directory with a `config.json`, as engines write it, or from a program that has made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    directory: PathBuf,
    spec: Spec,
    warnings: Vec<String>,
    config: Vec<u8>,
}

impl Bundle {
    /// Reads `config.json` in a directory.
    ///
    /// # Errors
    /// The file can't be read, is not JSON (with line and column), or holds a value that is refused ([`Error::pointer`]).
    pub fn load(directory: impl AsRef<Path>) -> Result<Self> {
        let _span = span(|| "read config.json");
        let directory = absolute(directory.as_ref())?;
        let file = directory.join("config.json");
        let config = files::read(&file).map_err(|errno| match errno {
            // runc's text.
            Errno(libc::ENOENT) => {
                Error::new(ErrorKind::InvalidSpec, format!("JSON specification file {} not found", file.display()))
            }
            _ => Error::system(format_args!("read {}", file.display()), errno),
        })?;
        Bundle::new(directory, config, file.display())
    }

    /// Takes the text of a `config.json`, which need not be in a file. The directory need not exist where `root.path` is
    /// absolute.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    pub fn from_json(directory: impl AsRef<Path>, config: impl Into<Vec<u8>>) -> Result<Self> {
        Bundle::new(absolute(directory.as_ref())?, config.into(), "config.json")
    }

    /// Takes the model of the crate `oci-spec`.
    ///
    /// # Errors
    /// As [`Bundle::load`].
    #[cfg(feature = "oci-spec")]
    pub fn from_oci_spec(directory: impl AsRef<Path>, spec: &oci_spec::runtime::Spec) -> Result<Self> {
        let config = serde_json::to_vec(spec)
            .map_err(|error| Error::new(ErrorKind::InvalidSpec, format!("write the configuration: {error}")))?;
        Bundle::from_json(directory, config)
    }

    fn new(directory: PathBuf, config: Vec<u8>, name: impl std::fmt::Display) -> Result<Self> {
        let (spec, warnings) = Spec::parse(&config, &directory, name)?;
        Ok(Bundle { directory, spec, warnings, config })
    }

    /// Absolute.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The configuration, typed and validated.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What was read although it is not as it should be: one line each, beginning with a JSON pointer.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The text from which it was read.
    pub(crate) fn config(&self) -> &[u8] {
        &self.config
    }
}

/// A path from the root directory; links in it stay.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::system(format!("find {}", path.display()), e.into()))
}
