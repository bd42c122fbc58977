//! A network of its own for a test that needs fixed ports: a network namespace in which
//! nothing listens yet (`network_namespaces(7)`). The test binary runs itself again in
//! there, for that one test.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Failed;

use crate::check::{Check, Need};
use crate::program::{Ports, Program};

/// Set for a program that runs inside.
pub const INSIDE: &str = "EXPSERVER_OWN_NETWORK";

/// A command in a new network namespace. Nobody but root may make one, and everybody is
/// root in a user namespace of his own (`user_namespaces(7)`).
const UNSHARE: [&str; 6] = [
    "--user",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    "ip link set lo up && exec \"$0\" \"$@\"",
];

/// Whether namespaces can be made here, and their loopback brought up.
pub fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let mut trying = Command::new("unshare");
        trying.args(UNSHARE).arg("true");
        let output = trying.stdin(Stdio::null()).output();
        is_inside() || output.is_ok_and(|output| output.status.success())
    })
}

/// Whether this is the test binary that runs inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Whether `check` has to be run by [`run_again`]. One who grades a program with fixed
/// ports has seen to that already.
pub fn is_needed(check: &Check, program: &Program) -> bool {
    let wanted = check.needs.contains(&Need::OwnNetwork);
    wanted && program.ports == Ports::Announced && !is_inside()
}

/// Runs the test with this name in this binary once more, inside.
pub fn run_again(name: &str) -> Result<(), Failed> {
    let this = std::env::current_exe()?;
    let mut inside = Command::new("unshare");
    inside
        .args(UNSHARE)
        .arg(this)
        .args(["--exact", name])
        .env(INSIDE, "1")
        .stdin(Stdio::null());
    let output = inside.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("in a network of its own:\n{text}{errors}").into())
}
