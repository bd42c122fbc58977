//! How many descriptors this process may have.

use log::debug;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Each client costs descriptors. Many systems let a process have 1024 of them
/// until it asks for more (getrlimit(2)).
pub fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Descriptor limit stays as it is: {}", errno.desc()),
    }
}
