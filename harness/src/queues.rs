//! How many bytes of a connection the kernel holds. We ask the kernel for one socket
//! (`sock_diag(7)`). `/proc/net/tcp` has the same numbers, but lists every socket of the
//! machine, which takes long after a check with thousands of them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::sockets::{Table, rows};

/// The queues of one socket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Sent and not acknowledged yet.
    pub sending: u64,
    /// Received and not read yet.
    pub receiving: u64,
}

/// The queues of the socket at `local`, or `None` if there is no such socket.
pub fn queues(local: SocketAddr, remote: SocketAddr) -> Option<Queues> {
    match ask_the_kernel(local, remote) {
        Ok(found) => found,
        // Some sandboxes have no netlink sockets.
        Err(_) => look_into_the_table(local, remote),
    }
}

/// `struct nlmsghdr`, before each message (`netlink(7)`).
const HEADER: usize = 16;
/// The type of a request for a socket, and of the answer to it.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Where the remote port stands in an answer, behind the local one.
const REMOTE_PORT_AT: usize = HEADER + 4 + 2;
/// Where the two queues stand in an answer, behind its header: after four bytes, the
/// identity of the socket and a timer (`struct inet_diag_msg`).
const QUEUES_AT: usize = HEADER + 4 + 48 + 4;

fn ask_the_kernel(local: SocketAddr, remote: SocketAddr) -> nix::Result<Option<Queues>> {
    let netlink: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let request = request(local, remote);
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let count = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let word = |at: usize| {
        let bytes = [answer[at], answer[at + 1], answer[at + 2], answer[at + 3]];
        u32::from_ne_bytes(bytes)
    };
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    // If the connection is gone, the kernel answers with the listener of its port.
    let remote_port = u16::from_be_bytes([answer[REMOTE_PORT_AT], answer[REMOTE_PORT_AT + 1]]);
    if kind == SOCK_DIAG_BY_FAMILY && remote_port != remote.port() {
        return Ok(None);
    }
    if kind == SOCK_DIAG_BY_FAMILY && count >= QUEUES_AT + 8 {
        return Ok(Some(Queues {
            receiving: word(QUEUES_AT).into(),
            sending: word(QUEUES_AT + 4).into(),
        }));
    }
    match word(HEADER) as i32 {
        error if error == -libc::ENOENT => Ok(None),
        error => Err(nix::Error::from_raw(-error)),
    }
}

/// A header and a `struct inet_diag_req_v2`.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(u32::MAX.to_ne_bytes()); // in any state
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(address_bytes(local.ip()));
    body.extend(address_bytes(remote.ip()));
    body.extend(0u32.to_ne_bytes()); // on any interface
    body.extend([0xff; 8]); // whatever its cookie is

    let mut message = Vec::from(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]); // no sequence number, and the kernel knows who asks
    message.extend(body);
    message
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    bytes
}

fn look_into_the_table(local: SocketAddr, remote: SocketAddr) -> Option<Queues> {
    let table = if local.is_ipv4() {
        Table::Tcp
    } else {
        Table::Tcp6
    };
    let found = rows(table).find(|row| (row.local, row.remote) == (local, remote))?;
    Some(Queues {
        sending: found.sending,
        receiving: found.receiving,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn unread_bytes_are_counted_in_both_ways_of_looking() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue; // no IPv6 here
            };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            client.write_all(b"seven b").unwrap();
            let ends = (server.local_addr().unwrap(), server.peer_addr().unwrap());
            let expected = Some(Queues {
                sending: 0,
                receiving: 7,
            });
            assert_eq!(queues(ends.0, ends.1), expected);
            assert_eq!(look_into_the_table(ends.0, ends.1), expected);
            assert_eq!(queues(ends.0, listener.local_addr().unwrap()), None);
        }
    }
}
