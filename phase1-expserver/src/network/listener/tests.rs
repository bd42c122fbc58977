use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::getsockopt;

use nix::sys::socket::sockopt::TcpNoDelay;

use super::*;
use crate::network::rig::wait_until;

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

#[test]
fn clients_are_accepted_one_by_one_until_none_waits() {
    let mut listener = Listener::bind(any_port(), false, 7).unwrap();
    listener.listen(8).unwrap();
    assert_ne!(listener.address().port(), 0);
    assert_eq!(listener.service, 7);
    let clients = [(); 3].map(|()| TcpStream::connect(listener.address()).unwrap());
    listener.pending = true;
    for client in &clients {
        wait_until(&listener, EpollFlags::EPOLLIN);
        let Accept::Client(accepted) = listener.accept() else {
            panic!("no client");
        };
        assert!(listener.pending, "there may be more");
        let peer: SockaddrStorage = nix::sys::socket::getpeername(accepted.as_raw_fd()).unwrap();
        assert_eq!(peer.to_string(), client.local_addr().unwrap().to_string());
        let status = fcntl(&accepted, FcntlArg::F_GETFL).unwrap();
        assert!(OFlag::from_bits_truncate(status).contains(OFlag::O_NONBLOCK));
        let flags = fcntl(&accepted, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_truncate(flags).contains(FdFlag::FD_CLOEXEC));
        assert_eq!(getsockopt(&accepted, TcpNoDelay), Ok(true));
    }
    assert!(matches!(listener.accept(), Accept::WouldBlock));
    assert!(!listener.pending);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let first = Listener::bind(any_port(), false, 0).unwrap();
    // Two sockets can be bound to a port. The first one that listens gets it.
    let second = Listener::bind(first.address(), false, 0).unwrap();
    first.listen(8).unwrap();
    assert_eq!(second.listen(8), Err(Errno::EADDRINUSE));
    let third = Listener::bind(first.address(), false, 0);
    assert_eq!(third.err(), Some(Errno::EADDRINUSE));
}

#[test]
fn workers_share_a_port() {
    let first = Listener::bind(any_port(), true, 0).unwrap();
    first.listen(8).unwrap();
    let second = Listener::bind(first.address(), true, 0).unwrap();
    second.listen(8).unwrap();
    assert_eq!(first.address(), second.address());
}

#[test]
fn ipv6_works_as_well() {
    let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    match Listener::bind(any, false, 0) {
        Ok(listener) => assert!(listener.address().is_ipv6()),
        // A machine may not have IPv6.
        Err(errno) => assert!(matches!(errno, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)),
    }
}

#[test]
fn only_errors_of_one_client_are_passed_over() {
    for errno in [Errno::ECONNABORTED, Errno::EPROTO, Errno::EPERM] {
        assert!(matches!(refused(errno), Accept::Passed(_)), "{errno}");
    }
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
        assert!(matches!(refused(errno), Accept::NoDescriptor(_)), "{errno}");
    }
}

#[test]
fn after_any_other_error_clients_may_be_waiting() {
    let mut listener = Listener::bind(any_port(), false, 0).unwrap();
    let accepted = listener.accept(); // it does not listen yet
    assert!(matches!(accepted, Accept::NoDescriptor(Errno::EINVAL)));
    assert!(listener.pending);
}

#[test]
fn a_queue_that_the_kernel_has_cut_is_noticed() {
    let limit = |text: &str| Ok(text.to_owned());
    assert_eq!(cut_to(300, limit("128\n")), Some(128));
    assert_eq!(cut_to(128, limit("128\n")), None);
    assert_eq!(cut_to(4096, limit("not a number")), None);
    assert_eq!(cut_to(4096, Err(io::ErrorKind::NotFound.into())), None);
}
