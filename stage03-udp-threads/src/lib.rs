//! What the server and the client of this stage share.

pub mod cli;
pub mod reverse;
pub mod show;

/// No UDP datagram holds more: its length field has 16 bits (udp(7)). A smaller buffer
/// would get the head of a longer datagram, and the rest would be lost without a word.
pub const MAX_DATAGRAM: usize = 64 * 1024;
