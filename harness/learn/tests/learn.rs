//! The proof of the ladders: each task turns exactly its checks from red to green.
//!
//! The rungs are built and run one after the other, so this takes minutes. A rung runs the checks
//! of its own task and of the next one. With the variable `EXPSERVER_WHOLE_LADDERS` it also runs
//! those of all tasks before it. After the last rung the program is the reference, and the tests of
//! the stage itself run everything.
#![allow(clippy::unwrap_used)] // a test

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::folder::remove_tree;
use harness::host::raise_descriptor_limit;
use harness::patience::set_patience;
use harness_learn::export;
use harness_learn::judge::{Judge, Judged, Red};
use harness_learn::ladder::Ladder;
use harness_learn::mine::Mine;
use harness_learn::page;
use harness_learn::starter;
use libtest_mimic::{Arguments, Failed, Trial};

/// Set this variable to run, at each rung, the checks of all tasks that are solved.
const WHOLE: &str = "EXPSERVER_WHOLE_LADDERS";

fn main() -> ExitCode {
    // A check that needs a network of its own starts this program again.
    if std::env::args().any(|word| word == "run-apart") {
        return harness_learn::main();
    }
    raise_descriptor_limit();
    let root = root();
    let mut tests = Vec::new();
    for ladder in Ladder::all(&root).unwrap() {
        let name = ladder.name.clone();
        let again = move || Ladder::read(&self::root(), &name).unwrap();
        let (first, second, third) = (again.clone(), again.clone(), again.clone());
        let survey = move || survey(&third());
        tests.push(Trial::test(format!("survey::{}", ladder.name), survey).with_ignored_flag(true));
        tests.push(Trial::test(format!("recipe::{}", ladder.name), move || {
            recipe(&first())
        }));
        tests.push(Trial::test(
            format!("reference::{}", ladder.name),
            move || reference(&second()),
        ));
        let fourth = again.clone();
        let fifth = again.clone();
        tests.push(Trial::test(format!("page::{}", ladder.name), move || {
            page(&fifth())
        }));
        let export = move || export(&fourth());
        tests.push(Trial::test(format!("export::{}", ladder.name), export));
        tests.push(Trial::test(format!("rungs::{}", ladder.name), move || {
            rungs(&again())
        }));
    }
    let mut arguments = Arguments::from_args();
    // The patience of the checks is one for the whole process.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")); // harness/learn
    here.ancestors().nth(2).unwrap().to_owned()
}

/// Every item, check, hint and section that the recipe names is there.
fn recipe(ladder: &Ladder) -> Result<(), Failed> {
    let problems = ladder.problems(&root());
    if problems.is_empty() {
        return Ok(());
    }
    Err(problems.join("\n").into())
}

/// The book's page of tasks is what the recipe says. `UPDATE_DOCS=1` writes it.
fn page(ladder: &Ladder) -> Result<(), Failed> {
    let (path, text) = (root().join(page::path(ladder)), page::of(ladder));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(&path, &text)?;
    }
    if fs::read_to_string(&path).unwrap_or_default() == text {
        return Ok(());
    }
    let how = "UPDATE_DOCS=1 cargo test -p harness-learn -- page";
    Err(format!("{} is not what the recipe says: {how}", path.display()).into())
}

/// No line that a student has to write is in what is handed out.
fn export(ladder: &Ladder) -> Result<(), Failed> {
    let handed_out = export::assignment(&root(), ladder)?;
    let reference = starter::reference(&root(), &ladder.package)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = |bytes: &[u8]| -> BTreeSet<String> {
        text(bytes)
            .lines()
            .map(|line| line.trim().to_owned())
            .collect()
    };
    let mut problems = Vec::new();
    for (path, bytes) in &reference {
        let begun = lines(&handed_out[&Path::new(&ladder.package).join(path)]);
        // A short line, or one that another file of the stage has as well, gives nothing away.
        let others = reference.iter().filter(|(other, _)| *other != path);
        let others: BTreeSet<String> = others.flat_map(|(_, bytes)| lines(bytes)).collect();
        let secret = lines(bytes)
            .into_iter()
            .filter(|line| line.len() > 30 && !begun.contains(line) && !others.contains(line));
        for line in secret {
            let has_it = handed_out
                .iter()
                .filter(|(_, bytes)| lines(bytes).contains(&line));
            problems.extend(
                has_it.map(|(name, _)| {
                    format!("{} has a line of the solution: {line}", name.display())
                }),
            );
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n").into()),
    }
}

/// With all tasks solved, the starter is the reference.
fn reference(ladder: &Ladder) -> Result<(), Failed> {
    let solved = starter::cut(&root(), ladder, ladder.tasks.len())?;
    for (path, bytes) in starter::reference(&root(), &ladder.package)? {
        let text = String::from_utf8_lossy(&solved[&path]).into_owned();
        if starter::without_allow(&text).as_bytes() != bytes {
            return Err(format!("{} is not the reference's", path.display()).into());
        }
    }
    Ok(())
}

/// For those who write a ladder (`-- --ignored survey::4`): after how many tasks each check of
/// the stage is green, and which turn red again.
fn survey(ladder: &Ladder) -> Result<(), Failed> {
    let (root, mine) = (root(), new_folder(ladder)?);
    let judge = Judge {
        root: &root,
        mine: &mine,
        ladder,
        own: None,
    };
    let checks: Vec<_> = harness::checks::of(ladder.stage()?).collect();
    set_patience(Duration::from_secs(2));
    let mut before = BTreeSet::new();
    for solved in 0..=ladder.tasks.len() {
        let files = starter::cut(&root, ladder, solved)?;
        write_changed(&mine.package(&ladder.package), &files)?;
        if !judge.build()? {
            return Err(format!("with {solved} tasks solved it does not build").into());
        }
        let mut judged = Judged::default();
        judge.checks(&checks, false, &mut judged)?;
        let new = judged.green.difference(&before);
        println!("\n{solved} solved, {} green, new:", judged.green.len());
        new.for_each(|id| println!("  {id}"));
        let lost = before.difference(&judged.green);
        lost.for_each(|id| println!("  LOST {id}"));
        before = judged.green;
    }
    Ok(())
}

/// The student's folder, with the starter of this ladder. All ladders share what was built.
fn new_folder(ladder: &Ladder) -> Result<Mine, Failed> {
    let mine = Mine::at(Path::new(env!("CARGO_TARGET_TMPDIR")).join("learn"));
    let package = mine.package(&ladder.package);
    if package.exists() {
        remove_tree(&package)?;
    }
    mine.add_package(&ladder.package, &starter::cut(&root(), ladder, 0)?)?;
    mine.make_workspace(&root(), &ladder.package)?;
    Ok(mine)
}

/// The starter builds. With tasks 1 to k solved, their checks are green, and one of the next
/// task is red.
fn rungs(ladder: &Ladder) -> Result<(), Failed> {
    let (root, mine) = (root(), new_folder(ladder)?);
    let package = mine.package(&ladder.package);
    let judge = Judge {
        root: &root,
        mine: &mine,
        ladder,
        own: None,
    };
    let begin = Instant::now();
    let mut problems = Vec::new();
    println!(
        "\n{:<6} {:<44} {:>6} {:>6} {:>7}",
        "task", "title", "red", "green", "seconds"
    );
    let written = ladder.tasks.iter().filter(|task| !task.items.is_empty());
    for solved in 0..=written.count() {
        write_changed(&package, &starter::cut(&root, ladder, solved)?)?;
        if !judge.build()? {
            problems.push(format!("with {solved} tasks solved it does not build"));
            break;
        }
        let from = match std::env::var_os(WHOLE) {
            Some(_) => 0,
            None => solved.saturating_sub(1),
        };
        set_patience(Duration::from_secs(30));
        for number in from..solved {
            let judged = all_of(&judge, number)?;
            if let Some(red) = &judged.red {
                problems.push(format!(
                    "with {solved} tasks solved, {} is red: {}",
                    ladder.number(number),
                    shown(red)
                ));
            }
        }
        if solved == ladder.tasks.len() || ladder.tasks[solved].items.is_empty() {
            continue;
        }
        set_patience(Duration::from_secs(2));
        let judged = judge.judge(&ladder.tasks[solved])?;
        if judged.red.is_none() {
            problems.push(format!(
                "{} is green before it is written",
                ladder.number(solved)
            ));
        }
        println!(
            "{:<6} {:<44} {:>6} {:>6} {:>7.0}",
            ladder.number(solved),
            ladder.tasks[solved].title,
            judged.failed.len(),
            judged.green.len(),
            begin.elapsed().as_secs_f64()
        );
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(problems.join("\n").into())
}

/// All unit tests and checks of a task, also after one is red.
fn all_of(judge: &Judge, number: usize) -> Result<Judged, Failed> {
    Ok(judge.judge(&judge.ladder.tasks[number])?)
}

fn shown(red: &Red) -> String {
    match red {
        Red::NotWritten { name, .. } => format!("{name} is not written"),
        Red::DoesNotBuild => "it does not build".to_owned(),
        Red::Unit { name, text } => format!("{name}\n{text}"),
        Red::Check { check, report } => {
            format!("{}\n{}\n{}", check.id(), report.failure, report.story)
        }
    }
}

/// Writes the files that differ, so that cargo builds only what has changed.
fn write_changed(package: &Path, files: &starter::Files) -> std::io::Result<()> {
    for (name, bytes) in files {
        let path = package.join(name);
        if fs::read(&path)? != *bytes {
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}
