//! What a program leaves behind when there is no process table to end with it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::patience::LOOK;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Ends all that this process has started and adopted, also what has left its process
/// group and its session. First they are stopped: who is stopped starts nobody.
pub fn end_descendants() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stopped = Vec::new();
        loop {
            let mut found = descendants(Pid::this());
            found.retain(|process| !stopped.contains(process));
            if found.is_empty() {
                break;
            }
            send(&found, Signal::SIGSTOP);
            stopped.extend(found);
        }
        send(&stopped, Signal::SIGKILL);
        // Once its parent is dead, one of them is our child.
        match bury_the_dead() {
            Err(Errno::ECHILD) => return Ok(()),
            _ => thread::sleep(LOOK),
        }
        ensure!(
            Instant::now() < deadline,
            "processes of the program do not end: {stopped:?}"
        );
    }
}

fn send(processes: &[Pid], signal: Signal) {
    for &process in processes {
        let _ = kill(process, signal); // gone already: fine
    }
}

/// ECHILD when there is no child any more, dead or alive.
fn bury_the_dead() -> nix::Result<()> {
    while waitpid(None, Some(WaitPidFlag::WNOHANG))? != WaitStatus::StillAlive {}
    Ok(())
}

/// All processes below this one (`proc(5)`, /proc/pid/stat).
pub fn descendants(top: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some((process, parent)) = process_and_parent(&entry.path()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut waiting = vec![top.as_raw()];
    while let Some(process) = waiting.pop() {
        let more = children.remove(&process).unwrap_or_default();
        found.extend(more.iter().copied().map(Pid::from_raw));
        waiting.extend(more);
    }
    found
}

fn process_and_parent(folder: &Path) -> Option<(i32, i32)> {
    let process = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Some((process, parent.parse().ok()?))
}
