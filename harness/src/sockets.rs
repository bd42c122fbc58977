//! The kernel's tables of sockets (`proc(5)`, /proc/net/tcp and its like), one row for each
//! socket of this network namespace.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One table: a protocol over IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Tcp,
    Tcp6,
    Udp,
    Udp6,
}

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// A state of TCP. A UDP socket has one too: [`CLOSED`] until it is connected.
    pub state: u8,
    /// Bytes sent and not acknowledged yet.
    pub sending: u64,
    /// Bytes received and not read yet; connections not accepted yet, if it is a listener.
    pub receiving: u64,
    /// The number in `socket:[12345]`, by which /proc/pid/fd names it.
    pub inode: u64,
}

pub const LISTENING: u8 = 0x0a;
pub const CLOSED: u8 = 0x07;

/// The rows of `table`, or none if the kernel has no such table.
pub fn rows(table: Table) -> impl Iterator<Item = Row> {
    let name = match table {
        Table::Tcp => "tcp",
        Table::Tcp6 => "tcp6",
        Table::Udp => "udp",
        Table::Udp6 => "udp6",
    };
    let file = File::open(format!("/proc/self/net/{name}")).ok();
    let lines = file
        .into_iter()
        .flat_map(|file| BufReader::new(file).lines());
    let lines = lines.map_while(Result::ok).skip(1); // the first names the columns
    lines.filter_map(|line| row(&line))
}

/// The TCP listeners. The kernel lists them first, so we stop after them: the whole table takes
/// seconds when there are thousands of connections.
pub fn listeners(table: Table) -> impl Iterator<Item = Row> {
    rows(table).take_while(|row| row.state == LISTENING)
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (sending, receiving) = fields.get(4)?.split_once(':')?;
    Some(Row {
        local: address(fields.get(1)?)?,
        remote: address(fields.get(2)?)?,
        state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
        sending: u64::from_str_radix(sending, 16).ok()?,
        receiving: u64::from_str_radix(receiving, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// `0100007F:1F90`: the address in words of the machine's byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in words.as_bytes().chunks(8) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn sockets_are_found_by_their_address() {
        for (host, tcp, udp) in [
            ("127.0.0.1:0", Table::Tcp, Table::Udp),
            ("[::1]:0", Table::Tcp6, Table::Udp6),
        ] {
            let (Ok(listener), Ok(socket)) = (TcpListener::bind(host), UdpSocket::bind(host))
            else {
                continue; // no IPv6 here
            };
            let at = listener.local_addr().unwrap();
            let mut found = listeners(tcp).filter(|row| row.local == at);
            assert_eq!(found.next().unwrap().receiving, 0);
            let at = socket.local_addr().unwrap();
            let mut found = rows(udp).filter(|row| row.local == at);
            assert_eq!(found.next().unwrap().state, CLOSED);
        }
    }
}
