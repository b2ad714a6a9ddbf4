//! PID namespace: a container's program is process 1, and sees no other's.

mod common;

use std::process::ExitCode;

use common::{Result, Stage, example, names, share};

fn main() -> ExitCode {
    example("pid", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let mut config = stage.config(&[]);
    println!("A container that has a PID namespace:");
    let running = stage.start(&config)?;
    let host_pid = running.pid();
    let (printed, _) = running.end()?;
    let (own, others) = printed.trim().split_once(' ').ok_or("it said nothing")?;
    stage.check("its own number, what a shell calls $$", own, own == "1");
    stage.check("the processes in its /proc", others, others == "1");
    stage.check("its number on the host", host_pid, host_pid > 1);
    println!("One that shares the host's:");
    share(&mut config, "pid");
    let (printed, _) = stage.run(&config)?;
    let (own, others) = printed.trim().split_once(' ').ok_or("it said nothing")?;
    stage.check("its own number", own, own != "1");
    stage.check("the processes in its /proc", others, others.parse::<usize>()? > 1);
    Ok(())
}

fn inside(_: &[String]) -> Result {
    let processes = names("/proc").iter().filter(|name| name.parse::<u32>().is_ok()).count();
    println!("{} {processes}", std::process::id());
    Ok(())
}
