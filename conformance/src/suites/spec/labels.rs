//! Labels of the security modules: given, or refused where the machine has no such module.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{case, path};
use crate::ctx::{Ctx, Outcome, args, contains, ensure, eq, skip};
use crate::frame::Case;

/// Whether this machine has AppArmor.
pub(crate) fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y'))
}

/// Does something while a profile, whose name it gets, is loaded: one that allows all but writing to /denied.
pub(crate) fn with_profile(x: &Ctx, run: impl FnOnce(&str) -> Outcome) -> Outcome {
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
    let outcome = run(&name);
    parse("--remove")?;
    outcome
}

/// A container and who enters it get the profile.
fn confined(x: &Ctx) -> Outcome {
    with_profile(x, |name| {
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
    })
}

/// What is asked of a machine that has not the module is refused with the module's name.
fn refused(x: &Ctx, module: &str, patch: impl FnOnce(&mut Value)) -> Outcome {
    let b = x.bundle(patch)?;
    let out = x.run(&b)?;
    ensure(out.status != 0, format_args!("it was accepted where there is no {module}"))?;
    ensure(!out.stdout.contains("\"uid\""), "the program ran")?;
    // A mount's label is an option of the mount, which the kernel then refuses.
    let named = [module, "context="].iter().any(|word| out.stderr.to_lowercase().contains(word));
    ensure(named, format_args!("the message does not name it: {}", out.stderr))
}

pub(super) fn labels() -> Vec<Case> {
    let selinux = || Path::new("/sys/fs/selinux/enforce").exists();
    vec![
        case("label/apparmor", "config.md Linux Process: apparmorProfile", move |x| {
            if has_apparmor() {
                return confined(x);
            }
            refused(x, "apparmor", |c| c["process"]["apparmorProfile"] = json!("unconfined"))
        }),
        case("label/selinux", "config.md Linux Process: selinuxLabel", move |x| {
            let label = json!("system_u:system_r:container_t:s0:c715,c811");
            if !selinux() {
                return refused(x, "selinux", |c| c["process"]["selinuxLabel"] = label);
            }
            let f = x.facts(|c| {
                c["process"]["selinuxLabel"] = label.clone();
                args(c, "report /proc/self/attr/current");
            })?;
            let current = &path(&f, "/proc/self/attr/current")["text"];
            eq("label", current.as_str().map(|t| t.trim_matches(['\0', '\n'])), label.as_str())
        }),
        case("label/mount", "config-linux.md Mount Label", move |x| {
            let label = json!("system_u:object_r:container_file_t:s0:c715,c811");
            if !selinux() {
                return refused(x, "selinux", |c| c["linux"]["mountLabel"] = label);
            }
            contains("the mounts", &x.facts(|c| c["linux"]["mountLabel"] = label)?["mounts"].to_string(), &["context="])
        }),
    ]
}
