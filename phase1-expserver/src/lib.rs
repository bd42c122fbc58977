//! Phase 1: a single-threaded, event-driven server assembled from modules.
//!
//! - [`vec`](mod@vec): containers of our own, a growable array and an arena with generational keys.
//! - [`utils`]: what has no subject of its own: buffers, the log.
//! - [`core`](mod@core): pipes, the line framer.
//! - [`network`]: sockets: listeners, connections, connecting to an upstream.
//! - [`disk`]: files to be sent.

pub mod core;
pub mod disk;
pub mod network;
pub mod utils;
pub mod vec;
