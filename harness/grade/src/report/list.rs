//! `--list`: the checks of a stage, the points of each, and what it needs.

use comfy_table::{Cell, Table};
use harness::check::{Check, Need, Tier};
use harness::stage::Stage;

use super::table::{Part, bare, head, plain, right, title_of};
use crate::selection::Selection;

/// `missing` says what a check needs and does not find. Such a check does not count.
pub fn checks(selection: &Selection, missing: impl Fn(&Check) -> Option<Need>) -> Vec<Part> {
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
                parts.push(Part::table(list_of(tier, &checks, &missing)));
                parts.push(plain("\n"));
            }
        }
    }
    parts
}

fn list_of(tier: Tier, checks: &[&Check], missing: impl Fn(&Check) -> Option<Need>) -> Table {
    let mut table = bare();
    let (mut points, mut not_here) = (0, 0);
    let mut rows = Vec::new();
    for check in checks {
        let is_missing = missing(check).is_some();
        let worth = match is_missing {
            true => "-".to_owned(),
            false => check.tier.points().to_string(),
        };
        points += u32::from(!is_missing) * check.tier.points();
        not_here += usize::from(is_missing);
        let needs: Vec<String> = check.needs.iter().map(Need::to_string).collect();
        let needs = match needs.is_empty() {
            true => String::new(),
            false => format!(" (needs {})", needs.join(", ")),
        };
        rows.push([
            Cell::new(format!("{}\n  {}{needs}", check.id(), check.title)),
            right(worth),
        ]);
    }
    let count = match (checks.len(), not_here) {
        (1, 0) => "1 check".to_owned(),
        (count, 0) => format!("{count} checks"),
        (count, not_here) => format!("{count} checks, {not_here} of them cannot run here"),
    };
    let title = format!("{}, {count}", title_of(tier));
    table.set_header(head(&[&title, &format!("{points} points")]));
    table.add_rows(rows);
    table
}
