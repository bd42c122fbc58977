//! The checks, stage by stage. [`reversing`], [`terminal`] and [`netcat`] hold those
//! that the servers of the line protocol share, [`proxying`] those of the proxies, [`soak`]
//! puts all that serve many clients under a mixed load with faults.

use crate::check::Check;
use crate::stage::Stage;

mod netcat;
mod phase1;
mod proxying;
mod reversing;
mod signals;
mod soak;
mod stage01;
mod stage02;
mod stage03;
mod stage04;
mod stage05;
mod stopping;
mod terminal;

/// Every check there is.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let stages = [
        stage01::CHECKS,
        stage02::CHECKS,
        stage03::CHECKS,
        stage04::CHECKS,
        stage05::CHECKS,
    ];
    let stages = stages.into_iter().chain(phase1::ROOMS.iter().copied());
    stages.flatten()
}

/// The checks of one stage, in the order in which they are listed.
pub fn of(stage: Stage) -> impl Iterator<Item = &'static Check> {
    all().filter(move |check| check.stage == stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;

    #[test]
    fn each_check_has_an_id_of_its_own() {
        let mut seen = HashSet::new();
        let twice: Vec<&str> = all()
            .map(|check| check.id)
            .filter(|id| !seen.insert(*id))
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn each_check_names_a_chapter_that_is_there() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for check in all() {
            let page = check.chapter.split('#').next().unwrap();
            assert!(top.join(page).is_file(), "{}: {page}", check.id);
        }
    }
}
