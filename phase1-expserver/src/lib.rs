//! Phase 1: a single-threaded, event-driven server assembled from modules.
//!
//! This is the map, from the top down: **a module imports only modules that stand further down**. A
//! module that adds methods to a type of another one therefore stands above it.
//!
//! - `main`: arguments, the log, the exit status; calls [`core::workers::serve`].
//! - [`core`](mod@core): the server itself.
//!   - [`core::workers`]: runs one core or several, passes signals on.
//!   - `core::listening`: binds all listeners, or says why that cannot be meant.
//!   - `core::ending`: how a core ends.
//!   - `core::admission`: how clients come in.
//!   - [`core::Core`]: an instance of the server: the tables, the turn, the only create and destroy.
//!   - `core::session::opening`: how a session begins: its backend, by the role.
//!   - [`core::session::closing`]: how a session ends: how long its two ends are kept.
//!   - [`core::session`]: what happens with one client: who is joined to whom, until when.
//!   - [`core::reverse`]: the line framer of role `reverse`.
//!   - [`core::spare`]: the descriptor kept in reserve.
//!   - [`core::event_loop`]: epoll, timers, the queue of those who have work to do.
//!   - [`core::token`]: what an event carries, and which thing that names.
//! - [`config`]: the command line, as ports with roles and limits.
//! - [`network`](mod@network): sockets.
//!   - [`network::listener`]: where clients come from.
//!   - [`network::upstream`]: a connection that is still to be made.
//!   - [`network::connection`]: one socket as a source (recv) and a sink (send).
//!   - [`network::socket`]: how a socket is made, and what the kernel says about it.
//! - [`disk`](mod@disk): files.
//!   - [`disk::file`]: a file of the public folder as a source.
//!   - [`disk::mime`]: what kind of thing a file is, by its name.
//! - [`flow`]: bytes in one direction, from a source to a sink.
//!   - `flow::pipe`: the bytes on their way.
//!   - `flow::rule`: how a direction ends.
//!   - `flow::ends`: what a source and a sink must be able to do.
//!   - `flow::resources`: what all sources and sinks of an event loop share.
//!   - `flow::kernel_pipe`: bytes on their way that stay in the kernel (splice).
//! - [`utils`]: what is of use anywhere.
//!   - [`utils::logger`]: the log, and the messages of clients.
//!   - `utils::show`: what a client sent, escaped for display on a terminal.
//!   - [`utils::repeats`]: warnings that come too often to be logged one by one.
//!   - [`utils::buffer`]: bytes on their way, in chunks from a pool.
//! - [`vec`](mod@vec): containers of our own, and memory for bytes, straight from the kernel.
//!   - [`vec::slots`]: an arena with generational keys.
//!   - `vec::traits`, [`vec::into_iter`]: what makes the array feel like a slice.
//!   - [`vec::XpsVec`]: a growable array.
//!   - `vec::key`, `vec::raw`, `vec::pages`: keys, the allocation under the array, pages of memory.
//!
//! **Who owns what**: a core owns sessions; a session owns two ends and two pipes; a pipe owns
//! bytes; nothing refers to its owner.
//!
//! **How data flows**: the event loop says which socket is ready; core finds its session by the key
//! in the token and queues it; the session, when it is its turn, lets the source fill the pipe and
//! the sink drain it. What a source or a sink reports is a value (`Progress`); the session decides
//! what follows for the exchange, core what follows for the session.

#![warn(clippy::mod_module_files)] // `core.rs` beside `core/`, no `mod.rs`
#![warn(clippy::match_bool)] // `if`

pub mod config;
pub mod core;
pub mod disk;
pub mod flow;
pub mod network;
pub mod utils;
pub mod vec;
