//! What has no subject of its own.
//!
//! - [`buffer`]: bytes on their way, in chunks from a pool.
//! - [`logger`]: the log and the messages.

pub mod buffer;
pub mod logger;
