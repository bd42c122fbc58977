//! The two tables about closing in the architecture chapter are the same as the two functions.

#![allow(clippy::unwrap_used)] // a helper of tests

use phase1_expserver::core::session::End;
use phase1_expserver::core::session::closing::{Linger, linger_rule};
use phase1_expserver::flow::{Event, State, rule};

const CHAPTER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/src/phase1/architecture.md"
);

/// The rows of the table whose heading begins with this cell. Each is its first cell and the
/// others.
fn table(heading: &str) -> Vec<(String, Vec<String>)> {
    let chapter = std::fs::read_to_string(CHAPTER).unwrap();
    let heading = format!("| {heading} |");
    let lines = chapter
        .lines()
        .skip_while(|line| !line.starts_with(&heading));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let line = line.trim_matches('|').replace('`', "");
        let mut cells = line.split('|').map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.collect())
    };
    rows.map(cells).collect()
}

#[test]
fn the_table_of_one_direction_is_the_rule() {
    let states = [State::Open, State::Draining, State::Shut, State::Failed];
    let events = [
        Event::SourceEnded,
        Event::SourceBroken,
        Event::Emptied,
        Event::SinkGone,
    ];
    let expected: Vec<_> = events
        .map(|event| {
            let cells = states.map(|state| match rule(state, event) {
                to if to == state => "–".to_owned(),
                to => format!("→ {to:?}"),
            });
            (format!("{event:?}"), cells.to_vec())
        })
        .to_vec();
    assert_eq!(table("event"), expected);
}

#[test]
fn the_table_of_both_directions_is_the_rule_of_lingering() {
    let mut expected = Vec::new();
    for (name, end) in [("client", End::Client), ("upstream", End::Upstream)] {
        for into in [State::Shut, State::Failed] {
            let cell = |over, unwanted| -> Linger { linger_rule(end, into, over, unwanted) };
            assert_eq!(cell(true, true), cell(true, false));
            let cells = [cell(true, false), cell(false, false), cell(false, true)];
            let cells = cells.map(|given| format!("{given:?}")).to_vec();
            expected.push((format!("{name}, {into:?}"), cells));
        }
    }
    assert_eq!(table("end, direction into it"), expected);
}
