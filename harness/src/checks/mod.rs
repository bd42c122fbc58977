//! The checks, stage by stage. [`reversing`] holds those that every server of the
//! line protocol shares.

use crate::check::{Check, Stage};

mod reversing;
mod stage01;
mod stage04;

/// Every check there is.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [stage01::CHECKS, stage04::CHECKS].into_iter().flatten()
}

/// The checks of one stage, in the order in which they are listed.
pub fn of(stage: Stage) -> impl Iterator<Item = &'static Check> {
    all().filter(move |check| check.stage == stage)
}
