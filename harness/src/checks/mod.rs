//! The checks, stage by stage, and what several stages share. Each module imports only modules
//! further down.
//!
//! | module        | what its checks are about                                        |
//! |---------------|------------------------------------------------------------------|
//! | [`phase1`]    | the modular server; most checks of its roles are taken over      |
//! | [`stage05`]   | the proxy and the file transfer                                  |
//! | [`stage01`]   | a server for one client                                          |
//! | [`stage04`]   | a server for many clients                                        |
//! | [`stage03`]   | the UDP server and its client                                    |
//! | [`stage02`]   | the TCP client                                                   |
//! | [`odd_starts`]| servers that are started in odd ways                            |
//! | [`soak`]      | every server for many clients, under a mixed load with faults    |
//! | [`stopping`]  | how a server with an event loop ends                             |
//! | [`proxying`]  | every proxy                                                      |
//! | [`netcat`]    | servers of the line protocol, with the tool of the exercises     |
//! | [`terminal`]  | the output, the options and the errors of the same servers       |
//! | [`reversing`] | the line protocol itself                                         |
//! | [`signals`]   | programs that do not handle signals                              |
//! | [`follows`]   | no checks: which ones fail together, for one reason              |
//! | [`clients`]   | no checks: exchanges that many checks use                        |

use std::sync::LazyLock;

use crate::check::Check;
use crate::stage::Stage;

mod clients;
mod follows;
mod netcat;
mod odd_starts;
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

static ALL: LazyLock<Vec<Check>> = LazyLock::new(|| {
    let stages = [
        stage01::checks(),
        stage02::CHECKS.to_vec(),
        stage03::checks(),
        stage04::checks(),
        stage05::checks(),
        phase1::checks(),
    ];
    stages.concat()
});

pub use follows::follows;

/// All checks.
pub fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter()
}

/// The check with this id.
pub fn find(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id() == id)
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
        let twice: Vec<String> = all()
            .map(Check::id)
            .filter(|id| !seen.insert(id.clone()))
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn each_stage_with_checks_can_be_named_on_a_command_line() {
        for check in all() {
            let known = Stage::ALL.contains(&check.stage);
            assert!(known, "{}: not in Stage::ALL", check.id());
        }
    }

    #[test]
    fn each_row_of_followers_names_checks_of_one_stage() {
        for (base, followers) in follows::ROWS {
            for follower in *followers {
                let follows = |check: &&Check| {
                    all().any(|base| follows(check, base)) && check.name == *follower
                };
                let names_it = |check: &&Check| check.name == *base;
                let known =
                    all().filter(follows).count() > 0 && all().any(|check| names_it(&check));
                assert!(known, "{follower} does not follow from {base} in any stage");
            }
        }
    }

    #[test]
    fn each_check_names_a_chapter_that_is_there() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for check in all() {
            let page = check.chapter.split('#').next().unwrap();
            assert!(top.join(page).is_file(), "{}: {page}", check.id());
        }
    }
}
