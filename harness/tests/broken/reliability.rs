//! The tables of `docs/src/reliability.md`: which test tries which fault, and which broken
//! programs that test catches. They are made from `faults.txt`, the checks and the cases, so
//! they cannot go stale. `UPDATE_DOCS=1 cargo test -p harness --test broken -- reliability`
//! writes them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::check::Check;
use harness::checks;
use harness::stage::Stage;
use libtest_mimic::{Failed, Trial as Test};

use super::{Case, proves};

const PAGE: &str = "docs/src/reliability.md";
const BEGIN: &str = "<!-- The tables: written by `cargo test -p harness --test broken` -->\n";
const END: &str = "<!-- End of the tables -->\n";

struct Fault<'a> {
    /// Its number in the classic lists, such as `A1`. Often there is none.
    id: &'a str,
    what: &'a str,
    tests: Vec<&'a str>,
}

/// The test that compares the page with the tables.
pub fn tests(cases: Vec<&'static Case>) -> Vec<Test> {
    let compare = move || compare(&cases);
    vec![Test::test("reliability.md shows what is tried", compare)]
}

fn compare(cases: &[&Case]) -> Result<(), Failed> {
    let page = root().join(PAGE);
    let text = fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(BEGIN).ok_or("the page has no tables")?;
    let (_, after) = rest.split_once(END).ok_or("the tables have no end")?;
    let tables = tables(cases)?;
    let fresh = format!("{before}{BEGIN}{tables}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, fresh)?;
    } else if fresh != text {
        let how = "UPDATE_DOCS=1 cargo test -p harness --test broken -- reliability";
        return Err(format!("{PAGE} is stale; refresh it: {how}").into());
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads `faults.txt`: the titles, and the faults below each.
fn groups() -> Vec<(&'static str, Vec<Fault<'static>>)> {
    let mut groups: Vec<(&str, Vec<Fault>)> = Vec::new();
    for line in include_str!("faults.txt").lines() {
        if let Some(title) = line.strip_prefix("# ") {
            groups.push((title, Vec::new()));
        }
        let Some((_, faults)) = groups.last_mut() else {
            continue; // the introduction of the file
        };
        if let Some(tests) = line.strip_prefix("    ") {
            if let Some(fault) = faults.last_mut() {
                fault.tests.extend(tests.split_whitespace());
            }
        } else if let Some((id, what)) = line.split_once('|') {
            let (id, what, tests) = (id.trim(), what.trim(), Vec::new());
            faults.push(Fault { id, what, tests });
        }
    }
    groups
}

fn tables(cases: &[&Case]) -> Result<String, Failed> {
    let names = names(&root().join("harness/src/checks"))?;
    let mut text = String::new();
    for (title, faults) in groups() {
        text += &format!(
            "\n### {title}\n\n| fault | server | test | turned red by |\n|---|---|---|---|\n"
        );
        for fault in faults {
            let mut what = format!("{} **{}**", fault.what, fault.id).replace(" ****", "");
            for test in fault.tests {
                let row = row(test, &names, cases)?;
                text += &format!("| {} | {row} |\n", std::mem::take(&mut what));
            }
        }
    }
    Ok(text + "\n")
}

/// The other columns of a row: server, test, broken programs.
fn row(
    test: &str,
    names: &BTreeMap<String, Vec<String>>,
    cases: &[&Case],
) -> Result<String, Failed> {
    if let Some((file, function)) = test.split_once('#') {
        let source = fs::read_to_string(root().join(file))?;
        if !source.contains(&format!("fn {function}(")) {
            return Err(format!("there is no {test}").into());
        }
        let server = file.split(['-', '/']).next().unwrap_or_default();
        let name = function.replace('_', " ");
        return Ok(format!(
            "{server} | [{name}](../../{file}) | any difference from the model"
        ));
    }
    let check = checks::find(test);
    let check = check.ok_or_else(|| format!("there is no check {test}"))?;
    let place = place(check, names).ok_or_else(|| format!("no file contains {test}"))?;
    let broken = broken(check, cases);
    let server = server(check.stage);
    Ok(format!("{server} | [`{test}`](../../{place}) | {broken}"))
}

fn broken(check: &Check, cases: &[&Case]) -> String {
    let mut names: Vec<String> = cases
        .iter()
        .filter(|case| proves(case, check))
        .map(|case| format!("`{}`", case.broken))
        .collect();
    names.sort();
    names.dedup();
    names.join(", ")
}

fn server(stage: Stage) -> &'static str {
    match stage {
        Stage::Stage01 => "stage 1",
        Stage::Stage02 => "stage 2",
        Stage::Stage03 => "stage 3",
        Stage::Stage04 => "stage 4",
        Stage::Stage05 => "stage 5",
        Stage::Phase1 => "phase 1",
    }
}

/// The file in which a check stands. One of a stage's own folder has its name there; one that
/// was taken over, in a room that several stages share, or in the folder of stage 4.
fn place(check: &Check, names: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let files = names.get(check.name)?;
    let in_folder = |stage: Stage| {
        let folder = format!("checks/{}", stage.folder());
        files.iter().find(move |file| file.contains(&folder))
    };
    let shared = |file: &&String| !Stage::ALL.iter().any(|it| file.contains(it.folder()));
    let own = in_folder(check.stage).filter(|_| check.role.is_empty());
    let place = own.or_else(|| files.iter().find(shared));
    place.or_else(|| in_folder(Stage::Stage04)).cloned()
}

/// The files in which each name of a check stands.
fn names(folder: &Path) -> Result<BTreeMap<String, Vec<String>>, Failed> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            for (name, files) in self::names(&path)? {
                names.entry(name).or_default().extend(files);
            }
            continue;
        }
        let file = path.strip_prefix(root())?.display().to_string();
        for line in fs::read_to_string(&path)?.lines() {
            let name = line.trim().strip_prefix("name: \"");
            if let Some((name, _)) = name.and_then(|rest| rest.split_once('"')) {
                names.entry(name.to_owned()).or_default().push(file.clone());
            }
        }
    }
    Ok(names)
}
