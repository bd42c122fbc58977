//! The words for an error of the standard library.

use std::io;

use nix::errno::Errno;

/// What the system says about an error, without its number.
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
