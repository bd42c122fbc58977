//! Sockets. Nothing in here knows epoll, roles or sessions.
//!
//! - [`listener`]: where clients come from.
//! - [`connection`]: one socket as a source and a sink.
//! - [`upstream`]: a connection that is still to be made.

pub mod connection;
pub mod listener;
pub mod upstream;

#[cfg(test)]
mod rig;
