//! A folder of submissions: several graded at the same time, builds, and continued runs.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use harness::program::FULL;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::room::{Room, fixture};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "submissions graded at the same time, all on port 8080, get the same results as one by one",
            &["cc"],
            side_by_side,
        ),
        test(
            "a submission is built as its grade.toml says, from a .c file, or not at all",
            &["cc", "make"],
            builds,
        ),
        test(
            "a build cannot write to other submissions or to its own source",
            &["cc"],
            builds_in_a_copy,
        ),
        test(
            "--resume skips what is done and grades what has changed again",
            &["cc"],
            resumes,
        ),
        test(
            "a student's mistake in grade.toml costs only that student's points",
            &[],
            wrong_recipe,
        ),
    ]
}

/// A folder for each student, with copies of sound and broken programs in turn.
fn a_class(room: &Room, students: usize) -> PathBuf {
    let faults = [
        "",
        "FAULT_STALE_BUFFER",
        "",
        "FAULT_FIVE_CLIENTS",
        "FAULT_ENDS_WITH_A_CLIENT",
    ];
    let variants: Vec<PathBuf> = (0..faults.len())
        .map(|number| {
            room.build(
                "tcp_server_epoll",
                faults[number],
                &format!("variant-{number}"),
            )
        })
        .collect();
    for student in 0..students {
        let folder = room.path(&format!("class/student-{student:02}"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(
            &variants[student % variants.len()],
            folder.join("tcp_server"),
        )
        .unwrap();
    }
    room.path("class")
}

/// Submission, check, status and outcome: these must not depend on how the run was made.
fn outcomes(json: &Value) -> Vec<String> {
    let submissions = json["submissions"].as_array().unwrap();
    let outcome = |submission: &Value, check: &Value| {
        format!(
            "{} {} {} {}",
            submission["name"], check["id"], check["status"], check["outcome"]
        )
    };
    let all = submissions.iter().flat_map(|submission| {
        let checks = submission["checks"].as_array().unwrap();
        checks.iter().map(move |check| outcome(submission, check))
    });
    all.collect()
}

fn side_by_side() {
    let room = Room::new();
    let students = if std::env::var_os(FULL).is_some() {
        40
    } else {
        10
    };
    a_class(&room, students);
    let grade = |jobs: u8| {
        let begun = Instant::now();
        let run = room.grade(&format!(
            "--all class --stage 4 --tier core --patience 3 --json --jobs {jobs}"
        ));
        run.expect_status(1); // some have failed
        (outcomes(&run.json()), begun.elapsed())
    };
    let (one_by_one, alone) = grade(1);
    let (two_at_once, together) = grade(2);
    println!("{students} submissions: {alone:.1?} one by one, {together:.1?} two at once");
    assert_eq!(one_by_one.len(), students * 5);
    let differ: Vec<_> = one_by_one
        .iter()
        .zip(&two_at_once)
        .filter(|(one, two)| one != two)
        .collect();
    assert!(differ.is_empty(), "{differ:?}");
    for (number, outcomes) in one_by_one.chunks(5).enumerate() {
        let failed = outcomes
            .iter()
            .filter(|outcome| !outcome.contains("\"passed\""))
            .count();
        assert_eq!(failed, [0, 1, 0, 1, 1][number % 5], "{outcomes:?}");
    }
    room.expect_nothing_left();
}

fn builds() {
    let room = Room::new();
    let source = fs::read_to_string(fixture("tcp_server_epoll")).unwrap();
    room.write("class/by-name/tcp_server.c", &source);
    room.write("class/by-recipe/source/main.c", &source);
    room.write(
        "class/by-recipe/Makefile",
        "bin/server: source/main.c\n\tmkdir -p bin\n\tcc -o $@ $<\n",
    );
    room.write(
        "class/by-recipe/grade.toml",
        "build = \"make\"\n[stage.4]\nrun = \"bin/server\"\n",
    );
    room.write(
        "class/does-not-build/tcp_server.c",
        "int main(void) { return missing; }\n",
    );
    room.write("class/empty/README", "next week\n");
    let run = room.grade("--all class --stage 4 --only stage04/reverses-a-line --json");
    run.expect_status(1);
    let json = run.json();
    let scores: Vec<u64> = (0..4)
        .map(|number| {
            json["submissions"][number]["total"]["score"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(scores, [10, 10, 0, 0], "{}", run.err);
    let words = json["submissions"][2]["build_failure"].as_str().unwrap();
    assert!(
        words.contains("missing") && words.contains("error"),
        "{words}"
    );
    assert!(run.err.contains("build failed"), "{}", run.err);
    assert!(
        run.err.contains("nothing to grade: it has no grade.toml"),
        "{}",
        run.err
    );
    assert!(
        !room.path("class/by-name/tcp_server").exists(),
        "it was built in the student's own folder"
    );
    room.expect_nothing_left();
}

fn builds_in_a_copy() {
    let room = Room::new();
    let source = fs::read_to_string(fixture("tcp_server_epoll")).unwrap();
    room.write("class/one/tcp_server.c", &source);
    let victim = room.path("class/one/tcp_server.c");
    let build = format!(
        "echo ruined > {0}; echo ruined > ../0/tcp_server.c; cc -o server tcp_server.c",
        victim.display()
    );
    room.write("class/two/tcp_server.c", &source);
    room.write(
        "class/two/grade.toml",
        &format!("build = '{build}'\n[stage.4]\nrun = './server'\n"),
    );
    room.grade("--all class --stage 4 --only stage04/reverses-a-line --jobs 1")
        .expect_status(0);
    assert_eq!(fs::read_to_string(victim).unwrap(), source);
}

fn resumes() {
    let room = Room::new();
    let class = a_class(&room, 4);
    let grade = |more: &str| {
        let run = room.grade(&format!(
            "--all class --stage 4 --tier core --patience 3 --json {more}"
        ));
        run.expect_status(1);
        outcomes(&run.json())
    };
    let whole = grade("");
    let file = class.join("grade-results.jsonl");
    let lines = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    assert_eq!(lines(&file), 20);

    // As an interrupted run leaves it: the last line is incomplete.
    let text = fs::read_to_string(&file).unwrap();
    let cut: usize = text.lines().take(12).map(|line| line.len() + 1).sum();
    fs::write(&file, &text[..cut + 20]).unwrap();
    let begun = fs::read_to_string(&file).unwrap();
    assert_eq!(grade("--resume"), whole);
    assert_eq!(lines(&file), 20);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with(&begun[..cut]),
        "checks that had a result were run again"
    );

    // A new version of one submission.
    fs::copy(room.path("variant-0"), class.join("student-01/tcp_server")).unwrap();
    let changed = grade("--resume");
    assert_eq!(lines(&file), 25);
    let differ: Vec<_> = whole
        .iter()
        .zip(&changed)
        .filter(|(before, now)| before != now)
        .collect();
    assert_eq!(differ.len(), 1, "{differ:?}");
}

fn wrong_recipe() {
    let room = Room::new();
    room.write("class/one/grade.toml", "[stage.4]\nrum = './server'\n");
    room.write("class/two/grade.toml", "[stage.5]\nrun = './server'\n");
    room.write("class/three/grade.toml", "[stage.4]\nrun = './not-there'\n");
    let run = room.grade("--all class --stage 4 --only stage04/reverses-a-line");
    run.expect_status(1);
    assert!(
        run.out.contains("unknown field `rum`") || run.out.contains("has an error"),
        "{}",
        run.out
    );
    assert!(run.out.contains("has no [stage.4]"), "{}", run.out);
}
