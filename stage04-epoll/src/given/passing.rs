//! The errors of `accept` that concern one client only.

use nix::errno::Errno;

/// Whether the error concerns one client or its network. Then the next client may be accepted.
/// Linux passes on through `accept` what has happened to a connection that is not accepted yet
/// (accept(2), "Error handling"), and EPERM is the answer of a firewall.
pub fn is_passing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNABORTED
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET
    )
}
