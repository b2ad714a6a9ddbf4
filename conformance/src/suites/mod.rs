//! The suites.

mod cgroups;
mod cli;
mod engines;
mod faults;
mod security;
mod spec;

use crate::frame::Case;

/// Every case of every suite, in the order of the report.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = cli::cases();
    cases.extend(spec::cases());
    cases.extend(security::cases());
    cases.extend(cgroups::cases());
    cases.extend(engines::cases());
    cases.extend(faults::cases());
    cases
}
