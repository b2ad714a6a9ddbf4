//! A limit of processor time: a busy loop is held to a fifth of one processor, and that is measured.

mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{Result, Stage, example};
use serde_json::json;

const SECONDS: u64 = 4;

fn main() -> ExitCode {
    example("cpu_cap", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let mut config = stage.config(&[]);
    config["linux"]["resources"]["cpu"] = json!({"quota": 20_000, "period": 100_000});
    println!("A busy loop with cpu.quota 20000 of every 100000 us, for {SECONDS} s:");
    let begin = Instant::now();
    let running = match stage.start(&config) {
        Err(error) if error.to_string().contains("linux/resources/cpu") => {
            println!("  this machine has no controller to limit it with: {error}");
            return Ok(());
        }
        started => started?,
    };
    let (printed, _) = running.end()?;
    let took = begin.elapsed();
    let (used, throttled) = printed.trim().split_once(' ').ok_or("it said nothing")?;
    let share = used.parse::<f64>()? / took.as_micros() as f64 * 100.0;
    stage.check("processor time, % of the time that passed", format!("{share:.1}"), (15.0..25.0).contains(&share));
    stage.check("turns of its loop, so it was at work", throttled, throttled.parse::<u64>()? > 0);
    Ok(())
}

/// Works for a while, and prints its processor time in microseconds and how often it went round.
fn inside(_: &[String]) -> Result {
    let (begin, mut turns) = (Instant::now(), 0u64);
    while begin.elapsed() < Duration::from_secs(SECONDS) {
        turns += 1;
    }
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let microseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    println!("{} {turns}", microseconds(used.user_time()) + microseconds(used.system_time()));
    Ok(())
}
