//! `--list`: the checks of a stage, the points of each, and what it needs.

use comfy_table::{Cell, Table};
use harness::check::{Check, Need, Tier};
use harness::stage::Stage;

use super::table::{Part, bare, head, plain, right, title_of};
use crate::selection::Selection;

pub fn checks(selection: &Selection) -> Vec<Part> {
    let stages = Stage::ALL
        .into_iter()
        .filter(|stage| selection.stage().is_none_or(|wanted| wanted == *stage));
    let mut parts = Vec::new();
    for stage in stages {
        for tier in Tier::ALL {
            let checks: Vec<&Check> = selection
                .of(stage)
                .filter(|check| check.tier == tier)
                .collect();
            if !checks.is_empty() {
                parts.push(Part::table(list_of(tier, &checks)));
                parts.push(plain("\n"));
            }
        }
    }
    parts
}

fn list_of(tier: Tier, checks: &[&Check]) -> Table {
    let mut table = bare();
    let points: u32 = checks.iter().map(|check| check.tier.points()).sum();
    let count = match checks.len() {
        1 => "1 check".to_owned(),
        count => format!("{count} checks"),
    };
    let title = format!("{}, {count}", title_of(tier));
    table.set_header(head(&[&title, &format!("{points} points")]));
    for check in checks {
        let needs: Vec<String> = check.needs.iter().map(Need::to_string).collect();
        let needs = match needs.is_empty() {
            true => String::new(),
            false => format!(" (needs {})", needs.join(", ")),
        };
        table.add_row([
            Cell::new(format!("{}\n  {}{needs}", check.id(), check.title)),
            right(check.tier.points()),
        ]);
    }
    table
}
