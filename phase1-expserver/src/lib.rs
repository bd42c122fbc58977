//! Phase 1: a single-threaded, event-driven server assembled from modules.

pub mod config;
pub mod core;
pub mod utils;
pub mod vec;
