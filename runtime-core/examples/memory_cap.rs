//! A limit of memory: who takes more is killed, and its engine sees 137.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use common::{Result, Stage, example};
use serde_json::json;

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    example("memory_cap", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    println!("A container of 64 MiB, without swap:");
    for (wants, dies) in [(16, false), (128, true)] {
        let mut config = stage.config(&[&wants.to_string()]);
        config["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB, "swap": 64 * MIB});
        let running = match stage.start(&config) {
            Err(error) if error.to_string().contains("linux/resources/memory") => {
                println!("  this machine has no controller to limit it with: {error}");
                return Ok(());
            }
            started => started?,
        };
        let (printed, status) = running.end()?;
        // A shell, and every engine, adds 128 to a signal's number.
        let code = status.code().unwrap_or(128 + status.signal().unwrap_or_default());
        stage.check(&format!("{wants} MiB are used: it ends with"), code, code == if dies { 137 } else { 0 });
        stage.check("and says", format!("{:?}", printed.trim()), printed.trim() == if dies { "" } else { "done" });
    }
    Ok(())
}

fn inside(arguments: &[String]) -> Result {
    let wanted: usize = arguments.first().ok_or("how much?")?.parse()?;
    let mut memory = vec![0u8; wanted * MIB];
    // Memory is given when it is written to.
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    println!("{}", if std::hint::black_box(&memory).len() == wanted * MIB { "done" } else { "?" });
    Ok(())
}
