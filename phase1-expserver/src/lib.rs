//! Phase 1: a single-threaded, event-driven server assembled from modules. This is the map, from the
//! top down:
//!
//! - `main`: arguments, the log, the exit status; calls [`core::workers::serve`].
//! - [`config`]: the command line, as ports with roles and limits.
//! - [`core`](mod@core): the server itself.
//!   - [`core::workers`]: runs one core or several, passes signals on.
//!   - `core::listening`: binds all listeners, or says why that cannot be meant.
//!   - [`core::Core`]: an instance of the server: the tables, the turn, the only create and destroy.
//!     `core::admission`: how clients come in. `core::ending`: how the server ends.
//!   - [`core::event_loop`]: epoll, timers, the queue of those who have work to do.
//!   - [`core::token`]: what an event carries, and which thing that names.
//!   - [`core::session`]: what happens with one client: who is joined to whom, until when.
//!     `core::session::opening`: its peer, by the role. `core::session::closing`: how its two ends
//!     are closed.
//!   - [`core::pipe`]: one direction: bytes from a source to a sink, and the rule of closing.
//!     `core::pipe::kernel`: bytes on their way that stay in the kernel (splice).
//!   - [`core::reverse`]: the line framer of role `reverse`.
//!   - [`core::spare`]: the descriptor kept in reserve.
//! - [`network`](mod@network): sockets.
//!   - [`network::listener`]: where clients come from.
//!   - [`network::connection`]: one socket as a source (recv) and a sink (send).
//!   - [`network::upstream`]: a connection that is still to be made.
//! - [`disk`](mod@disk): files.
//!   - [`disk::file`]: a file of the public folder as a source.
//!   - [`disk::mime`]: what kind of thing a file is, by its name.
//! - [`utils`]: what is of use anywhere.
//!   - [`utils::buffer`]: bytes on their way, in chunks from a pool.
//!   - [`utils::logger`]: the log, and the messages of clients.
//!   - [`utils::repeats`]: warnings that come too often to be said one by one.
//!   - `utils::show`: what a client sent, made fit for a terminal.
//! - [`vec`](mod@vec): containers of our own, a growable array and an arena with generational keys;
//!   and memory for bytes, straight from the kernel.
//!
//! **Who owns what**: a core owns sessions; a session owns two ends and two pipes; a pipe owns
//! bytes; nobody knows anybody above.
//!
//! **How data flows**: the event loop says which socket is ready; core finds its session by the key
//! in the token and queues it; the session, when it is its turn, lets the source fill the pipe and
//! the sink drain it. What a source or a sink reports is a value (`Progress`); the session decides
//! what follows for the exchange, core what follows for the session.

pub mod config;
pub mod core;
pub mod disk;
pub mod network;
pub mod utils;
pub mod vec;
