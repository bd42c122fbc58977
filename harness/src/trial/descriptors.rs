//! The descriptors of this process. Checks that run at the same time share them.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::failure::{Failure, Verdict};
use crate::host::descriptor_limit;
use crate::lock::lock;

/// How many are reserved, by checks that need thousands ([`Need::Sockets`]). Other checks reserve
/// none.
///
/// [`Need::Sockets`]: crate::check::Need::Sockets
static RESERVED: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// How many are left to those other checks.
const OTHERS: usize = 1_000;

/// Given back when it is dropped.
#[must_use]
pub struct Reserved(usize);

/// The most that can be reserved.
pub fn most_sockets() -> usize {
    descriptor_limit().saturating_sub(OTHERS)
}

pub(super) fn reserve(count: usize, deadline: Instant) -> Verdict<Reserved> {
    if count == 0 {
        return Ok(Reserved(0));
    }
    let most = most_sockets();
    let cannot = |why: &str| {
        let why = format!("{why}; RLIMIT_NOFILE is {} here", descriptor_limit());
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
        return Err(cannot("checks that run at the same time use too many"));
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
