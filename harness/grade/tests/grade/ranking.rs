//! The points put programs into the order in which a teacher would put them.

use std::fs;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::room::{Room, fixtures};

struct Entry {
    name: &'static str,
    source: &'static str,
    build: &'static str,
    run: &'static str,
}

/// The simple C program of stage 4, with a fault.
const fn c(name: &'static str, build: &'static str) -> Entry {
    let (source, run) = ("tcp_server_epoll.c", "./program");
    Entry {
        name,
        source,
        build,
        run,
    }
}

const NODE: Entry = Entry {
    name: "node",
    source: "line_server.js",
    build: "",
    run: "node line_server.js",
};

const JAVA: Entry = Entry {
    name: "java",
    source: "LineServer.java",
    build: "javac LineServer.java",
    run: "java LineServer",
};

const PYTHON: Entry = Entry {
    name: "simple-python",
    source: "line_server.py",
    build: "",
    run: "python3 line_server.py",
};

/// Programs of stage 4, the best first. Each has more points than all of the next row.
#[rustfmt::skip] // a table
const STAGE_4: &[&[Entry]] = &[
    // Right: they find the lines in the bytes.
    &[NODE, JAVA],
    // As simple as the course teaches it: each read is taken for a line.
    &[c("simple-c", ""), PYTHON],
    // The simple one with a fault that shows when it is left running.
    &[
        c("leaks-memory", "-DFAULT_LEAKS_MEMORY"),
        c("never-closes", "-DFAULT_NEVER_CLOSES"),
        c("spins", "-DFAULT_ALWAYS_WAITS_FOR_ROOM"),
        c("ends-at-a-reset", "-DFAULT_ENDS_AT_A_RESET"),
        c("closes-all-at-a-reset", "-DFAULT_CLOSES_ALL_AT_A_RESET"),
        c("dies-of-sigpipe", "-DFAULT_SIGPIPE"),
    ],
    // It does what it is for, but the bytes come back in the wrong order.
    &[c("reverses-the-line-break", "-DFAULT_REVERSES_THE_LINE_BREAK")],
    // It loses bytes and clients, or serves only until one leaves.
    &[
        c("one-read-per-edge", "-DFAULT_ONE_READ_PER_EDGE"),
        c("ends-with-a-client", "-DFAULT_ENDS_WITH_A_CLIENT"),
    ],
    &[Entry { source: "tcp_server.c", ..c("one-client", "") }],
    &[c("answers-nothing", "-DFAULT_ANSWERS_NOTHING")],
];

/// A heap that is collected from time to time grows for a while, without a leak.
const NO_LEAK: &[Entry] = &[NODE, JAVA, PYTHON];

const LEAK: &[Entry] = &[
    c("leaks-memory", "-DFAULT_LEAKS_MEMORY"),
    c("never-closes", "-DFAULT_NEVER_CLOSES"),
    Entry {
        name: "node-leaks",
        run: "node line_server.js leaks",
        ..NODE
    },
];

const TOOLS: &[&str] = &["cc", "python3", "node", "javac"];

pub fn tests() -> Vec<Trial> {
    vec![
        crate::test(
            "programs of stage 4 have points in the order of a teacher",
            TOOLS,
            in_order,
        ),
        crate::test(
            "a runtime that collects its memory does not leak, and a leak is found",
            TOOLS,
            leaks,
        ),
        crate::test(
            "what follows from a failed check is not run, and has no points",
            &["cc"],
            followers,
        ),
    ]
}

fn followers() {
    const SIMPLE: &[Entry] = &[c("simple-c", "")];
    let only = "--only stage04/several-lines-in-one-read --only stage04/many-lines-in-one-segment";
    let (json, table) = grade(&[SIMPLE], only);
    let checks = json["submissions"][0]["checks"].as_array().unwrap();
    let statuses: Vec<&str> = checks
        .iter()
        .filter_map(|it| it["status"].as_str())
        .collect();
    assert_eq!(statuses, ["failed", "follows"], "{table}");
    let what = "follows from stage04/several-lines-in-one-read";
    assert_eq!(checks[1]["outcome"], what, "{table}");
    assert_eq!(json["submissions"][0]["total"]["points"], 6, "{table}");
    // Alone it is run.
    let (json, table) = grade(&[SIMPLE], "--only stage04/many-lines-in-one-segment");
    let status = &json["submissions"][0]["checks"][0]["status"];
    assert_eq!(status, "failed", "{table}");
}

fn leaks() {
    let only = "--only stage04/no-leak --only stage04/reverses-a-line";
    let (json, table) = grade(&[NO_LEAK, LEAK], only);
    for entry in NO_LEAK {
        assert_eq!(score(&json, entry), 15, "{}\n{table}", entry.name);
    }
    for entry in LEAK {
        assert_eq!(score(&json, entry), 10, "{}\n{table}", entry.name);
    }
}

fn in_order() {
    let (json, table) = grade(STAGE_4, "--tier core --tier solid");
    for pair in STAGE_4.windows(2) {
        let points = |entry: &&Entry| score(&json, entry);
        let worst = pair[0].iter().min_by_key(points).unwrap();
        let best = pair[1].iter().max_by_key(points).unwrap();
        let (worse, better) = (points(&worst), points(&best));
        let (name, other) = (worst.name, best.name);
        assert!(
            worse > better,
            "{name} has {worse} points, and {other} has {better}\n{table}"
        );
    }
}

fn score(json: &Value, entry: &Entry) -> u64 {
    let submissions = json["submissions"].as_array().unwrap();
    let found = submissions.iter().find(|it| it["name"] == entry.name);
    found.unwrap()["total"]["score"].as_u64().unwrap()
}

/// The results of these programs as a class, and the table of them.
fn grade(rows: &[&[Entry]], checks: &str) -> (Value, String) {
    let room = Room::new();
    for entry in rows.iter().copied().flatten() {
        let folder = room.path("class").join(entry.name);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(fixtures().join(entry.source), folder.join(entry.source)).unwrap();
        let build = match entry.source.strip_suffix(".c") {
            Some(_) => format!("cc -pthread {} -o program {}", entry.build, entry.source),
            None => entry.build.to_owned(),
        };
        let build = match build.as_str() {
            "" => String::new(),
            build => format!("build = '{build}'\n"),
        };
        let recipe = format!("{build}[stage.4]\nrun = '{}'\n", entry.run);
        fs::write(folder.join("grade.toml"), recipe).unwrap();
    }
    let run = room.grade(&format!(
        "--all class --stage 4 {checks} --jobs 4 --patience 5 --processes 4000 --json"
    ));
    (run.json(), run.err)
}
