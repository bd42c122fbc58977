//! How many descriptors this process may have.

use log::debug;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard limit. On many systems a process may have
/// only 1024 until it asks for more, and each client needs some (getrlimit(2)).
pub fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Cannot raise the descriptor limit: {}", errno.desc()),
    }
}
