//! What befalls the grader itself: its failures are not the students', and cost no points.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::room::{GRADE, Room, Run};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "the grader goes on when its own program is built anew",
            &["cc"],
            built_anew,
        ),
        test(
            "a failure of the grader has a sign of its own, a reason, and no points",
            &["cc"],
            own_failure,
        ),
    ]
}

/// Grades two students, one after the other. While the program of the first one runs, does
/// something to the grader.
fn grade_two_and_meanwhile(room: &Room, options: &str, meanwhile: impl Fn(&Path)) -> Run {
    let (slow, sound) = (
        room.build("tcp_server", "FAULT_GOES_ON", "slow"),
        room.build("tcp_server", "", "sound"),
    );
    for (student, program) in [("a-slow", slow), ("b-sound", sound)] {
        fs::create_dir_all(room.path("class").join(student)).unwrap();
        fs::copy(program, room.path("class").join(student).join("tcp_server")).unwrap();
    }
    // A copy, which is made by `cp`: see `refused.rs`.
    let grader = room.path("grader");
    let copied = Command::new("cp").arg(GRADE).arg(&grader).status();
    assert!(copied.unwrap().success());
    let line = format!(
        "--all class --stage 1 --only stage01/ends-with-its-client --jobs 1 --patience 3 {options}"
    );
    let mut command = Command::new(&grader);
    command.args(line.split_whitespace());
    room.furnish(&mut command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !room
        .processes()
        .iter()
        .any(|line| line.contains("tcp_server"))
    {
        assert!(Instant::now() < deadline, "no program was started");
        assert!(child.try_wait().unwrap().is_none(), "the grader has ended");
        thread::sleep(Duration::from_millis(5));
    }
    meanwhile(&grader);
    Run::of(child.wait_with_output().unwrap())
}

fn built_anew() {
    let room = Room::new();
    let run = grade_two_and_meanwhile(&room, "--json", |grader| {
        fs::remove_file(grader).unwrap();
        fs::write(grader, "another program\n").unwrap();
    });
    run.expect_status(1);
    let json = run.json();
    let status = |student: usize| json["submissions"][student]["checks"][0]["status"].clone();
    assert_eq!((status(0), status(1)), ("failed".into(), "passed".into()));
    room.expect_nothing_left();
}

fn own_failure() {
    let room = Room::new();
    let run = grade_two_and_meanwhile(&room, "--summary class.md --junit out.xml", |_| {
        for entry in fs::read_dir(room.path("tmp")).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).ok(); // parts of it are in use
        }
    });
    run.expect_status(3);
    let row = run.out.lines().find(|line| line.contains("b-sound"));
    let row = row.unwrap_or_else(|| panic!("{run:?}"));
    assert!(row.starts_with(" ?") && !row.contains("0/"), "{}", run.out);
    assert!(row.contains("1 not carried out"), "{}", run.out);
    for words in [
        "? b-sound: the grader could not carry out stage01/ends-with-its-client",
        "cannot copy the submission",
    ] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    let summary = fs::read_to_string(room.path("class.md")).unwrap();
    assert!(
        summary.contains("❔ not carried out") && !summary.contains("b-sound | 1 | 0/"),
        "{summary}"
    );
}
