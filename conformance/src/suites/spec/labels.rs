//! Labels of the security modules, where the machine has none.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case;
use crate::ctx::{Ctx, ensure, skip};
use crate::frame::Case;

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
                return x.facts(|c| c["process"]["apparmorProfile"] = json!("unconfined")).map(drop);
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
