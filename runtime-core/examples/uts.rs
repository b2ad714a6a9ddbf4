//! UTS namespace: a container has a host name of its own, and may change it.

mod common;

use std::process::ExitCode;

use common::{Result, Stage, example, text};
use serde_json::json;

fn main() -> ExitCode {
    example("uts", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let before = text("/proc/sys/kernel/hostname");
    let mut config = stage.config(&[]);
    config["hostname"] = json!("from-the-config");
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set].as_array_mut().ok_or("no set")?.push(json!("CAP_SYS_ADMIN"));
    }
    println!("A container that has a UTS namespace, and sets its host name:");
    let (printed, _) = stage.run(&config)?;
    let names: Vec<_> = printed.lines().collect();
    stage.check("its name at the start: config.json's `hostname`", names[0], names[0] == "from-the-config");
    stage.check("its name when it has called sethostname(2)", names[1], names[1] == "from-inside");
    let after = text("/proc/sys/kernel/hostname");
    stage.check("the host's name, before and after", &after, before == after);
    Ok(())
}

fn inside(_: &[String]) -> Result {
    println!("{}", text("/proc/sys/kernel/hostname"));
    nix::unistd::sethostname("from-inside")?;
    println!("{}", text("/proc/sys/kernel/hostname"));
    Ok(())
}
