//! A network of its own for a test that needs fixed ports: a network namespace in which
//! no program listens yet (`network_namespaces(7)`). The test binary starts itself again
//! inside the namespace, for that one test.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Failed;

use crate::check::{Check, Need};
use crate::host::{OWN_NETWORK, in_own_network, network_can_be_set};
use crate::program::{Ports, Program};

/// Runs a command in a new network namespace. Only root may make one, but in a new user
/// namespace every user is root (`user_namespaces(7)`).
const UNSHARE: [&str; 6] = [
    "--user",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    "ip link set lo up && exec \"$0\" \"$@\"",
];

/// Whether we can make a namespace here and bring up its loopback interface.
pub fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let mut trying = Command::new("unshare");
        trying.args(UNSHARE).arg("true");
        let output = trying.stdin(Stdio::null()).output();
        in_own_network() || output.is_ok_and(|output| output.status.success())
    })
}

/// Whether a check inside may change settings of its network. The grader's namespaces forbid it.
pub fn can_be_set() -> bool {
    match in_own_network() {
        true => network_can_be_set(),
        false => is_possible(),
    }
}

/// Whether `check` has to be run by [`run_again`]. For a program with fixed ports the
/// grader has already made a namespace.
pub fn is_needed(check: &Check, program: &Program) -> bool {
    let wanted = check.needs.contains(&Need::OwnNetwork);
    wanted && program.ports == Ports::Announced && !in_own_network()
}

/// Runs the test with this name once more, inside a namespace.
pub fn run_again(name: &str) -> Result<(), Failed> {
    let output = start_again(&["--exact".as_ref(), name.as_ref()])?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("in a network namespace:\n{text}{errors}").into())
}

/// Starts this program once more with these arguments, inside a namespace, and waits for it.
pub fn start_again(arguments: &[&OsStr]) -> io::Result<Output> {
    let mut inside = Command::new("unshare");
    inside
        .args(UNSHARE)
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(OWN_NETWORK, "1")
        .stdin(Stdio::null());
    inside.output()
}
