//! Id mappings of user namespaces, user_namespaces(7).

use crate::spec::IdMapping;

/// The text of `/proc/PID/uid_map` or `gid_map`: a line `inside outside size` for each mapping. The kernel takes up to
/// 340 lines (4.15) in one write.
#[must_use]
pub fn map_text(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.inside, m.outside, m.size)).collect()
}

/// The id outside for an id inside. `None`: not mapped.
#[must_use]
pub fn outside(mappings: &[IdMapping], inside: u32) -> Option<u32> {
    mappings.iter().find_map(|m| {
        let offset = inside.checked_sub(m.inside)?;
        (offset < m.size).then(|| m.outside + offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let maps =
            [IdMapping { inside: 0, outside: 1000, size: 1 }, IdMapping { inside: 1, outside: 100_000, size: 65536 }];
        assert_eq!(map_text(&maps), "0 1000 1\n1 100000 65536\n");
        for (inside, expect) in [(0, Some(1000)), (1, Some(100_000)), (65536, Some(165_535)), (65537, None)] {
            assert_eq!(outside(&maps, inside), expect, "{inside}");
        }
    }
}
