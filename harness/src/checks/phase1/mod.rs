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

use super::odd_starts;
use crate::check::Check;
use crate::stage::Stage;

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
    let odd = odd_starts::checks(Stage::Phase1);
    [presets::CHECKS, &reverse::checks(), &own.concat(), &odd].concat()
}
