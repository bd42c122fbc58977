//! Phase 1: a single-threaded, event-driven server assembled from modules.
//!
//! - [`vec`](mod@vec): containers of our own, a growable array and an arena with generational keys.

pub mod vec;
