//! Bytes on their way that stay in the kernel: [`KernelPipe`], and the [`KernelPipes`] where they
//! come from.
//!
//! `splice(2)` moves bytes from a socket or a file into a pipe(7), and from a pipe into a socket,
//! by handing over the memory that they lie in. Nothing is copied, and the bytes never come here.
//!
//! Owned by a [`Pipe`](super::Pipe) while its flow is bulky; a source fills it and a sink drains it,
//! each with its own descriptor. It knows no readiness: what a short splice means is theirs to say.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc::off_t;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::pipe2;

use crate::vec::XpsVec;

/// The size that is asked for, in bytes, and what one splice moves at most: the more at once, the
/// fewer system calls, and the more seldom the receiver is woken.
pub(super) const CAPACITY: usize = 256 * 1024;

/// A smaller pipe is not worth having. An unprivileged user who has much in pipes gets such, and in
/// the end only tiny ones (pipe(7), `pipe-user-pages-soft`).
const LEAST_CAPACITY: usize = 64 * 1024;

/// How many unused pipes are kept, of two descriptors each; what comes back beyond that is closed.
const KEPT: usize = 16;

/// One pipe for so many descriptors that the process may have: so pipes take a quarter of them at
/// most. Without a pipe bytes are copied; without a descriptor a client is not served at all.
const DESCRIPTORS_PER_PIPE: u64 = 8;

/// A pipe(7) whose two ends are both ours.
pub struct KernelPipe {
    into: OwnedFd,
    out_of: OwnedFd,
    len: usize,
    /// Takes nothing until something is taken out. A pipe is limited in pieces, not in bytes: a few
    /// hundred bytes can fill one that has room for 64 KiB, if each ten of them came alone.
    full: bool,
}

impl KernelPipe {
    /// # Errors
    /// Those of `pipe2(2)`; ENOBUFS if the kernel has only small ones to give.
    pub fn new() -> nix::Result<Self> {
        let (out_of, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(CAPACITY as i32)); // else it stays as it is
        if fcntl(&into, FcntlArg::F_GETPIPE_SZ)? < LEAST_CAPACITY as i32 {
            return Err(Errno::ENOBUFS);
        }
        Ok(KernelPipe {
            into,
            out_of,
            len: 0,
            full: false,
        })
    }

    /// The number of bytes in it.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Moves bytes from a socket to the end of the pipe. Returns how many.
    ///
    /// # Errors
    /// Those of `splice(2)`. EAGAIN: the pipe [is full](Self::is_full) now, or else the socket is
    /// empty.
    pub fn fill_from(&mut self, socket: impl AsFd) -> nix::Result<usize> {
        let moved = splice(socket, None, &self.into, None, CAPACITY, flags());
        self.filled(moved)
    }

    /// The same from a file, at most `most` bytes from `offset` on, which moves along.
    pub fn fill_from_file(
        &mut self,
        file: impl AsFd,
        offset: &mut off_t,
        most: usize,
    ) -> nix::Result<usize> {
        let most = most.min(CAPACITY);
        let moved = splice(file, Some(offset), &self.into, None, most, flags());
        self.filled(moved)
    }

    fn filled(&mut self, moved: nix::Result<usize>) -> nix::Result<usize> {
        match moved {
            Ok(count) => self.len += count,
            // Nobody but us takes from it: as it is not empty, it is the pipe that may be full. If
            // it is the socket that is empty, that shows when the pipe is empty too.
            Err(errno) => self.full = errno == Errno::EAGAIN && !self.is_empty(),
        }
        moved
    }

    /// Moves bytes from the front of the pipe, which is not empty, to a socket. Returns how many.
    ///
    /// # Errors
    /// Those of `splice(2)`. EAGAIN: the socket takes nothing now.
    pub fn drain_into(&mut self, socket: impl AsFd) -> nix::Result<usize> {
        let moved = splice(&self.out_of, None, socket, None, self.len, flags())?;
        self.len -= moved;
        self.full &= moved == 0;
        Ok(moved)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

/// Where kernel pipes come from and go back to. One per event loop.
pub struct KernelPipes {
    unused: XpsVec<KernelPipe>,
    lent: usize,
    most: usize,
    /// One has been lent since [`close_idle`](KernelPipes::close_idle) was called last.
    in_use: bool,
}

impl Default for KernelPipes {
    /// For the limit of descriptors as it is now.
    fn default() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
        KernelPipes {
            unused: XpsVec::new(),
            lent: 0,
            in_use: false,
            most: usize::try_from(limit / DESCRIPTORS_PER_PIPE).unwrap_or(usize::MAX),
        }
    }
}

impl KernelPipes {
    /// So many event loops share the limit of descriptors.
    pub fn share(&mut self, loops: usize) {
        self.most /= loops;
    }

    /// How many are out. 0 when no flow is bulky, or something has leaked.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// An empty pipe; `None` when there is none to be had, or too many are out.
    pub fn lend(&mut self) -> Option<KernelPipe> {
        if self.lent >= self.most {
            return None;
        }
        let pipe = self.unused.pop().or_else(|| KernelPipe::new().ok())?;
        self.lent += 1;
        self.in_use = true;
        Some(pipe)
    }

    /// Takes back a pipe. One with bytes left in it is closed, and they are forgotten.
    pub fn take_back(&mut self, pipe: KernelPipe) {
        self.lent -= 1;
        if pipe.is_empty() && self.unused.len() < KEPT {
            self.unused.push(pipe);
        }
    }

    pub fn any_unused(&self) -> bool {
        !self.unused.is_empty()
    }

    /// Closes those that are not used, unless one has been lent since this was called last.
    pub fn close_idle(&mut self) {
        if !mem::take(&mut self.in_use) {
            self.close_unused();
        }
    }

    /// Closes those that are not used. True if descriptors have become free by that.
    pub fn close_unused(&mut self) -> bool {
        let any = self.any_unused();
        self.unused = XpsVec::new();
        any
    }
}

#[cfg(test)]
mod tests;
