//! What is of use anywhere and knows nothing of servers.
//!
//! - [`buffer`]: bytes on their way, in chunks from a pool.
//! - [`logger`]: the log and the messages of clients.
//! - [`repeats`]: warnings that come too often to be said one by one.
//! - `show`: what a client sent, made fit for a terminal.

pub mod buffer;
pub mod logger;
pub mod repeats;
mod show;
