//! The suites.

mod cgroups;
mod cli;
mod engines;
mod faults;
pub(crate) mod runtime_tools;
mod security;
mod spec;

use std::path::Path;

use crate::frame::Case;

/// Every case of every suite, in the order of the report. `tools` has the sources of OCI runtime-tools.
pub(crate) fn all(tools: Option<&Path>) -> Vec<Case> {
    let mut cases = cli::cases();
    cases.extend(spec::cases());
    cases.extend(security::cases());
    cases.extend(cgroups::cases());
    cases.extend(engines::cases());
    cases.extend(faults::cases());
    cases.extend(runtime_tools::cases(tools));
    cases
}
