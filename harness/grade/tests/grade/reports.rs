//! The reports for other programs, read back with parsers that are not ours.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use serde_json::Value;

use crate::room::{Room, Run};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "a JUnit parser finds suites, cases, failures, errors and points",
            &["cc"],
            junit,
        ),
        test(
            "Gradescope finds the fields that its documentation asks for",
            &["cc"],
            gradescope,
        ),
        test(
            "Gradescope finds results even when the grader is killed",
            &["cc"],
            gradescope_before_the_end,
        ),
        test("a step in CI gets a summary", &["cc"], summary),
        test(
            "--json prints only JSON on stdout, and the table on stderr",
            &["cc"],
            json,
        ),
        test(
            "a failed check explains itself like a tutor",
            &["cc"],
            tutor,
        ),
    ]
}

/// Three submissions: one fails a check, one crashes in it, one does not build.
fn grade_two(room: &Room, options: &str) -> Run {
    for (name, fault) in [
        ("fails", "FAULT_STALE_BUFFER"),
        ("crashes", "FAULT_CRASHES_ON_A_SECOND_LINE"),
    ] {
        let program = room.build("tcp_server", fault, name);
        let folder = room.path(&format!("class/{name}"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(program, folder.join("tcp_server")).unwrap();
    }
    room.write(
        "class/not-built/tcp_server.c",
        "int main(void) { return <missing>; }\n",
    );
    room.grade(&format!("--all class --stage 1 --patience 3 {options}"))
}

fn grade_one(room: &Room, options: &str) -> Run {
    let program = room.build("tcp_server", "FAULT_STALE_BUFFER", "tcp_server");
    let program = program.display();
    let only = "--only reverses-a-line --only line-after-line --only ends-with-its-client";
    room.grade(&format!(
        "--stage 1 {only} --patience 3 {options} -- {program}"
    ))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn junit() {
    let room = Room::new();
    let only = "--only stage01/line-after-line --only stage01/ends-with-its-client \
         --only stage01/quiet";
    grade_two(&room, &format!("--junit out.xml {only}")).expect_status(1);
    let report = Report::deserialize_from_str(&read(&room.path("out.xml"))).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (9, 1, 3));
    let names: Vec<&str> = report
        .test_suites
        .iter()
        .map(|suite| suite.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["crashes: stage 1", "fails: stage 1", "not-built: stage 1"]
    );

    let kinds = |suite: usize| -> Vec<&str> {
        let cases = report.test_suites[suite].test_cases.iter();
        let kind = |status: &TestCaseStatus| match status {
            TestCaseStatus::Success { .. } => "success",
            TestCaseStatus::Skipped { .. } => "skipped",
            TestCaseStatus::NonSuccess {
                kind: NonSuccessKind::Failure,
                ..
            } => "failure",
            TestCaseStatus::NonSuccess {
                kind: NonSuccessKind::Error,
                ..
            } => "error",
        };
        cases.map(|case| kind(&case.status)).collect()
    };
    assert_eq!(kinds(0), ["error", "success", "skipped"]);
    assert_eq!(kinds(1), ["failure", "success", "skipped"]);
    assert_eq!(kinds(2), ["error", "error", "skipped"]);

    let case = &report.test_suites[1].test_cases[0];
    assert_eq!(case.classname.as_ref().unwrap().as_str(), "fails.core");
    assert!(case.time.is_some() && report.test_suites[1].timestamp.is_some());
    let property = |name: &str| {
        let found = case
            .properties
            .iter()
            .find(|property| property.name.as_str() == name);
        found.unwrap().value.as_str().to_owned()
    };
    assert_eq!(
        (property("score"), property("points")),
        ("0".into(), "10".into())
    );
    let TestCaseStatus::NonSuccess {
        message,
        description,
        ..
    } = &case.status
    else {
        panic!("{case:?}")
    };
    assert!(message.as_ref().unwrap().as_str().starts_with("wrong data"));
    assert!(description.as_ref().unwrap().as_str().contains("hint:"));
    let built = report.test_suites[2].system_out.as_ref().unwrap();
    assert!(built.as_str().contains("<missing>"), "{built:?}");
}

fn gradescope() {
    let room = Room::new();
    grade_one(&room, "--gradescope results.json").expect_status(1);
    let results: Value = serde_json::from_str(&read(&room.path("results.json"))).unwrap();
    assert_eq!(results["score"], 20);
    assert!(results["execution_time"].is_u64() && results["output"].is_string());
    assert_eq!(results["output_format"], "text");
    assert_eq!(results["visibility"], "visible");
    assert_eq!(results["stdout_visibility"], "hidden");
    let tests = results["tests"].as_array().unwrap();
    let score = |field: &str| {
        tests
            .iter()
            .map(|test| test[field].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((score("score"), score("max_score")), (20, 30));
    for test in tests {
        let passed = test["status"] == "passed";
        assert_eq!(passed, test["score"] == test["max_score"]);
        assert!(passed || test["output"].as_str().unwrap().contains("hint:"));
        assert!(test["name"].is_string() && test["number"].is_string());
        assert_eq!(test["output_format"], "text");
        assert_eq!(test["visibility"], "visible");
        assert_eq!(test["tags"][0], "core");
    }
}

fn gradescope_before_the_end() {
    let room = Room::new();
    let file = room.path("results.json");
    // The last check takes a minute, so it has no result when the grader is killed.
    let program = room.build("tcp_server", "FAULT_GOES_ON", "tcp_server");
    let line = format!(
        "--stage 1 --tier core --patience 60 --jobs 1 --gradescope results.json -- {}",
        program.display()
    );
    let mut grader = room.command(&line).spawn().unwrap();
    let tests = || {
        let results: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
        Some(results["tests"].as_array()?.len())
    };
    while tests() != Some(2) {
        assert!(
            grader.try_wait().unwrap().is_none(),
            "the grader ended by itself"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    grader.kill().unwrap();
    grader.wait().unwrap();
    assert_eq!(tests(), Some(2));
}

fn summary() {
    let room = Room::new();
    let summary = room.path("summary.md");
    grade_one(&room, "--summary summary.md").expect_status(1);

    let text = read(&summary);
    assert!(
        text.contains("## Stage 1: <code>tcp&#95;server</code>"),
        "{text}"
    );
    assert!(text.contains("**Core: 20/30 points**"), "{text}");
    assert!(
        text.contains("| ✅ | A line is answered with the line reversed | 10/10 |"),
        "{text}"
    );
    assert!(
        text.contains("<details><summary>❌ A client gets an answer"),
        "{text}"
    );
}

fn json() {
    let room = Room::new();
    let run = grade_one(&room, "--json");
    let json = run.json();
    assert_eq!(json["version"], 1);
    let submission = &json["submissions"][0];
    assert_eq!(
        submission["core"],
        serde_json::json!({"score": 20, "points": 30})
    );
    assert!(run.err.contains("core 20/30"), "{}", run.err);
}

fn tutor() {
    let room = Room::new();
    let run = grade_one(&room, "");
    for part in [
        "✗ stage01/line-after-line (core, 0/10 points)",
        "A client gets an answer to each of its lines",
        "wrong data: the client received more than the answer",
        "expected:",
        "received:",
        "why it matters: ",
        "the client sends `a longer first line\\n`",
        "has printed to stdout:\n    [INFO] Server listening on port 8080",
        "hint: ",
        "read: docs/src/phase0/stage01.md",
    ] {
        assert!(run.out.contains(part), "{part}\n{}", run.out);
    }
}
