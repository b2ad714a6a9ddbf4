//! IPC namespace: a container does not see the host's message queues, unless it shares the namespace.

mod common;

use std::process::{Command, ExitCode};

use common::{Result, Stage, example, share, text};

fn main() -> ExitCode {
    example("ipc", inside, outside)
}

/// A queue of the host's, msgget(2).
struct Queue(String);

impl Queue {
    fn new() -> Result<Self> {
        let output = Command::new("ipcmk").arg("--queue").output().map_err(|e| format!("ipcmk (util-linux): {e}"))?;
        let told = String::from_utf8(output.stdout)?;
        let id = told.rsplit(' ').next().unwrap_or_default().trim();
        if id.is_empty() { Err("ipcmk made no queue".into()) } else { Ok(Queue(id.to_owned())) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = Command::new("ipcrm").args(["--queue-id", &self.0]).status();
    }
}

fn outside(stage: &Stage) -> Result {
    let queue = Queue::new()?;
    println!("The host has a message queue, id {}:", queue.0);
    let sees = |printed: &str| printed.lines().any(|line| line == queue.0);
    let mut config = stage.config(&[]);
    let (own, _) = stage.run(&config)?;
    stage.check("queues in a container with its own IPC namespace", own.lines().count(), own.is_empty());
    share(&mut config, "ipc");
    let (shared, _) = stage.run(&config)?;
    stage.check("queues in a container that shares the host's", shared.trim().replace('\n', " "), sees(&shared));
    Ok(())
}

/// Prints the ids of the queues that it sees.
fn inside(_: &[String]) -> Result {
    for line in text("/proc/sysvipc/msg").lines().skip(1) {
        println!("{}", line.split_whitespace().nth(1).unwrap_or_default());
    }
    Ok(())
}
