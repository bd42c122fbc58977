//! Files to be sent. Nothing in here knows sockets.
//!
//! - [`file`](mod@file): a file in the public folder as a source.
//! - [`mime`]: what kind of thing a file is, by its name.

pub mod file;
pub mod mime;
