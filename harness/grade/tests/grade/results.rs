//! The files that the grader writes: no result is lost without a word.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::room::Room;
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "the same command without --resume keeps the earlier results under another name",
            &["cc"],
            kept_aside,
        ),
        test(
            "a second grader does not write the results of the first one",
            &["cc"],
            two_at_once,
        ),
        test(
            "results that cannot be saved are reported, and the exit status is 3",
            &["cc"],
            no_space,
        ),
        test(
            "--resume takes over all whole lines of a damaged file",
            &["cc"],
            damaged,
        ),
        test("--resume goes on after SIGKILL", &["cc"], killed),
        test(
            "a report does not replace a symbolic link or a device",
            &["cc"],
            links_and_devices,
        ),
    ]
}

const LINE: &str = "--all class --stage 1 --only reverses-a-line --only line-after-line \
     --only ends-with-its-client --patience 3 --jobs 1";

/// Two students. The last check of the second one takes as long as the patience allows.
fn a_class(room: &Room) -> PathBuf {
    for (student, fault) in [("one", ""), ("two", "FAULT_GOES_ON")] {
        room.build("tcp_server", fault, &format!("class/{student}/tcp_server"));
    }
    room.path("class/grade-results.jsonl")
}

fn lines(file: &PathBuf) -> usize {
    let text = fs::read(file).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn kept_aside() {
    let room = Room::new();
    let file = a_class(&room);
    room.grade(LINE).expect_status(1);
    let first = fs::read_to_string(&file).unwrap();
    for runs in 2..4 {
        let run = room.grade(LINE);
        run.expect_status(1);
        assert!(run.err.contains("an earlier run are now in"), "{}", run.err);
        assert!(run.err.contains("--resume"), "{}", run.err);
        let names = fs::read_dir(room.path("class")).unwrap().map(|entry| {
            let name = entry.unwrap().file_name();
            name.into_string().unwrap()
        });
        let kept: Vec<String> = names
            .filter(|name| name.starts_with("grade-results"))
            .collect();
        assert_eq!(kept.len(), runs, "{kept:?}");
        let mut texts = kept
            .iter()
            .map(|name| fs::read_to_string(room.path("class").join(name)).unwrap());
        assert!(texts.any(|text| text == first), "{kept:?}");
    }
}

fn two_at_once() {
    let room = Room::new();
    let file = a_class(&room);
    let mut first = room
        .command(LINE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&file, 5);
    for options in ["", "--resume"] {
        let second = room.grade(&format!("{LINE} {options}"));
        second.expect_status(3);
        assert!(
            second.err.contains("another `cargo grade` is writing it"),
            "{}",
            second.err
        );
    }
    assert_eq!(first.wait().unwrap().code(), Some(1));
    assert_eq!(lines(&file), 6);
}

fn wait_for_lines(file: &PathBuf, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines(file) < count {
        assert!(Instant::now() < deadline, "{} results", lines(file));
        thread::sleep(Duration::from_millis(5));
    }
}

fn no_space() {
    let room = Room::new();
    let file = a_class(&room);
    let run = room.grade(&format!("{LINE} --results /dev/full"));
    run.expect_status(3);
    assert_eq!(
        run.err.matches("No space left on device").count(),
        1,
        "{}",
        run.err
    );
    assert!(run.err.contains("not all results are saved"), "{}", run.err);
    assert!(run.out.contains("30/30"), "{}", run.out);
    // A report that cannot be written does not cost the others.
    let run = room.grade(&format!(
        "{LINE} --junit /dev/full --summary class.md --resume"
    ));
    run.expect_status(3);
    assert!(run.err.contains("cannot write /dev/full"), "{}", run.err);
    assert!(room.path("class.md").metadata().unwrap().len() > 0);
    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let status = room.command(LINE).stdout(full.unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(3));

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let run = room.grade(LINE);
    run.expect_status(3);
    assert!(
        run.err.contains("--results FILE chooses another file"),
        "{}",
        run.err
    );
}

/// As a crash of the machine may leave it: the end is zeros, and a byte has changed.
fn damaged() {
    let room = Room::new();
    let file = a_class(&room);
    room.grade(LINE).expect_status(1);
    let mut text = fs::read(&file).unwrap();
    let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    text[second + 5] = 0xff;
    text.extend([0; 100]);
    fs::write(&file, &text).unwrap();
    let run = room.grade(&format!("{LINE} --resume"));
    run.expect_status(1);
    assert_eq!(lines(&file), 7, "only one check was to be run again");
    assert!(!run.err.contains("an earlier run"), "{}", run.err);
}

fn killed() {
    let room = Room::new();
    let file = a_class(&room);
    let mut command = room.command(LINE);
    let mut first = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_lines(&file, 5);
    first.kill().unwrap();
    first.wait().unwrap();
    let run = room.grade(&format!("{LINE} --resume"));
    run.expect_status(1);
    assert_eq!(lines(&file), 6);
    assert!(
        run.out.contains("30/30") && run.out.contains("20/30"),
        "{}",
        run.out
    );
}

fn links_and_devices() {
    let room = Room::new();
    a_class(&room);
    let target = room.write("elsewhere/out.xml", "");
    symlink(&target, room.path("link.xml")).unwrap();
    room.grade(&format!("{LINE} --junit link.xml"))
        .expect_status(1);
    assert!(room.path("link.xml").is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("<testcase"));

    let pipe = room.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let both_ends = fs::OpenOptions::new().read(true).write(true).open(&pipe);
    let both_ends = both_ends.unwrap();
    room.grade(
        "--stage 1 --only stage01/reverses-a-line --junit pipe --folder class/one -- ./tcp_server",
    )
    .expect_status(0);
    assert!(pipe.metadata().unwrap().file_type().is_fifo());
    drop(both_ends);
}
