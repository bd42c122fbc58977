//! What happens when the process has no descriptor left. This is a test program of its own, because
//! all tests of a program share its descriptor limit.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use phase1_expserver::disk::file::{File, FileError, PublicFolder};
use phase1_expserver::network::listener::{Accept, Listener};
use phase1_expserver::network::socket::Readiness;
use phase1_expserver::network::upstream::{Attempt, Settled};

const LIMIT: rlim_t = 64;

/// Takes all descriptors up to the limit.
fn take_all() -> Vec<OwnedFd> {
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, LIMIT).expect("the limit can be lowered");
    let mut taken = Vec::new();
    loop {
        match EventFd::new() {
            Ok(fd) => taken.push(fd.into()),
            Err(errno) => {
                assert_eq!(errno, Errno::EMFILE);
                return taken;
            }
        }
    }
}

fn settle(mut attempt: Attempt, addresses: &[SocketAddr]) -> Settled {
    let mut asked = [PollFd::new(attempt.as_fd(), PollFlags::POLLOUT)];
    assert_eq!(poll(&mut asked, PollTimeout::from(5000u16)), Ok(1));
    let seen = asked[0].revents().unwrap_or(PollFlags::empty());
    attempt.notice(Readiness {
        writable: true,
        failed: seen.contains(PollFlags::POLLERR),
        ..Readiness::default()
    });
    attempt
        .settle(addresses, Instant::now())
        .expect("an address is left")
}

#[test]
fn without_descriptors_clients_wait_and_with_one_all_works_again() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listener = Listener::bind(any, false, 0).unwrap();
    listener.listen(8).unwrap();
    let _client = TcpStream::connect(listener.address()).unwrap();
    // Bound, but not listening, so it refuses connections.
    let refusing = Listener::bind(any, false, 0).unwrap();
    let upstream = TcpListener::bind(any).unwrap();
    let addresses = [refusing.address(), upstream.local_addr().unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.txt");
    fs::write(&path, b"content").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let public = PublicFolder::open(folder.path()).unwrap();
    let open = || File::open(&public, Path::new("file.txt")).map(|_| ());

    let mut taken = take_all();
    assert!(matches!(
        listener.accept(),
        Accept::NoDescriptor(Errno::EMFILE)
    ));
    assert!(listener.pending, "the waiting client causes no new event");
    let begun = Attempt::begin(&addresses, Instant::now());
    assert!(matches!(begun, Err(Errno::EMFILE)));
    assert_eq!(open(), Err(FileError::Io(Errno::EMFILE)));

    taken.pop();
    assert_eq!(open(), Ok(()));
    let attempt = Attempt::begin(&addresses, Instant::now()).unwrap();
    let Settled::Trying(attempt) = settle(attempt, &addresses) else {
        panic!("the first address refuses");
    };
    let Settled::Connected(connection) = settle(attempt, &addresses) else {
        panic!("the second address listens");
    };
    assert!(!connection.is_dead());
    drop(connection);
    assert!(matches!(listener.accept(), Accept::Client(_)));
}
