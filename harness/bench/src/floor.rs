//! The floor: the least that a level-triggered epoll server can do for a message, which is
//! one `recv`, one `send` and a share of an `epoll_wait`. No lines, no queues, no limits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen};

const LISTENER: u64 = u64::MAX;

/// Echoes on 127.0.0.1 until it is killed.
pub fn serve(port: u16) -> Result<()> {
    harness::host::raise_descriptor_limit();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    listen(&listener, Backlog::MAXALLOWABLE)?; // std asks for 128
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;

    let mut clients: Vec<Option<TcpStream>> = Vec::new(); // by descriptor
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept(&listener, &epoll, &mut clients)?;
                continue;
            }
            let slot = &mut clients[event.data() as usize];
            let Some(client) = slot else { continue };
            if echo(client, &mut buffer).is_err() {
                *slot = None; // closes it, which also removes it from epoll
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    clients: &mut Vec<Option<TcpStream>>,
) -> Result<()> {
    while let Ok((client, _)) = listener.accept() {
        client.set_nonblocking(true)?;
        let index = client.as_raw_fd() as usize;
        epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        if clients.len() <= index {
            clients.resize_with(index + 1, || None);
        }
        clients[index] = Some(client);
    }
    Ok(())
}

/// One read, one write. A client that does not read its echo is dropped.
fn echo(client: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    match client.read(buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => client.write_all(&buffer[..count]),
    }
}
