//! A socket that is connected to itself, as in stage 2.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

/// Whether both ends of the connection are this socket. If no server listens on the port, our kernel
/// may choose this very port for our side, and TCP allows a connection from a port to itself
/// (RFC 9293, 3.5, simultaneous open).
pub fn is_connected_to_itself(socket: &OwnedFd) -> nix::Result<bool> {
    let ours: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let theirs: nix::Result<SockaddrStorage> = getpeername(socket.as_raw_fd());
    Ok(theirs == Ok(ours)) // if it is no longer connected, `recv` says why
}
