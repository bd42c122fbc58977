//! GitHub Classroom: a reader that does what its reporter does, and the workflow of the book.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;

use crate::room::{GRADE, Room, Run, fixtures};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "the results of a program that fails everything fit into the environment",
            &["python3"],
            everything_fails,
        ),
        test(
            "the workflow for GitHub Classroom in the book reports the points",
            &["bash", "cc", "python3"],
            workflow,
        ),
    ]
}

/// The reporter with these outputs of the grading step: `core=…`.
fn report(room: &Room, runners: &str, outputs: &str) -> Run {
    let mut reporter = Command::new("python3");
    reporter
        .arg(fixtures().join("classroom_reporter.py"))
        .arg(runners);
    for output in outputs.lines() {
        let (name, value) = output.split_once('=').unwrap();
        reporter.env(format!("{}_RESULTS", name.to_uppercase()), value);
    }
    room.furnish(&mut reporter);
    Run::of(reporter.env("PYTHONIOENCODING", "utf-8").output().unwrap())
}

fn outputs(room: &Room) -> String {
    fs::read_to_string(room.path("output")).unwrap()
}

fn everything_fails() {
    let room = Room::new();
    let much = "a long line of what it has to say ".repeat(25);
    let program = room.write(
        "program",
        &format!("#!/bin/sh\nfor n in $(seq 30); do echo {much} >&2; done\nexit 1\n"),
    );
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::write(room.path("output"), "earlier=1\n").unwrap();
    room.grade("--stage 4 --classroom output -- ./program")
        .expect_status(1);
    let outputs = outputs(&room);
    let names: Vec<_> = outputs
        .lines()
        .map(|line| line.split_once('=').unwrap().0)
        .collect();
    assert_eq!(names, ["earlier", "core", "solid", "robust"]);
    assert!(
        outputs.len() > 80_000,
        "this is a test with large results: {}",
        outputs.len()
    );
    assert!(outputs.lines().all(|line| line.len() < 128 * 1024));
    let run = report(
        &room,
        "core,solid,robust",
        outputs.split_once('\n').unwrap().1,
    );
    run.expect_status(1);
    assert!(run.out.contains("Points 0/"), "{}", run.out);
    assert!(
        run.out
            .contains("reversed: the program ended with exit status 1\n"),
        "{}",
        run.out
    );
}

/// The steps of the workflow that run a command, as a runner does it: with `bash -e`, and a step
/// that fails ends the job unless it may fail.
fn workflow() {
    let room = Room::new();
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/src/instructors/grading.md"
    );
    let page = fs::read_to_string(page).unwrap();
    let workflow = page
        .split_once("```yaml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let source = fs::read_to_string(fixtures().join("tcp_server.c")).unwrap();
    let faulty = format!("#define FAULT_STALE_BUFFER\n{source}");
    room.write("submission/tcp_server.c", &faulty);
    fs::create_dir(room.path("expserver")).unwrap();

    let (_, steps) = workflow.split_once("steps:\n").unwrap();
    let mut runners = None;
    for step in steps.split("      - ") {
        let field = |name: &str| {
            let mut lines = step.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        runners = runners.or(field("runners"));
        let Some(command) = field("run").filter(|command| !command.starts_with("sudo ")) else {
            continue;
        };
        let mut bash = Command::new("bash");
        bash.args(["-e", "-c", &command.replace("cargo grade", GRADE)]);
        room.furnish(&mut bash);
        bash.current_dir(room.path(field("working-directory").unwrap()))
            .env("GITHUB_OUTPUT", room.path("output"))
            .env("GITHUB_STEP_SUMMARY", room.path("summary.md"));
        let run = Run::of(bash.output().unwrap());
        let goes_on = run.status == Some(0) || field("continue-on-error") == Some("true");
        assert!(goes_on, "{step}: {}{}", run.out, run.err);
    }
    // The reporter reads what the grading step has written.
    for tier in ["core", "solid", "robust"] {
        let (name, value) = (tier.to_uppercase(), format!("steps.grade.outputs.{tier}"));
        let line = format!("{name}_RESULTS: ${{{{ {value} }}}}");
        assert!(workflow.contains(&line), "{line}");
    }
    let run = report(&room, runners.unwrap(), &outputs(&room));
    run.expect_status(1);
    let failed = "❌ A client gets an answer to each of its lines: wrong data\n";
    assert!(run.out.contains(failed), "{}", run.out);
    let points = run.out.lines().last().unwrap();
    let (by_scores, by_tests) = points.split_once(", by tests ").unwrap();
    assert_eq!(by_scores.strip_prefix("Points "), Some(by_tests));
    assert!(!by_tests.starts_with("0/"), "{points}");
    assert!(room.path("summary.md").exists());
}
