//! Mount namespace: what a container mounts, it alone sees; its /proc is its own.

mod common;

use std::fs;
use std::process::ExitCode;

use common::{Result, Stage, example, names, text};
use nix::mount::{MsFlags, mount};
use serde_json::json;

fn main() -> ExitCode {
    example("mount", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let before = text("/proc/self/mountinfo").lines().count();
    let mut config = stage.config(&[]);
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set].as_array_mut().ok_or("no set")?.push(json!("CAP_SYS_ADMIN"));
    }
    println!("A container that mounts a file system on /mnt and writes a file there:");
    let mut running = stage.start(&config)?;
    let (seen, processes) = (running.line()?, running.line()?);
    stage.check("what it sees on /mnt", &seen, seen == "file");
    stage.check("its /proc shows its own processes", &processes, processes == "1");
    let here = names(stage.directory.join("rootfs/mnt"));
    stage.check("what the host sees in the same directory", format!("{here:?}"), here.is_empty());
    let mounts = text("/proc/self/mountinfo").lines().count();
    stage.check("the host's mounts meanwhile: as many as before", mounts, mounts == before);
    running.container.kill(9, false)?;
    running.end()?;
    Ok(())
}

fn inside(_: &[String]) -> Result {
    fs::create_dir_all("/mnt")?;
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    fs::write("/mnt/file", "x")?;
    println!("{}", names("/mnt").join(" "));
    println!("{}", names("/proc").iter().filter(|name| name.parse::<u32>().is_ok()).count());
    loop {
        std::thread::park();
    }
}
