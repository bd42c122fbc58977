//! Ends the processes that a program leaves behind, where namespaces are not available.

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

/// Kills all processes that this one has started or adopted, also those that have left its
/// process group or its session. They are stopped first, because a stopped process cannot
/// start another one.
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
        // A process whose parent is dead has become our child.
        match bury_the_dead() {
            Err(Errno::ECHILD) => return Ok(()),
            _ => thread::sleep(LOOK),
        }
        ensure!(
            Instant::now() < deadline,
            "some processes of the program did not end: {stopped:?}"
        );
    }
}

fn send(processes: &[Pid], signal: Signal) {
    for &process in processes {
        let _ = kill(process, signal); // it may have ended already
    }
}

/// Collects the exit statuses of dead children. ECHILD when no child is left, dead or alive.
fn bury_the_dead() -> nix::Result<()> {
    while waitpid(None, Some(WaitPidFlag::WNOHANG))? != WaitStatus::StillAlive {}
    Ok(())
}

/// All descendants of a process (`proc(5)`, /proc/pid/stat).
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
