//! A supervisor, as `docker run --restart always`: whatever ends is run again, in a fresh container, until it is told to stop.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use common::{Result, Stage, example};
use runtime_core::{Bundle, Containers, CreateOptions, Stdio};

/// Of each service.
const RESTARTS: u32 = 5;

fn main() -> ExitCode {
    example("supervisor", inside, outside)
}

/// A thing that shall always run.
struct Service {
    name: &'static str,
    bundle: Bundle,
    runs: AtomicU32,
    codes: AtomicU32,
}

fn outside(stage: &Stage) -> Result {
    let service = |name: &'static str| -> Result<Service> {
        let bundle = Bundle::from_json(&stage.directory, stage.config(&[name]).to_string())?;
        Ok(Service { name, bundle, runs: AtomicU32::new(0), codes: AtomicU32::new(0) })
    };
    let services = [service("fails")?, service("ends")?, service("stays")?];
    let (stop, containers) = (AtomicBool::new(false), &stage.containers);
    println!("Three services, each restarted whenever it ends:");
    thread::scope(|scope| {
        let threads = services.each_ref().map(|service| scope.spawn(|| keep(containers, service, &stop)));
        let runs = |service: &Service| service.runs.load(Ordering::Relaxed);
        while services[..2].iter().any(|service| runs(service) <= RESTARTS) || runs(&services[2]) == 0 {
            if threads.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        // As `docker stop`: the one that stays gets a signal, as process 1 one that can't be ignored.
        stop.store(true, Ordering::Relaxed);
        if let Ok(container) = containers.get("stays") {
            container.kill(9, false)?;
        }
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    for service in &services {
        let runs = service.runs.load(Ordering::Relaxed);
        let right = if service.name == "stays" { runs == 1 } else { runs > RESTARTS };
        stage.check(&format!("{}: how often it ran", service.name), runs, right);
    }
    let codes = services[0].codes.load(Ordering::Relaxed);
    stage.check("fails: each time with 3", codes, codes == 3 * services[0].runs.load(Ordering::Relaxed));
    let left = stage.containers.list()?.len();
    stage.check("containers that are left", left, left == 0);
    Ok(())
}

/// Runs a service again and again.
fn keep(containers: &Containers, service: &Service, stop: &AtomicBool) -> Result {
    while !stop.load(Ordering::Relaxed) {
        let mut options = CreateOptions::default();
        options.stdio = Stdio::null();
        let container = containers.create(service.name, &service.bundle, options)?;
        let ended = container.start().and_then(|()| {
            service.runs.fetch_add(1, Ordering::Relaxed);
            container.init().expect("it was made here").wait()
        });
        container.delete(true)?;
        let status = ended?;
        service.codes.fetch_add(status.code().unwrap_or_default() as u32, Ordering::Relaxed);
        if status.signal().is_some() {
            println!("    {} was told to stop", service.name);
        }
    }
    Ok(())
}

fn inside(arguments: &[String]) -> Result {
    match arguments.first().map(String::as_str) {
        Some("fails") => std::process::exit(3),
        Some("stays") => loop {
            thread::park();
        },
        _ => Ok(()),
    }
}
