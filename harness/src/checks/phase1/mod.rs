//! Phase 1: the modular server. What a role shares with a stage of phase 0 is taken over
//! from there ([`reverse`], [`proxy`]); the rest is here, with one file for each concern.

mod base;
mod echo;
mod files;
mod idle;
mod limits;
mod presets;
mod program;
mod proxy;
mod reverse;
mod stopping;

use crate::check::Check;

pub fn checks() -> Vec<Check> {
    let proxy = proxy::checks();
    let own = [
        echo::CHECKS,
        &proxy,
        files::CHECKS,
        idle::CHECKS,
        limits::CHECKS,
        stopping::CHECKS,
        program::CHECKS,
    ];
    [presets::CHECKS, &reverse::checks(), &own.concat()].concat()
}
