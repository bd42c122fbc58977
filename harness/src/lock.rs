//! A mutex, whoever has held it before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it. A thread that panicked while it held the lock has failed its own test; what the
/// lock protects is whole in this crate at every moment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
