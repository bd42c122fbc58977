//! Sockets. No module in here knows epoll, roles or sessions.
//!
//! - [`listener`]: where clients come from.
//! - [`upstream`]: a connection to an upstream, until it is established.
//! - [`connection`]: an established connection as a source and a sink.
//! - [`socket`]: how a TCP socket is made, and what the kernel reports about it.

pub mod connection;
pub mod listener;
#[cfg(test)]
pub mod rig;
pub mod socket;
pub mod upstream;
