//! What the server and the client of this stage share.

use std::io;

use nix::errno::Errno;

pub mod given;

/// No UDP datagram holds more: its length field has 16 bits (udp(7)). A smaller buffer
/// would get the head of a longer datagram, and the rest would be lost without a word.
pub const MAX_DATAGRAM: usize = 64 * 1024;

/// The system's words for an error, without its number.
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
