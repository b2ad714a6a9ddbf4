//! `--version`, and the name under which the program runs.
//!
//! go-runc takes a version only from a line that begins with `runc version `, nerdctl wants exactly three words on the
//! first line, and dockerd takes the last line with the word `version` in it and then the line `commit:`. Installed as
//! `runc`, the program is runc to all of them; under any other name it says who it is.

/// The program's name for whom it may concern: `runc` when started so, else `orlop`.
pub(crate) fn name(program: &str) -> &'static str {
    match program.rsplit('/').next() {
        Some("runc") => "runc",
        _ => env!("CARGO_BIN_NAME"),
    }
}

/// What `--version` prints.
pub(crate) fn text(name: &str) -> String {
    format!(
        "{name} version {}\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        // Set by whoever builds a release; a build of a working tree has none to name.
        option_env!("ORLOP_COMMIT").unwrap_or("unknown"),
        runtime_core::spec::OCI_VERSION,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |program, expect| assert_eq!(name(program), expect, "{program}");
        check("runc", "runc");
        check("/usr/sbin/runc", "runc");
        check("./orlop", "orlop");
        check("/opt/runc/orlop", "orlop");
        check("docker-runc", "orlop");
        check("", "orlop");
    }

    #[test]
    fn engines_can_read_it() {
        let text = text("runc");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("runc version "));
        assert_eq!(lines[0].split(' ').count(), 3);
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
        assert_eq!(text.matches("version").count(), 1);
    }
}
