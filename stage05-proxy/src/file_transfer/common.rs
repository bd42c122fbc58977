//! What file-server and file-client have in common.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

/// How much is moved at a time, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// Whether the kernel sends a reset when the socket is closed, also when the program dies. That
/// is how either end learns that the transfer has failed (SO_LINGER in socket(7)).
pub fn reset_on_close(socket: &OwnedFd, on: bool) -> nix::Result<()> {
    let option = linger {
        l_onoff: on.into(),
        l_linger: 0,
    };
    setsockopt(socket, Linger, &option)
}

/// The system's words for an error, without its number.
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
