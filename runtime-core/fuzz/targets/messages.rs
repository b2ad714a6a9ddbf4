#![no_main]

#[path = "../../tests/machine/mod.rs"]
mod machine;

use std::path::Path;

use machine::{host, hybrid, options, v2};
use runtime_core::cgroup;
use runtime_core::plan::{self, Step};
use runtime_core::spec::Spec;

thread_local! {
    /// A step of nearly every kind.
    static STEPS: Vec<Step> = {
        let text = include_bytes!("../../tests/golden/everything.json");
        let (spec, _) = Spec::from_slice(text, Path::new("/bundle")).unwrap();
        let steps = [v2(), hybrid()].into_iter().flat_map(|layout| {
            let cgroup = cgroup::plan(&spec.linux, "id", &layout, cgroup::Options::default()).unwrap();
            plan::create(&spec, &host(layout), cgroup, None, &options("id")).unwrap().init
        });
        steps.collect()
    };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| STEPS.with(|steps| runtime_core::fuzz::message(bytes, steps)));
