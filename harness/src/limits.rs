//! The limits that a program has met: they are the grader's, so the failure may not be its own.

use nix::sys::resource::Resource;

use crate::failure::{Failure, Outcome};
use crate::host::tasks_of_this_user;

/// A line for each limit that the program has met. Ask while its processes are still there.
pub fn met(limits: &[(Resource, u64, u64)], failure: &Failure) -> String {
    let lines = limits
        .iter()
        .filter_map(|&(resource, soft, _)| describe(resource, soft, failure));
    lines
        .map(|what| format!("a limit of the grader was met: {what}\n"))
        .collect()
}

fn describe(resource: Resource, limit: u64, failure: &Failure) -> Option<String> {
    let killed_by = |name: &str| failure.outcome == Outcome::Killed(name.to_owned());
    match resource {
        Resource::RLIMIT_CPU if killed_by("SIGXCPU") => Some(format!(
            "a process may use {limit} s of CPU time (--cpu-time)"
        )),
        Resource::RLIMIT_FSIZE if killed_by("SIGXFSZ") => {
            Some(format!("a file may have {} MiB (--file-size)", limit >> 20))
        }
        // A thread may have just ended because another one could not be started.
        Resource::RLIMIT_NPROC if tasks_of_this_user() >= limit - limit / 50 => {
            Some("the program may have no more processes and threads (--processes)".to_owned())
        }
        _ => None,
    }
}
