//! A program that answers nothing is soon done: two checks find it out, the others are not run.

use libtest_mimic::Trial;

use crate::room::{Room, Run};
use crate::test;

pub fn tests() -> Vec<Trial> {
    let server = "import socket, time\n\
                  for port in PORTS:\n    \
                      s = socket.socket(socket.AF_INET, KIND)\n    \
                      s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n    \
                      s.bind(('127.0.0.1', port))\n    \
                      KIND == socket.SOCK_STREAM and s.listen()\n    \
                      keep = globals().setdefault('kept', []); keep.append(s)\n\
                  time.sleep(1000)\n";
    let server = |ports: &str, kind: &str| {
        server
            .replace("PORTS", ports)
            .replace("KIND", &format!("socket.SOCK_{kind}"))
    };
    let cases = [
        (
            "1",
            1,
            "a server that never answers",
            server("[8080]", "STREAM"),
        ),
        (
            "4",
            1,
            "a server that never answers",
            server("[8080]", "STREAM"),
        ),
        (
            "4",
            1,
            "a program that does not listen",
            server("[]", "STREAM"),
        ),
        (
            "5",
            1,
            "a proxy that never connects",
            server("[8080]", "STREAM"),
        ),
        (
            "3",
            1,
            "a UDP server that never answers",
            server("[8080]", "DGRAM"),
        ),
        (
            "2",
            1,
            "a client that never connects",
            server("[]", "STREAM"),
        ),
        (
            "phase1",
            4,
            "a modular server that never answers",
            server("[8001, 8002, 8003, 8004]", "STREAM"),
        ),
    ];
    let mut tests: Vec<Trial> = cases
        .into_iter()
        .map(|(stage, parts, name, program)| {
            let name = format!("two checks are enough for {name} (stage {stage})");
            silent_test(&name, stage, parts, program)
        })
        .collect();
    tests.push(test(
        "all checks are run for a program that answers something",
        &["cc"],
        wrong_but_not_silent,
    ));
    tests
}

fn silent_test(name: &str, stage: &'static str, parts: usize, program: String) -> Trial {
    let missing = test(name, &["python3"], || {});
    let ignored = missing.has_ignored_flag();
    let name = missing.name().to_owned();
    let body = move || {
        silent(stage, parts, &program);
        Ok(())
    };
    Trial::test(name, body).with_ignored_flag(ignored)
}

fn count(run: &Run, wanted: &str) -> usize {
    let statuses = run.statuses();
    let found = statuses.iter().filter(|(_, status)| status == wanted);
    found.count()
}

fn silent(stage: &str, parts: usize, program: &str) {
    let room = Room::new();
    room.write("program.py", program);
    let line = format!("--stage {stage} --patience 1");
    let run = room.grade(&format!("{line} --json -- python3 program.py"));
    run.expect_status(1);
    let tried = count(&run, "failed") + count(&run, "crashed") + count(&run, "passed");
    assert!((2..=2 * parts).contains(&tried), "{:?}", run.statuses());
    assert!(count(&run, "follows") > 3, "{:?}", run.statuses());
    assert_eq!(run.json()["submissions"][0]["core"]["score"], 0);
    assert!(run.json()["submissions"][0]["core"]["points"].as_u64() > Some(0));
    room.expect_nothing_left();
}

fn wrong_but_not_silent() {
    let room = Room::new();
    let program = room.build("tcp_server", "FAULT_STALE_BUFFER", "tcp_server");
    let line = format!("--stage 1 --patience 1 --json -- {}", program.display());
    let run = room.grade(&line);
    assert!(count(&run, "passed") > 5, "{:?}", run.statuses());
}
