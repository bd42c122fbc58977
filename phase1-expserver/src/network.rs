//! Sockets. Nothing in here knows epoll, roles or sessions.
//!
//! - [`listener`]: where clients come from.
//! - [`upstream`]: a connection that is still to be made.
//! - [`connection`]: one socket as a source and a sink.
//! - [`socket`]: how a TCP socket is made, and what the kernel says about it.

pub mod connection;
pub mod listener;
#[cfg(test)]
pub mod rig;
pub mod socket;
pub mod upstream;
