//! What an instructor meets first: the list, the ids of checks, and mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;

use crate::room::Room;
use crate::{plain, test};

pub fn tests() -> Vec<Trial> {
    vec![
        plain(
            "a wrong command line is explained, and the exit status is 2",
            mistakes,
        ),
        plain(
            "a report that cannot be written is noticed before the grading",
            unwritable_reports,
        ),
        plain("--list shows checks, tiers and points", list),
        test(
            "--list and a report name the same maximum: what can be reached here",
            &[],
            maximum,
        ),
        test(
            "--only runs one check by its id, or several by a part of their ids",
            &["cc"],
            only,
        ),
        test(
            "the result of a program that does not start says why",
            &[],
            does_not_start,
        ),
        test(
            "each check runs in a fresh copy of --folder",
            &["cc"],
            folder,
        ),
        test("placeholders are replaced by ports", &["cc"], placeholders),
    ]
}

fn mistakes() {
    let room = Room::new();
    room.write("server.c", "int main(void) { return 0; }\n");
    room.write("plain", "text\n");
    fs::create_dir(room.path("empty")).unwrap();
    let cases = [
        (
            "--stage 9 -- ./plain",
            "use 1 to 5, or phase1; the course's stages 6 to 13",
        ),
        ("--stage 0 -- ./plain", "use 1 to 5, or phase1"),
        (
            "-- ./plain",
            "no stage given; choose one, for example --stage 4",
        ),
        (
            "--stage 4",
            "no program given; try `cargo grade --stage 4 -- ./tcp_server`",
        ),
        ("--stage 4 -- ./missing", "no program to grade at ./missing"),
        ("--stage 4 -- plain", "there is one in this folder: ./plain"),
        ("--stage 4 -- ./plain", "chmod +x ./plain"),
        (
            "--stage 4 -- ./server.c",
            "compile it first: cc -pthread -o ./server ./server.c",
        ),
        ("--stage 4 -- ./empty", "is a folder, not a program"),
        (
            "--stage 4 --only no-such-check -- ./plain",
            "no check of stage 4 has `no-such-check` in its id",
        ),
        (
            "--stage 4 --folder missing -- ./plain",
            "--folder missing: no such folder",
        ),
        ("--all missing", "cannot read the submissions in missing"),
        ("--all empty", "no submissions in empty"),
        ("--list", "--list needs a stage"),
        ("--stage 4 --jobs 0 -- ./plain", "--jobs"),
        ("--stage 4 --resume -- ./plain", "--all"),
    ];
    for (line, words) in cases {
        let run = room.grade(line);
        run.expect_status(2);
        assert!(run.err.contains(words), "{line}: {}", run.err);
    }
    room.expect_nothing_left();
}

fn unwritable_reports() {
    let room = Room::new();
    for option in ["--junit", "--gradescope", "--summary", "--classroom"] {
        let run = room.grade(&format!("--stage 4 {option} missing/file -- /bin/true"));
        run.expect_status(3);
        let why = "grade: cannot write missing/file: No such file or directory";
        assert!(run.err.contains(why), "{option}: {}", run.err);
        assert_eq!(run.out, "", "{option}");
    }
    room.expect_nothing_left();
}

fn list() {
    let room = Room::new();
    for stage in ["1", "2", "3", "4", "5", "phase1"] {
        let run = room.grade(&format!("--stage {stage} --list"));
        run.expect_status(0);
        for tier in [
            "core: what the course asks for",
            "solid: what any program that is left running must do",
            "robust: what a real program must withstand",
        ] {
            assert!(run.out.contains(tier), "{tier}\n{}", run.out);
        }
    }
    let run = room.grade("--stage 4 --list --only stage04/half-close");
    assert!(run.out.contains("stage04/half-close"), "{}", run.out);
    assert!(!run.out.contains("stage04/crlf"), "{}", run.out);
}

/// The checks that need options of our own programs do not count for a student's.
fn maximum() {
    let listed = |options: &str| -> u64 {
        let run = Room::new().grade(&format!("--stage 4 --list {options}"));
        run.expect_status(0);
        let points = run.out.lines().filter_map(|line| {
            let words = line.strip_suffix(" points")?;
            words.split_whitespace().next_back()?.parse::<u64>().ok()
        });
        points.sum()
    };
    for options in ["", "--workspace-options"] {
        let line = format!("--stage 4 {options} --patience 1 --json -- /bin/true");
        let json = Room::new().grade(&line).json();
        let maximum = json["submissions"][0]["total"]["points"].as_u64();
        assert_eq!(maximum, Some(listed(options)));
    }
    assert!(listed("") < listed("--workspace-options"));
}

fn only() {
    let room = Room::new();
    let program = room.build("tcp_server", "FAULT_STALE_BUFFER", "tcp_server");
    let program = program.display();
    let run = |only: &str| room.grade(&format!("--stage 1 --only {only} --json -- {program}"));
    let by_id = run("stage01/ends-after-a-reset");
    by_id.expect_status(0);
    assert_eq!(by_id.statuses().len(), 1, "{}", by_id.out);
    assert_eq!(run("ends-after-a-reset").statuses().len(), 2);
    // A check that --only selects counts, whatever its tier.
    run("stage01/crlf").expect_status(1);
    run("stage01/line-after-line").expect_status(1);
    let quiet = room.grade(&format!("--stage 1 --only stage01/quiet -- {program}"));
    assert!(quiet.out.contains("--workspace-options"), "{}", quiet.out);
}

fn does_not_start() {
    let room = Room::new();
    let cases = [
        (
            "wrong-shell",
            "#!/no/such/shell\n",
            "No such file or directory",
        ),
        (
            "ends-at-once",
            "#!/bin/sh\necho no configuration >&2\nexit 7\n",
            "no configuration",
        ),
    ];
    for (name, text, words) in cases {
        let path = room.write(name, text);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let run = room.grade(&format!(
            "--stage 4 --only stage04/reverses-a-line -- {}",
            path.display()
        ));
        run.expect_status(1);
        assert!(run.out.contains(words), "{name}: {}", run.out);
    }
}

/// A program that needs a file of its folder, and deletes it.
fn folder() {
    let room = Room::new();
    room.build("tcp_server", "", "work/tcp_server_program");
    room.write("work/data/needed", "here\n");
    let script = "#!/bin/sh\nrm data/needed && exec ./tcp_server_program\n";
    let path = room.write("work/run", script);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let run = room.grade("--stage 1 --tier core --folder work -- ./run");
    run.expect_status(0);
    assert!(room.path("work/data/needed").exists());
}

fn placeholders() {
    let room = Room::new();
    room.build("tcp_server", "", "tcp_server");
    let script = "#!/bin/sh\n[ \"$*\" = '--port=8080 -u 3000' ] && exec \"${0%/*}\"/tcp_server\necho \"$*\" >&2\n";
    let path = room.write("run", script);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    room.grade("--stage 1 --tier core -- ./run --port={port} -u {upstream}")
        .expect_status(0);
}
