//! What students hand in: anything at all. It costs at most their own points, and the reason is said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;

use crate::room::{GRADE, Room, Run, fixture};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "build folders, links that lead out, pipes and more are left out and named",
            &["cc"],
            left_out,
        ),
        test(
            "a submission that is too large costs its own points, with the reason",
            &["cc"],
            too_large,
        ),
        test(
            "an archive of macOS, unpacked one level too deep, is one row with a hint",
            &[],
            unpacked,
        ),
        test("grade.toml is read only if it is a file", &[], no_file),
        test(
            "a mistake in `run` is explained once, with what to write",
            &["cc"],
            mistakes_in_run,
        ),
        test(
            "a folder without a usable grade.toml is one student's row, with or without --stage",
            &["cc"],
            mixed_class,
        ),
        test(
            "a file that cannot be read is named, and so is a folder",
            &["cc"],
            unreadable,
        ),
        test(
            "--resume grades again whatever has changed: permissions, links, options, the program",
            &["cc"],
            what_changes,
        ),
        test(
            "folders with any name are graded, each for itself",
            &["cc"],
            any_name,
        ),
        test(
            "a class has only a few copies at a time",
            &["cc"],
            few_copies,
        ),
    ]
}

const LINE: &str = "--all class --only reverses-a-line --patience 3";

/// A student with a sound C server that a build makes.
fn a_student(room: &Room, name: &str) {
    let source = fs::read_to_string(fixture("tcp_server_epoll")).unwrap();
    room.write(&format!("class/{name}/main.c"), &source);
    let recipe = "build = 'cc -o server main.c'\n[stage.4]\nrun = './server'\n";
    room.write(&format!("class/{name}/grade.toml"), recipe);
}

fn a_large_file(path: &Path, mebibytes: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path)
        .unwrap()
        .set_len(mebibytes << 20)
        .unwrap();
}

/// The only result of the submission with this name: its status, score and points.
fn result(run: &Run, name: &str) -> (String, u64, u64) {
    let json = run.json();
    let submissions = json["submissions"].as_array().unwrap();
    let found: Vec<&Value> = submissions
        .iter()
        .filter(|submission| submission["name"] == name)
        .collect();
    assert_eq!(found.len(), 1, "{name}: {}", run.out);
    let check = &found[0]["checks"][0];
    let number = |field: &str| check[field].as_u64().unwrap();
    let status = check["status"].as_str().unwrap().to_owned();
    (status, number("score"), number("points"))
}

fn passed() -> (String, u64, u64) {
    ("passed".to_owned(), 10, 10)
}

fn build_failed() -> (String, u64, u64) {
    ("build-failed".to_owned(), 0, 10)
}

fn left_out() {
    let room = Room::new();
    a_student(&room, "one");
    let one = room.path("class/one");
    room.write("class/one/Cargo.toml", "");
    a_large_file(&one.join("target/debug/large"), 2000);
    a_large_file(&one.join(".git/objects/pack"), 2000);
    a_large_file(&one.join("cmake-build/large"), 2000);
    room.write("class/one/cmake-build/CMakeCache.txt", "");
    symlink("/etc/passwd", one.join("out")).unwrap();
    symlink("../two", one.join("two")).unwrap();
    symlink("main.c", one.join("inside.c")).unwrap();
    mkfifo(&one.join("pipe"), Mode::S_IRWXU).unwrap();
    let run = room.grade(&format!("{LINE} --json"));
    run.expect_status(0);
    let json = run.json();
    let named = json["submissions"][0]["left_out"].as_str().unwrap();
    for words in [
        "`target` (a build folder)",
        "`cmake-build` (a build folder)",
        "`out` (a link that leads out of the submission, to /etc/passwd)",
        "`two` (a link that leads out",
        "`pipe` (neither a file",
    ] {
        assert!(named.contains(words), "{words}: {named}");
    }
    assert!(
        !named.contains(".git") && !named.contains("inside.c"),
        "{named}"
    );

    // Without a build, the program may be in the build folder.
    let room = Room::new();
    room.build("tcp_server_epoll", "", "class/one/target/debug/server");
    room.write("class/one/Cargo.toml", "");
    room.write(
        "class/one/grade.toml",
        "[stage.4]\nrun = 'target/debug/server'\n",
    );
    room.grade(LINE).expect_status(0);

    // A link to another student's program is no program.
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "class/one/tcp_server");
    fs::create_dir(room.path("class/two")).unwrap();
    symlink(&program, room.path("class/two/tcp_server")).unwrap();
    let run = room.grade(&format!("{LINE} --stage 4"));
    run.expect_status(1);
    assert!(
        run.out.contains("there is no program `./tcp_server`"),
        "{}",
        run.out
    );
    assert!(run.out.contains("a link that leads out"), "{}", run.out);
}

fn too_large() {
    let room = Room::new();
    for name in ["one", "two", "three"] {
        a_student(&room, name);
    }
    a_large_file(&room.path("class/one/data/video"), 2000);
    room.write(
        "class/two/grade.toml",
        "build = 'for i in 1 2 3 4 5 6; do truncate -s 200M $i; done; cc -o server main.c'\n\
         [stage.4]\nrun = './server'\n",
    );
    let run = room.grade(LINE);
    run.expect_status(1);
    for words in [
        "it has 2001 MiB, and at most 1024 MiB are graded",
        "the largest part is `data` with 2000 MiB",
        "nothing to grade: after its build it has 1201 MiB",
    ] {
        let said = run.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words}: {}", run.out);
    }
    let run = room.grade(&format!("{LINE} --json --submission-size 10"));
    assert_eq!(result(&run, "three"), passed());
    assert_eq!(result(&run, "two"), build_failed());
    room.expect_nothing_left();
}

fn no_file() {
    let room = Room::new();
    let secret = room.write("secret", "the instructor's secret = [\n");
    for name in ["folder", "link", "pipe", "large", "binary"] {
        fs::create_dir_all(room.path("class").join(name)).unwrap();
    }
    let recipe = |name: &str| room.path(&format!("class/{name}/grade.toml"));
    fs::create_dir(recipe("folder")).unwrap();
    symlink(secret, recipe("link")).unwrap();
    mkfifo(&recipe("pipe"), Mode::S_IRWXU).unwrap();
    a_large_file(&recipe("large"), 2000);
    fs::write(recipe("binary"), [0xff, 0xfe, 0]).unwrap();
    let reports = "--junit out.xml --summary out.md --json";
    let run = room.grade(&format!("{LINE} --stage 4 {reports}"));
    run.expect_status(1);
    let mut all = format!("{}{}", run.out, run.err);
    for file in ["out.xml", "out.md", "class/grade-results.jsonl"] {
        all += &fs::read_to_string(room.path(file)).unwrap();
    }
    assert!(!all.contains("secret"), "{all}");
    let said = run.err.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "cannot read its grade.toml: it is not a file",
        "its grade.toml is a link",
        "its grade.toml is larger than 64 KiB",
        "cannot read its grade.toml: stream did not contain valid UTF-8",
    ] {
        assert!(said.contains(words), "{words}: {}", run.err);
    }
}

fn mistakes_in_run() {
    let room = Room::new();
    let cases = [
        ("server", "write `./server`"),
        ("./nothing", "there is no program `./nothing`"),
        (
            "./main.c",
            "`./main.c` is not executable: chmod +x ./main.c",
        ),
        ("./windows", "end with a carriage return"),
        (". ./server", "write `sh -c"),
        ("./", "is a folder"),
        (
            "no-such-tool x",
            "there is no program `no-such-tool` on the PATH",
        ),
        ("PORT=1 ./server", "write `env PORT=1 ./server`"),
        ("cd . && ./server", "write `sh -c"),
        ("../0/server", "`../0/server` leads out of the submission"),
    ];
    for (number, (run, _)) in cases.iter().enumerate() {
        let name = format!("{number:02}");
        a_student(&room, &name);
        let script = room.write(
            &format!("class/{name}/windows"),
            "#!/bin/sh\r\n./server\r\n",
        );
        fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
        room.write(
            &format!("class/{name}/grade.toml"),
            &format!("build = 'cc -o server main.c'\n[stage.4]\nrun = '{run}'\n"),
        );
    }
    let run = room.grade(&format!("{LINE} --json"));
    run.expect_status(1);
    let json = run.json();
    for (number, (line, hint)) in cases.iter().enumerate() {
        let why = json["submissions"][number]["build_failure"].as_str();
        assert!(why.is_some_and(|why| why.contains(hint)), "{line}: {why:?}");
    }
    // What the hints say works.
    for line in ["env PORT=1 ./server", "sh -c \"cd . && exec ./server\""] {
        let room = Room::new();
        a_student(&room, "one");
        room.write(
            "class/one/grade.toml",
            &format!("build = 'cc -o server main.c'\n[stage.4]\nrun = '{line}'\n"),
        );
        room.grade(LINE).expect_status(0);
    }
    // The same for one program.
    let script = room.write("windows", "#!/bin/sh\r\n");
    fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    let run = room.grade("--stage 4 -- ./windows");
    run.expect_status(2);
    assert!(run.err.contains("carriage return"), "{}", run.err);
}

fn mixed_class() {
    let room = Room::new();
    a_student(&room, "a-recipe");
    room.build("tcp_server_epoll", "", "class/by-name/tcp_server");
    room.write("class/nothing/README", "next week\n");
    room.write("class/no-stage/grade.toml", "build = 'make'\n");
    room.write("class/wrong/grade.toml", "[stage.4\n");
    room.write("class/zip-file.ZIP", "");
    for stage in ["", "--stage 4"] {
        let run = room.grade(&format!("{LINE} {stage} --json"));
        run.expect_status(1);
        assert_eq!(result(&run, "a-recipe"), passed());
        assert_eq!(result(&run, "by-name"), passed());
        for name in ["nothing", "no-stage", "wrong"] {
            assert_eq!(result(&run, name), build_failed());
        }
        assert!(
            run.err
                .contains("not unpacked, so not graded: zip-file.ZIP"),
            "{}",
            run.err
        );
        assert!(
            run.err.contains("its grade.toml names no stage"),
            "{}",
            run.err
        );
    }
    // Nobody names a stage.
    fs::remove_dir_all(room.path("class/a-recipe")).unwrap();
    let run = room.grade(LINE);
    run.expect_status(2);
    assert!(
        run.err.contains("choose one, for example --stage 4"),
        "{}",
        run.err
    );
}

fn unreadable() {
    let room = Room::new();
    for name in ["one", "two", "three"] {
        a_student(&room, name);
    }
    let run = |program: &str, words: &[&str]| {
        let status = Command::new(program).args(words).status().unwrap();
        assert!(status.success(), "{program} {words:?}");
    };
    run("cp", &[GRADE, room.path("grader").to_str().unwrap()]);
    room.write("class/one/notes", "not needed");
    // Root can read everything, so another user grades, whatever umask the files were made with.
    run("chmod", &["-R", "a+rX", room.path("").to_str().unwrap()]);
    let close = |name: &str| {
        let path = room.path(&format!("class/{name}"));
        fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
    };
    close("one/notes");
    close("two/main.c");
    close("three");
    let grade = |line: &str| {
        let mut command = Command::new(room.path("grader"));
        command.args(line.split_whitespace());
        room.furnish(&mut command);
        if geteuid().is_root() {
            command.uid(12_345).gid(12_345);
        }
        Run::of(command.output().unwrap())
    };
    let run = grade(&format!(
        "{LINE} --stage 4 --json --results tmp/results.jsonl"
    ));
    assert_eq!(result(&run, "one"), passed(), "{}", run.err);
    assert_eq!(result(&run, "two"), build_failed());
    assert_eq!(result(&run, "three"), build_failed());
    let said = run.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("`main.c` (cannot be read: Permission denied"),
        "{}",
        run.err
    );
    assert!(said.contains("Permission denied"), "{}", run.err);
    assert!(run.out.contains("`notes` (cannot be read"), "{}", run.out);
    if geteuid().is_root() {
        let run = grade(&format!("{LINE} --stage 4"));
        run.expect_status(3);
        assert!(
            run.err.contains("--results FILE chooses another file"),
            "{}",
            run.err
        );
    }
    fs::set_permissions(room.path("class/three"), PermissionsExt::from_mode(0o755)).unwrap();
}

fn what_changes() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "class/one/tcp_server");
    let broken = room.build("tcp_server_epoll", "FAULT_ENDS_WITH_A_CLIENT", "broken");
    let file = room.path("class/grade-results.jsonl");
    let ran = |more: &str| {
        let lines = || {
            fs::read_to_string(&file)
                .unwrap_or_default()
                .lines()
                .count()
        };
        let before = lines();
        room.grade(&format!("{LINE} --stage 4 --resume {more}"));
        lines() - before
    };
    let mode = |mode: u32| fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
    assert_eq!((ran(""), ran("")), (1, 0));
    mode(0o644);
    assert_eq!((ran(""), ran("")), (1, 1), "a failed build is tried again");
    mode(0o755);
    assert_eq!(ran(""), 0, "it is as it was");
    mode(0o775);
    assert_eq!((ran(""), ran("")), (1, 0));
    assert_eq!(ran("--cpu-time 50"), 1);
    symlink("tcp_server", room.path("class/one/link")).unwrap();
    assert_eq!((ran(""), ran("")), (1, 0));
    fs::remove_file(room.path("class/one/link")).unwrap();
    symlink("nothing", room.path("class/one/link")).unwrap();
    assert_eq!((ran(""), ran("")), (1, 0));

    // One program, without a folder.
    let line = "--stage 4 --only outlives-its-clients --results one.jsonl --resume -- ./broken";
    room.grade(line).expect_status(1);
    room.grade(line).expect_status(1);
    fs::remove_file(&broken).unwrap();
    fs::copy(&program, &broken).unwrap();
    room.grade(line).expect_status(0);
}

fn any_name() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "tcp_server");
    let names: [&[u8]; 8] = [
        b"-all",
        b"two words",
        b"new\nline",
        b"\xff",
        b"\xfe",
        "ü".as_bytes(),
        b"$HOME",
        b"'",
    ];
    for name in names {
        let folder = room.path("class").join(OsStr::from_bytes(name));
        fs::create_dir_all(&folder).unwrap();
        if name != b"\xfe" {
            fs::copy(&program, folder.join("tcp_server")).unwrap();
        }
    }
    let grade = |more: &str| {
        let run = room.grade(&format!("{LINE} --stage 4 --json {more}"));
        let json = run.json();
        let submissions = json["submissions"].as_array().unwrap();
        let score = |submission: &Value| submission["total"]["score"].as_u64().unwrap();
        assert_eq!(submissions.len(), names.len());
        assert_eq!(
            submissions.iter().map(score).sum::<u64>(),
            70,
            "{}",
            run.err
        );
    };
    grade("");
    grade("--resume");
}

fn few_copies() {
    let room = Room::new();
    for number in 0..8 {
        a_student(&room, &number.to_string());
    }
    let mut grader = room
        .command(&format!("{LINE} --jobs 2"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let count_in = |place: &Path| {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let copies = entries.filter(|entry| entry.path().join("main.c").exists());
        copies.count()
    };
    let mut most = 0;
    while grader.try_wait().unwrap().is_none() {
        let places = fs::read_dir(room.path("tmp")).unwrap().flatten();
        let now = places.map(|place| count_in(&place.path())).sum();
        most = most.max(now);
        thread::sleep(Duration::from_millis(2));
    }
    assert!((1..=2).contains(&most), "{most} copies at the same time");
}

fn unpacked() {
    let room = Room::new();
    room.write("class/asha/.DS_Store", "");
    room.write("class/asha/__MACOSX/._tcp_server.c", "");
    room.write("class/asha/asha-2/tcp_server.c", "int main(void) {}\n");
    room.write("class/__MACOSX/asha/._tcp_server.c", "");
    let run = room.grade("--all class --stage 1 --only stage01/reverses-a-line");
    assert!(run.out.contains("folder `asha-2`"), "{}", run.out);
    assert!(!run.out.contains("MACOSX"), "{}", run.out);
}
