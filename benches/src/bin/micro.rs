//! What the pure parts cost: reading a configuration, compiling its filter, planning. Medians of many runs.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use benches::{CONFIG, quantile};
use runtime_core::spec::Spec;
use runtime_core::{Error, Host, Result, cgroup, plan, seccomp};

const RUNS: usize = 2000;

fn main() -> Result<()> {
    let bundle = Path::new("/bundle");
    let read = || Spec::from_slice(CONFIG.as_bytes(), bundle);
    let (spec, _) = read()?;
    let filter = spec.linux.seccomp.as_ref().ok_or_else(|| Error::refused("/linux/seccomp", "is missing"))?;
    let host = Host::probe()?;
    let options = plan::CreateOptions { id: "id".to_owned(), ..plan::CreateOptions::default() };
    let whole = || {
        let cgroup = cgroup::plan(&spec.linux, "id", &host.cgroup, cgroup::Options::default())?;
        plan::create(&spec, &host, cgroup, None, &options)
    };
    whole()?;
    println!("| microseconds | median | p99 |\n|---|---|---|");
    time("read the configuration", read);
    time("compile the filter", || seccomp::compile(filter, seccomp::NATIVE));
    time("plan, with the filter", whole);
    time("probe the host", Host::probe);
    Ok(())
}

fn time<T>(name: &str, mut what: impl FnMut() -> T) {
    let mut once = || {
        let start = Instant::now();
        black_box(what());
        start.elapsed().as_secs_f64() * 1e6
    };
    let figures: Vec<_> = (0..RUNS).map(|_| once()).collect();
    println!("| {name} | {:.1} | {:.1} |", quantile(&figures, 0.5), quantile(&figures, 0.99));
}
