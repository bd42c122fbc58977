//! The descriptors of this process, which checks that run at the same time share.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit};

use crate::failure::{Failure, Verdict};
use crate::lock::lock;

/// Reserved by those that need thousands. Not those of the others, which have a few.
static RESERVED: Mutex<u64> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// What is left to those others.
const OTHERS: u64 = 1_000;

/// Given back when it is dropped.
#[must_use]
pub struct Reserved(u64);

pub(super) fn reserve(count: u64, deadline: Instant) -> Verdict<Reserved> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let most = limit.saturating_sub(OTHERS);
    let cannot = |why: &str| {
        let why = format!("{why}; RLIMIT_NOFILE is {limit} here");
        Failure::grader(format!("open {count} sockets"), why)
    };
    if count > most {
        return Err(cannot("that is more than this process may have"));
    }
    let reserved = lock(&RESERVED);
    let patience = deadline.saturating_duration_since(Instant::now());
    let (mut reserved, waited) = GIVEN_BACK
        .wait_timeout_while(reserved, patience, |reserved| *reserved + count > most)
        .unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() {
        return Err(cannot("the checks beside this one have too many"));
    }
    *reserved += count;
    Ok(Reserved(count))
}

impl Drop for Reserved {
    fn drop(&mut self) {
        *lock(&RESERVED) -= self.0;
        GIVEN_BACK.notify_all();
    }
}
