//! Tools that any module may use, and that know nothing of servers.
//!
//! - [`buffer`]: bytes on their way, in chunks from a pool.
//! - [`logger`]: the log, and the messages of clients.
//! - [`repeats`]: warnings that come too often to be logged one by one.
//! - `show`: what a client sent, escaped for display on a terminal.

pub mod buffer;
pub mod logger;
pub mod repeats;
mod show;
