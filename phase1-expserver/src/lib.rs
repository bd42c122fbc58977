//! Phase 1: a single-threaded, event-driven server assembled from modules.
//!
//! This is the map, from the top down: **a module imports only modules further down**. So a module
//! that adds methods to the type of another one is listed above it.
//!
//! - `main`: arguments, the log, the exit status; calls [`core::workers::serve`].
//! - [`core`](mod@core): the server itself.
//!   - [`core::workers`]: runs one core or several, and passes signals on to them.
//!   - `core::listening`: binds all listeners, or says what is wrong with them.
//!   - `core::ending`: how a core ends.
//!   - `core::admission`: how clients come in.
//!   - [`core::Core`]: one instance of the server: its tables, the turn of its loop. It alone
//!     creates and destroys sessions.
//!   - `core::session::opening`: how a session begins: opens the backend for its role.
//!   - [`core::session::closing`]: how a session ends, and how long its two ends are kept.
//!   - `core::session::waiting`: timeouts, and acknowledgements that are missing.
//!   - [`core::session`]: one client, from accept to close: moves bytes between it and its backend.
//!   - [`core::reverse`]: the line framer of role `reverse`.
//!   - [`core::spare`]: the descriptor kept in reserve.
//!   - [`core::event_loop`]: epoll, the timers, the queue of sessions and listeners.
//!   - [`core::token`]: what an event carries: the name of the thing that it is about.
//! - [`config`]: the command line, as ports with roles and limits.
//! - [`network`](mod@network): sockets.
//!   - [`network::listener`]: where clients come from.
//!   - [`network::upstream`]: a connection to an upstream, until it is established.
//!   - [`network::connection`]: an established connection as a source (recv) and a sink (send).
//!   - [`network::socket`]: how a TCP socket is made, and what the kernel reports about it.
//! - [`disk`](mod@disk): files.
//!   - [`disk::file`]: a file of the public folder as a source.
//!   - [`disk::mime`]: the media type of a file, by its name.
//! - [`flow`]: bytes in one direction, from a source to a sink.
//!   - `flow::pipe`: takes bytes from a source and gives them to a sink.
//!   - `flow::rule`: how a direction ends.
//!   - `flow::ends`: what a source and a sink must be able to do.
//!   - `flow::resources`: what all sources and sinks of an event loop share.
//!   - `flow::kernel_pipe`: bytes that stay in the kernel on their way (splice).
//! - [`utils`]: modules that know nothing about servers.
//!   - [`utils::logger`]: the log, and the messages of clients.
//!   - `utils::show`: what a client sent, escaped for display on a terminal.
//!   - [`utils::repeats`]: counts warnings that come too often to be logged one by one.
//!   - [`utils::buffer`]: a queue of bytes, in chunks from a pool.
//! - [`vec`](mod@vec): containers of our own.
//!   - [`vec::slots`]: an arena with generational keys.
//!   - `vec::traits`, [`vec::into_iter`]: what makes the array feel like a slice.
//!   - [`vec::XpsVec`]: a growable array.
//!   - `vec::key`, `vec::raw`, `vec::pages`: keys, the memory of the array, pages of bytes.
//!
//! **Who owns what**: a core owns sessions; a session owns two ends and two pipes; a pipe owns
//! bytes. Nothing refers to its owner.
//!
//! **How data flows**: the event loop reports which socket is ready. Core finds the session by the
//! key in the token and queues it. When it is the session's turn, it lets the source fill the pipe
//! and the sink drain it. A source or sink returns what happened as a value (`Progress`); the
//! session decides what that means for the exchange, and core does what the session asks for.

#![warn(clippy::mod_module_files)] // `core.rs` beside `core/`, no `mod.rs`
#![warn(clippy::match_bool)] // `if`

pub mod config;
pub mod core;
pub mod disk;
pub mod flow;
pub mod network;
pub mod utils;
pub mod vec;
