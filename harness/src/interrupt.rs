//! Ctrl-C, SIGTERM and SIGHUP for a tool that has to end the programs that it started. A thread
//! records the signal, and long work and long waits look for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What [`check`] and [`sleep`] return after a signal.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on these signals are recorded, and `again` is called for each after the first. Call
/// this before there are other threads, because only later threads inherit the blocked signals.
/// SIGHUP stays ignored where it is: `nohup` ignores it so that the work goes on.
///
/// A program that was started with SIGCHLD ignored cannot learn how its children end (wait(2)), so
/// this signal gets its default action again.
pub fn catch(again: fn()) -> std::io::Result<()> {
    // SAFETY: no handler is installed.
    #[allow(unsafe_code)]
    unsafe {
        signal(Signal::SIGCHLD, SigHandler::SigDfl)?;
    }
    let mut signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if !is_ignored(Signal::SIGHUP) {
        signals.add(Signal::SIGHUP);
    }
    signals.thread_block()?;
    let note = move || {
        while signals.wait().is_ok() {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                again();
            }
        }
    };
    thread::Builder::new().spawn(note).map(drop)
}

/// The mask has a bit for each signal, and the lowest is for signal 1 (`proc_pid_status(5)`).
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or_default() & (1 << (signal as i32 - 1)) != 0
}

pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails after a signal.
pub fn check() -> Result<(), Interrupted> {
    if is_interrupted() {
        return Err(Interrupted);
    }
    Ok(())
}

/// Sleeps for this long, or until there is a signal.
pub fn sleep(time: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + time;
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        check()?;
        thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}
