//! What the machine offers to the checks: its tools, its descriptors, its terminal.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{fs, io};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, access, geteuid};

/// Finds a program on the PATH.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place: &PathBuf| is_file(place))
}

/// Whether strace is here and may trace a program: in a container it may be forbidden.
pub fn can_trace() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut trying = Command::new("strace");
        trying.args([
            "-D",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=mount:error=EPERM",
            "true",
        ]);
        let output = trying.stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    })
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Where the kernel's settings for this network are: `tcp_keepalive_time` (`tcp(7)`),
/// `ip_local_port_range` (`ip(7)`).
const NETWORK: &str = "/proc/sys/net/ipv4";

pub fn network_can_be_set() -> bool {
    access(
        &Path::new(NETWORK).join("tcp_keepalive_time"),
        AccessFlags::W_OK,
    )
    .is_ok()
}

/// Changes a setting, but never one of the machine's own network.
pub fn set_network(name: &str, value: &str) -> io::Result<()> {
    match in_own_network() {
        true => fs::write(Path::new(NETWORK).join(name), value),
        false => Err(io::Error::other("this is the machine's own network")),
    }
}

/// This variable is set for a process in a network namespace that was made for it.
pub const OWN_NETWORK: &str = "EXPSERVER_OWN_NETWORK";

pub fn in_own_network() -> bool {
    std::env::var_os(OWN_NETWORK).is_some()
}

/// Whether the terminal understands more than text (`TERM`).
pub fn is_capable_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|name| name != "dumb")
}

/// Whether to colour what is printed on a terminal (<https://no-color.org>).
pub fn wants_colors() -> bool {
    is_capable_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// RLIMIT_NPROC counts all processes and threads of a user, not those of a program.
pub fn tasks_of_this_user() -> u64 {
    let user = geteuid().as_raw();
    // Another user owns the files of a process that must not be inspected (proc(5)), as ours may.
    let own = fs::read_link("/proc/self").unwrap_or_default();
    let is_ours = |process: &fs::DirEntry| {
        process.file_name() == own || process.metadata().is_ok_and(|it| it.uid() == user)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tasks = processes
        .filter(is_ours)
        .filter_map(|process| Some(fs::read_dir(process.path().join("task")).ok()?.count()));
    tasks.sum::<usize>() as u64
}

/// How many descriptors this process may have.
pub fn descriptor_limit() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Raises our own limit: a check with thousands of connections needs thousands of descriptors.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Files that a check makes are for all users, whatever our user prefers: the program may run as
/// another user, and a server shows only files that everyone may read (`umask(2)`).
pub fn take_usual_umask() {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
}
