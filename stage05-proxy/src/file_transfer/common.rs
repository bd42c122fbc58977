//! What file-server and file-client have in common.

use std::os::fd::OwnedFd;

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
