//! Labels of the security modules, where the machine has none.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Ctx, Outcome, args, contains, ensure, eq, skip};
use crate::frame::Case;

/// Loads a profile that allows all but writing to /denied, and looks whether a container and who enters it get it.
fn confined(x: &Ctx) -> Outcome {
    let parser = Path::new("/usr/sbin/apparmor_parser");
    if !parser.exists() {
        return skip("no apparmor_parser");
    }
    let name = format!("{}profile", x.job.tag);
    let profile = format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n file,\n capability,\n network,\n mount,\n ptrace,\n \
         signal,\n unix,\n deny /denied w,\n}}\n"
    );
    let parse = |how: &str| x.program(parser, ["--skip-cache", how]).input(&profile)?.go()?.ok();
    parse("--replace")?;
    let seen = || -> Outcome {
        let deeds = "cat /proc/self/attr/apparmor/current , write /denied x , write /allowed x";
        let want = [json!(format!("{name} (enforce)\n")), json!("EACCES"), json!("ok")];
        let b = x.bundle(|c| {
            c["process"]["apparmorProfile"] = json!(name);
            args(c, deeds);
        })?;
        eq("the container", x.run(&b)?.ok()?.results(), &want[..])?;
        let live = x.live(|c| c["process"]["apparmorProfile"] = json!(name))?;
        let words = ["exec", &live.id, "/probe"].into_iter().chain(deeds.split(' '));
        eq("who enters it", x.rt(words)?.ok()?.results(), &want[..])?;
        let words = ["exec", "--apparmor", "unconfined", &live.id, "/probe", "cat", "/proc/self/attr/apparmor/current"];
        eq("exec --apparmor unconfined", x.rt(words)?.ok()?.results(), vec![json!("unconfined\n")])?;
        let b = x.bundle(|c| c["process"]["apparmorProfile"] = json!("no-such-profile"))?;
        let out = x.run(&b)?;
        ensure(out.status != 0 && !out.stdout.contains("\"uid\""), "a profile that is not loaded was accepted")?;
        contains("stderr", &out.stderr, &["apparmor"])
    };
    let outcome = seen();
    parse("--remove")?;
    outcome
}

/// A label that this machine can't give is an invalid value.
pub(super) fn labels() -> Vec<Case> {
    let apparmor = || fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y'));
    let selinux = || Path::new("/sys/fs/selinux/enforce").exists();
    let context = "system_u:object_r:container_file_t:s0:c715,c811";
    let refused = |x: &Ctx, patch: &dyn Fn(&mut Value)| {
        let b = x.bundle(|c| patch(c))?;
        let out = x.run(&b)?;
        ensure(out.status != 0, "it was accepted")?;
        ensure(!out.stdout.contains("\"uid\""), "the program ran")
    };
    vec![
        case("label/apparmor", "config.md Linux Process: apparmorProfile", move |x| {
            if apparmor() {
                return confined(x);
            }
            refused(x, &|c| c["process"]["apparmorProfile"] = json!("no-such-profile"))
        }),
        case("label/selinux", "config.md Linux Process: selinuxLabel", move |x| {
            if selinux() {
                return skip("written for a machine without SELinux, and never run on one that has it");
            }
            refused(x, &|c| c["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0:c715,c811"))
        }),
        case("label/mount", "config-linux.md Mount Label", move |x| {
            if selinux() {
                return skip("written for a machine without SELinux, and never run on one that has it");
            }
            refused(x, &|c| c["linux"]["mountLabel"] = json!(context))
        }),
    ]
}
