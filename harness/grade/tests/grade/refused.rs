//! Without namespaces: one note, one program at a time, the same results. Each of these
//! tests runs in its own network, because the other tests use port 8080 too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;
use nix::unistd::geteuid;

use crate::room::{GRADE, Room, Run};
use crate::{hostile, test};

pub fn tests() -> Vec<Trial> {
    let tools = &["cc", "unshare", "ip"];
    vec![
        test(
            "without namespaces the results are the same, after one note",
            tools,
            same_results,
        ),
        test(
            "without namespaces hostile programs leave nothing behind either",
            tools,
            hostile_programs,
        ),
        test(
            "without namespaces the error names a port in use before anything runs",
            tools,
            port_in_use,
        ),
        test(
            "without namespaces a program with {port} gets a free port",
            tools,
            free_port,
        ),
        test(
            "an unprivileged user gets the same results",
            &["cc"],
            unprivileged,
        ),
    ]
}

/// Runs the grader in its own network, where no further namespaces can be made.
fn refused(room: &Room, before: &str, line: &str) -> Run {
    let script = format!(
        "ip link set lo up && echo 0 > /proc/sys/user/max_user_namespaces || exit 99
         {before}
         \"$0\" \"$@\"; status=$?; kill $server 2>/dev/null; exit $status"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .arg(GRADE)
        .args(line.split_whitespace());
    room.furnish(&mut command);
    Run::of(command.output().unwrap())
}

fn core_checks_of(program: &Path) -> String {
    let program = program.display();
    format!("--stage 4 --tier core --patience 3 --json -- {program}")
}

fn same_results() {
    for fault in ["", "FAULT_FIVE_CLIENTS"] {
        let room = Room::new();
        let program = room.build("tcp_server_epoll", fault, "tcp_server");
        let line = core_checks_of(&program);
        let with = room.grade(&line);
        let without = refused(&room, "", &line);
        assert_eq!(with.status, without.status, "{}", without.err);
        assert_eq!(with.statuses(), without.statuses());
        assert!(!with.err.contains("note:"), "{}", with.err);
        assert_eq!(
            without.err.matches("note: no namespaces").count(),
            1,
            "{}",
            without.err
        );
        room.expect_nothing_left();
    }
}

fn hostile_programs() {
    let room = Room::new();
    // A program that kills all processes of its user kills the grader too: there is no remedy.
    let ways: Vec<&str> = hostile::WAYS
        .iter()
        .copied()
        .filter(|way| *way != "kills-everybody")
        .collect();
    let class = hostile::a_class(&room, &ways);
    let line = format!("--all {class} --patience 1 --json --only stage04/reverses-a-line");
    let run = refused(&room, "", &line);
    hostile::expect_fair(&run);
    room.expect_nothing_left();
}

/// A line of shell that lets this program take port 8080 before anything else happens.
fn occupy_8080(program: &Path) -> String {
    let program = program.display();
    let listens = "grep -q ':1F90 .* 0A ' /proc/net/tcp";
    format!("{program} >/dev/null 2>&1 & server=$!; until {listens}; do sleep 0.01; done")
}

fn port_in_use() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "tcp_server");
    let before = occupy_8080(&program);
    let run = refused(&room, &before, &core_checks_of(&program));
    run.expect_status(3);
    assert!(
        run.err
            .contains("port 8080 cannot be used: Address already in use"),
        "{}",
        run.err
    );
}

fn free_port() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "", "tcp_server");
    let server = room.write(
        "server.py",
        "import socket, sys\n\
         s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()\n\
         c, _ = s.accept(); line = c.recv(100); c.sendall(line[:-1][::-1] + b'\\n'); c.recv(100)\n",
    );
    let python = harness::host::find_tool("python3");
    let python = python.unwrap_or_else(|| PathBuf::from("python3"));
    let line = format!(
        "--stage 1 --only stage01/reverses-a-line -- {} {} {{port}}",
        python.display(),
        server.display()
    );
    refused(&room, &occupy_8080(&program), &line).expect_status(0);
}

fn unprivileged() {
    let room = Room::new();
    let program = room.build("tcp_server_epoll", "FAULT_FIVE_CLIENTS", "tcp_server");
    let line = core_checks_of(&program);
    let ours = room.grade(&line);
    let grader = room.path("grader");
    // A copy that the other user can reach. `cp` makes it, because a file that this process
    // had open for writing may still be open in a child of another test (ETXTBSY).
    let copied = Command::new("cp").arg(GRADE).arg(&grader).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(&grader, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(&grader);
    command.args(line.split_whitespace());
    room.furnish(&mut command);
    if geteuid().is_root() {
        command.uid(12_345).gid(12_345);
    }
    let theirs = Run::of(command.output().unwrap());
    assert_eq!(ours.status, theirs.status, "{}", theirs.err);
    assert_eq!(ours.statuses(), theirs.statuses());
    room.expect_nothing_left();
}
