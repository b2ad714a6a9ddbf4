//! Changing the limits of a container that runs.

use super::create::write_all;
use super::resources::{Limits, limits};
use super::{Dir, Record, files};
use crate::spec::{Memory, Resources};
use crate::{Error, ErrorKind, Result};

impl Record {
    /// Sets the limits that `resources` has; what it does not have stays as it is. Device rules are left alone: runc does
    /// so since an update took away the devices of running containers for an instant (runc#2204).
    ///
    /// Returns what could not have an effect, as [`super::Cgroup::ignored`].
    pub fn update(&self, resources: &Resources) -> Result<Vec<(String, String)>> {
        let Limits { writes, ignored } = limits(resources, &self.dirs, None)?;
        if let [dir] = self.dirs.as_slice()
            && dir.is_unified()
            && resources.memory.check_before_update
        {
            check_memory(dir, &resources.memory)?;
        }
        write_all(&self.dirs, &[], &|_| None, &writes)?;
        Ok(ignored)
    }
}

/// v2 takes a limit below the use and then kills; v1 refuses it by itself. As the use changes all the time this is
/// best effort, as with runc.
fn check_memory(dir: &Dir, memory: &Memory) -> Result<()> {
    let Some(usage) = files::read(&dir.path.join("memory.current")).ok().and_then(|text| text.trim().parse().ok())
    else {
        return Ok(());
    };
    let checks: [(_, Option<i64>, _); 2] =
        [("memory+swap limit", memory.swap, "swap"), ("memory limit", memory.limit, "limit")];
    for (name, limit, field) in checks {
        if let Some(limit) = limit.filter(|limit| *limit > 0 && *limit <= usage) {
            let what = format!("rejecting {name} {limit} <= usage {usage} (/linux/resources/memory/{field})");
            return Err(Error::new(ErrorKind::System, what));
        }
    }
    Ok(())
}
