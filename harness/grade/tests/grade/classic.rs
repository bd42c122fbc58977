//! C programs in the classic style: sound ones pass all core checks, and each broken one
//! fails only the check for its fault.

use libtest_mimic::{Failed, Trial};

use crate::room::{Room, fixtures, isolates};

/// Stage, fixture.
const SOUND: &[(&str, &str)] = &[
    ("1", "tcp_server"),
    ("3", "udp_server"),
    ("4", "tcp_server_epoll"),
    ("5", "tcp_proxy"),
];

struct Broken {
    stage: &'static str,
    source: &'static str,
    fault: &'static str,
    check: &'static str,
    outcome: &'static str,
}

#[rustfmt::skip] // a table
const BROKEN: &[Broken] = &[
    Broken { stage: "1", source: "tcp_server", fault: "FAULT_STALE_BUFFER", check: "stage01/line-after-line", outcome: "wrong data" },
    Broken { stage: "1", source: "tcp_server", fault: "FAULT_ONE_ANSWER", check: "stage01/line-after-line", outcome: "timed out" },
    Broken { stage: "1", source: "tcp_server", fault: "FAULT_EXIT_STATUS_0", check: "stage01/ends-with-its-client", outcome: "the program ended with exit status 0" },
    Broken { stage: "1", source: "tcp_server", fault: "FAULT_GOES_ON", check: "stage01/ends-with-its-client", outcome: "timed out" },
    Broken { stage: "1", source: "tcp_server", fault: "FAULT_CRASHES_ON_A_SECOND_LINE", check: "stage01/line-after-line", outcome: "the program was killed by SIGABRT" },
    Broken { stage: "3", source: "udp_server", fault: "FAULT_SHARED_REQUEST", check: "stage03/own-answers", outcome: "" },
    Broken { stage: "4", source: "tcp_server_epoll", fault: "FAULT_STALE_BUFFER", check: "stage04/line-after-line", outcome: "wrong data" },
    Broken { stage: "4", source: "tcp_server_epoll", fault: "FAULT_FIVE_CLIENTS", check: "stage04/clients-at-the-same-time", outcome: "" },
    Broken { stage: "4", source: "tcp_server_epoll", fault: "FAULT_WAITS_FOR_THE_LINE", check: "stage04/silent-client", outcome: "timed out" },
    Broken { stage: "4", source: "tcp_server_epoll", fault: "FAULT_ENDS_WITH_A_CLIENT", check: "stage04/outlives-its-clients", outcome: "the program ended with exit status 0" },
    Broken { stage: "5", source: "tcp_proxy", fault: "FAULT_ONE_PAIR", check: "stage05/clients-at-the-same-time", outcome: "" },
    Broken { stage: "5", source: "tcp_proxy", fault: "FAULT_DROPS_A_NUL", check: "stage05/any-byte", outcome: "" },
    Broken { stage: "5", source: "tcp_proxy", fault: "FAULT_SENDS_ONCE", check: "stage05/large-transfers", outcome: "" },
    Broken { stage: "5", source: "tcp_proxy", fault: "FAULT_UPSTREAM_NEVER_HEARS", check: "stage05/end-of-the-client", outcome: "" },
    Broken { stage: "5", source: "tcp_proxy", fault: "FAULT_CLIENT_NEVER_HEARS", check: "stage05/end-of-the-upstream", outcome: "timed out" },
];

pub fn tests() -> Vec<Trial> {
    let missing = match harness::host::find_tool("cc") {
        None => " (needs cc)",
        Some(_) if !isolates() => " (needs namespaces)",
        Some(_) => "",
    };
    let sound = SOUND.iter().map(|&(stage, source)| {
        let name = format!("{source}.c passes the core checks of stage {stage}{missing}");
        Trial::test(name, move || passes(stage, source))
    });
    let broken = BROKEN.iter().map(|broken| {
        let Broken {
            source,
            fault,
            check,
            ..
        } = broken;
        let name = format!("{source}.c with {fault} fails only {check}{missing}");
        Trial::test(name, || fails(broken))
    });
    let others = [
        crate::test(
            "a server that does not set SO_REUSEADDR is found",
            &["cc"],
            port_is_taken_again,
        ),
        crate::test(
            "an exception that ends a program with exit status 1 is a crash",
            &["python3"],
            exception_is_a_crash,
        ),
    ];
    sound
        .chain(broken)
        .map(|test| test.with_ignored_flag(!missing.is_empty()))
        .chain(others)
        .collect()
}

/// The fixture has `setsockopt`, or not. In its own network the server can be started twice.
fn port_is_taken_again() {
    let room = Room::new();
    for (fault, status) in [("", 0), ("FAULT_DOES_NOT_REUSE_THE_ADDRESS", 1)] {
        let program = room.build("tcp_server_epoll", fault, "tcp_server_epoll");
        let program = program.display();
        let only = "--only stage04/port-is-free-at-once";
        room.grade(&format!("--stage 4 {only} -- {program}"))
            .expect_status(status);
    }
}

/// The check asks for exit status 1, and this is also how Python ends after an exception.
fn exception_is_a_crash() {
    let program = fixtures().join("tcp_server_once.py");
    let program = program.display();
    let only = "--only stage01/ends-with-its-client";
    let run = Room::new().grade(&format!("--stage 1 {only} --json -- python3 {program}"));
    run.expect_status(1);
    assert_eq!(run.statuses()[0].1, "crashed", "{}", run.out);
}

fn passes(stage: &str, source: &str) -> Result<(), Failed> {
    let room = Room::new();
    let program = room.build(source, "", source);
    let program = program.display();
    let run = room.grade(&format!("--stage {stage} --tier core --json -- {program}"));
    run.expect_status(0);
    let passed = run
        .statuses()
        .iter()
        .filter(|(_, status)| status == "passed")
        .count();
    assert!(passed > 1, "{}", run.out);
    Ok(())
}

fn fails(broken: &Broken) -> Result<(), Failed> {
    let room = Room::new();
    let program = room.build(broken.source, broken.fault, broken.source);
    let (stage, program) = (broken.stage, program.display());
    let run = room.grade(&format!(
        "--stage {stage} --tier core --patience 3 --json -- {program}"
    ));
    run.expect_status(1);
    // The check with curl finds some of the faults too, but curl is not installed everywhere.
    let mut failed = run.failed();
    failed.remove("stage05/curl");
    assert_eq!(
        failed.into_iter().collect::<Vec<_>>(),
        [broken.check],
        "{}",
        run.err
    );
    let json = run.json();
    let checks = json["submissions"][0]["checks"].as_array().unwrap();
    let result = checks
        .iter()
        .find(|check| check["id"] == broken.check)
        .unwrap();
    let outcome = result["outcome"].as_str().unwrap();
    assert!(
        broken.outcome.is_empty() || outcome == broken.outcome,
        "{outcome}"
    );
    room.expect_nothing_left();
    Ok(())
}
