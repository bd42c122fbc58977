//! Files to be sent. No module in here knows sockets.
//!
//! - [`file`](mod@file): a file in the public folder as a source.
//! - [`mime`]: the media type of a file, by its name.

pub mod file;
pub mod mime;
