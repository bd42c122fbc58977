//! What a program under test finds around it: its folder, and nothing that it should not see.

use std::fs;
use std::os::unix::fs::symlink;

use libtest_mimic::Trial;

use crate::room::{Room, fixture, fixtures};
use crate::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test(
            "a submission may have files and folders of any name",
            &["cc", "curl", "python3"],
            names_of_the_checks,
        ),
        test(
            "a modular server in Python sends ./public/sample.txt of its own folder",
            &["curl", "python3"],
            own_public_folder,
        ),
    ]
}

/// Names that a check gives to a file or a folder.
const NAMES: &[&str] = &[
    "a-folder",
    "folder",
    "got.bin",
    "lines",
    "other",
    "outside",
    "pipe",
    "profile",
    "program",
    "public",
    "public2",
    "secret.bin",
    "site",
    "t1.bin",
    "t2.bin",
    "temp",
    "tmp",
    "upload",
];

fn names_of_the_checks() {
    let room = Room::new();
    let source = fs::read_to_string(fixture("tcp_proxy")).unwrap();
    for (student, name) in ["files", "folders", "links"].into_iter().zip(0..) {
        room.write(&format!("class/{student}/tcp_proxy.c"), &source);
        for taken in NAMES {
            let path = room.path(&format!("class/{student}/{taken}"));
            match name {
                0 => fs::write(&path, "mine").unwrap(),
                1 => fs::create_dir(&path).unwrap(),
                _ => symlink("nowhere", &path).unwrap(),
            }
        }
    }
    room.grade("--all class --stage 5 --only stage05/curl --only stage05/any-byte")
        .expect_status(0);
}

fn own_public_folder() {
    let room = Room::new();
    let server = fs::read_to_string(fixtures().join("expserver.py")).unwrap();
    room.write("class/one/expserver.py", &server);
    room.write("class/one/public/sample.txt", "the sample\n");
    room.write(
        "class/one/grade.toml",
        "[stage.phase1]\nrun = 'python3 expserver.py'\n",
    );
    room.grade("--all class --only phase1/preset-13 --only phase1/curl")
        .expect_status(0);
    // Without its file it fails, so the check has looked.
    fs::remove_dir_all(room.path("class/one/public")).unwrap();
    let run = room.grade("--all class --only phase1/preset-13");
    run.expect_status(1);
    assert!(run.out.contains("preset-13"), "{}", run.out);
}
