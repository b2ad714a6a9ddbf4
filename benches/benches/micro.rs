//! What the pure parts cost: reading a configuration, compiling its filter, planning; for configurations that engines wrote.

use std::path::Path;

use criterion::{BenchmarkId, Criterion};
use runtime_core::spec::Spec;
use runtime_core::{Error, Host, Result, cgroup, plan, seccomp};

/// Of each engine one that has a filter.
const CONFIGS: [(&str, &str); 3] = [
    ("dockerd", include_str!("../../runtime-core/tests/fixtures/docker-default.json")),
    ("containerd", include_str!("../../runtime-core/tests/fixtures/ctr-seccomp.json")),
    ("podman", include_str!("../../runtime-core/tests/fixtures/podman-default.json")),
];

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let bundle = Path::new("/bundle");
    let host = Host::probe()?;
    let options = plan::CreateOptions { id: "id".to_owned(), ..plan::CreateOptions::default() };
    for (engine, config) in CONFIGS {
        let read = || Spec::from_slice(config.as_bytes(), bundle);
        let (spec, _) = read()?;
        let filter = spec.linux.seccomp.as_ref().ok_or_else(|| Error::refused("/linux/seccomp", "is missing"))?;
        let whole = || {
            let cgroup = cgroup::plan(&spec.linux, "id", &host.cgroup, cgroup::Options::default())?;
            plan::create(&spec, &host, cgroup, None, &options)
        };
        whole()?;
        criterion.bench_with_input(BenchmarkId::new("spec", engine), &(), |b, ()| b.iter(read));
        criterion.bench_with_input(BenchmarkId::new("seccomp", engine), &(), |b, ()| {
            b.iter(|| seccomp::compile(filter, seccomp::NATIVE));
        });
        // With the filter.
        criterion.bench_with_input(BenchmarkId::new("plan", engine), &(), |b, ()| b.iter(whole));
    }
    criterion.bench_function("host", |b| b.iter(Host::probe));
    criterion.final_summary();
    Ok(())
}
