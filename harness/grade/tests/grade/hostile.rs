//! Programs that do their worst lose only their own points and leave nothing behind. A
//! grader that is interrupted leaves nothing behind either.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::room::{Room, Run};
use crate::test;

/// What `fixtures/hostile.c` can do.
pub const WAYS: &[&str] = &[
    "child",
    "closed-folder",
    "daemon",
    "deletes-its-folder",
    "endless-loop",
    "fills-the-disk",
    "flood",
    "fork-bomb",
    "ignores-sigterm",
    "kills-everybody",
    "reads-stdin",
];

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "hostile programs lose only their own points",
            &["cc"],
            cost_their_own_points,
        ),
        test(
            "a build that fills the disk or leaves processes costs only its own points",
            &["cc"],
            builds,
        ),
        test(
            "a program cannot remove or replace what its check has made, or take its room",
            &["cc", "curl", "python3"],
            spoils_its_check,
        ),
        test(
            "Ctrl-C leaves nothing behind, and the results so far are kept",
            &["cc"],
            || interrupt(Signal::SIGINT),
        ),
        test("SIGTERM leaves nothing behind either", &["cc"], || {
            interrupt(Signal::SIGTERM)
        }),
    ]
}

/// A class of hostile programs, with two sound ones among them.
pub fn a_class(room: &Room, ways: &[&str]) -> String {
    let hostile = room.build("hostile", "", "hostile-program");
    let sound = room.build("tcp_server_epoll", "", "sound-program");
    for name in ways.iter().chain(&["a-sound-one", "sound"]) {
        let folder = room.path(&format!("class/{name}"));
        fs::create_dir_all(&folder).unwrap();
        let is_sound = name.contains("sound");
        fs::copy(
            if is_sound { &sound } else { &hostile },
            folder.join("program"),
        )
        .unwrap();
        let way = if is_sound { "" } else { name };
        let recipe = format!("[stage.4]\nrun = './program {way}'\n");
        fs::write(folder.join("grade.toml"), recipe).unwrap();
    }
    room.path("class").to_str().unwrap().to_owned()
}

pub fn expect_fair(run: &Run) {
    run.expect_status(1);
    for submission in run.json()["submissions"].as_array().unwrap() {
        let name = submission["name"].as_str().unwrap();
        let wanted = if name.contains("sound") {
            submission["total"]["points"].clone()
        } else {
            0.into()
        };
        assert_eq!(
            submission["total"]["score"], wanted,
            "{name}: {submission:#}"
        );
    }
}

fn cost_their_own_points() {
    let room = Room::new();
    let class = a_class(&room, WAYS);
    let only = "--only stage04/reverses-a-line --only stage04/outlives-its-clients";
    let run = room.grade(&format!(
        "--all {class} --jobs 2 --patience 1 --json {only}"
    ));
    expect_fair(&run);
    room.expect_nothing_left();
}

fn builds() {
    let room = Room::new();
    let sound = fs::read_to_string(crate::room::fixture("tcp_server")).unwrap();
    for (student, build) in [
        ("daemon", "(setsid sleep 600 &); cc -o server tcp_server.c"),
        (
            "fills",
            "for n in $(seq 100); do head -c 200m /dev/zero > $n; done",
        ),
        ("sound", "cc -o server tcp_server.c"),
        (
            "terminals",
            "ls /dev/pts | grep -vx ptmx && exit 1; cc -o server tcp_server.c",
        ),
    ] {
        room.write(&format!("class/{student}/tcp_server.c"), &sound);
        let recipe = format!("build = \"\"\"{build}\"\"\"\n[stage.1]\nrun = './server'\n");
        room.write(&format!("class/{student}/grade.toml"), &recipe);
    }
    let run = room.grade("--all class --only stage01/reverses-a-line --json --build-time 30");
    run.expect_status(1);
    for submission in run.json()["submissions"].as_array().unwrap() {
        let failure = submission["build_failure"].as_str().unwrap_or_default();
        match submission["name"].as_str().unwrap() {
            "fills" => assert!(failure.contains("beyond 1 GiB"), "{failure}"),
            name => assert_eq!(failure, "", "{name}"),
        }
    }
    room.expect_nothing_left();
}

fn spoils_its_check() {
    let room = Room::new();
    room.build("tcp_proxy", "", "class/one/tcp_proxy");
    room.write(
        "class/one/spoil.sh",
        "find $TMPDIR -name index.html -exec sh -c 'echo mine > $0; rm $0' {} \\; 2>/dev/null\n\
         for n in 1 2 3 4 5 6; do head -c 200m /dev/zero > $TMPDIR/$n; done 2>/dev/null\n\
         exec ./tcp_proxy\n",
    );
    let recipe = "[stage.5]\nrun = 'sh spoil.sh'\n";
    room.write("class/one/grade.toml", recipe);
    room.grade("--all class --only stage05/curl")
        .expect_status(0);
}

fn interrupt(signal: Signal) {
    let room = Room::new();
    let class = a_class(&room, &["daemon", "ignores-sigterm"]);
    let line = format!("--all {class} --jobs 2 --patience 60 --only stage04/reverses-a-line");
    let mut command = room.command(&line);
    let grader = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let deadline = Instant::now() + Duration::from_secs(30);
    let file = room.path("class/grade-results.jsonl");
    let kept = || fs::read_to_string(&file).unwrap_or_default();
    let runs = |way: &str| room.processes().iter().any(|line| line.contains(way));
    while !kept().contains("a-sound-one") || !runs("ignores-sigterm") {
        assert!(Instant::now() < deadline, "the program was never started");
        thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(grader.id() as i32), signal).unwrap();
    let run = Run::of(grader.wait_with_output().unwrap());
    run.expect_status(130);
    assert!(Instant::now() < deadline, "it took too long to end");
    let row = run.out.lines().find(|line| line.contains("1 not done"));
    let row = row.unwrap_or_else(|| panic!("{}", run.out));
    assert!(
        row.contains("0/10"),
        "the points of what is not done count: {row}"
    );
    assert!(
        run.err.contains("interrupted") && run.err.contains("--resume"),
        "{}",
        run.err
    );
    room.expect_nothing_left();
    let kept = kept();
    assert!(
        kept.contains("a-sound-one") && !kept.contains("ignores-sigterm"),
        "{kept}"
    );
}
