//! Bytes that stay in the kernel on their way: [`KernelPipe`], and their pool, [`KernelPipes`].
//!
//! `splice(2)` moves bytes from a socket or a file into a pipe(7), and from a pipe into a socket,
//! by passing on the memory pages that hold them. The bytes are not copied, and the server never
//! sees them.
//!
//! A [`Pipe`](super::Pipe) owns a kernel pipe while most reads of its flow are large. A source fills
//! it and a sink drains it, each with its own descriptor. It knows nothing about readiness: the
//! source and the sink decide what a short splice means.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc::loff_t;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::pipe2;

use crate::vec::XpsVec;

/// The size of a kernel pipe in bytes, and the most that one splice moves. Moving more at once
/// takes fewer system calls, and wakes the receiver less often.
pub(super) const CAPACITY: usize = 256 * 1024;

/// A smaller pipe is not worth its cost. If an unprivileged user already has many pipes, the
/// kernel makes new ones smaller, in the end only one or two pages (pipe(7),
/// `pipe-user-pages-soft`).
const LEAST_CAPACITY: usize = 64 * 1024;

/// How many unused pipes the pool keeps, with two descriptors each. It closes any beyond that.
const KEPT: usize = 16;

/// One pipe may exist for every 8 descriptors of the limit. A pipe has two descriptors, so pipes
/// use at most a quarter of all. Without a pipe, bytes are copied. Without a descriptor, a
/// client is not served at all.
const DESCRIPTORS_PER_PIPE: usize = 8;

/// A pipe(7), of which the server holds both ends.
pub struct KernelPipe {
    into: OwnedFd,
    out_of: OwnedFd,
    len: usize,
    /// It takes nothing until something is taken out. The kernel limits the number of pieces in a
    /// pipe, not of bytes: a pipe of 64 KiB has room for 16 pieces, so 16 pieces of ten bytes fill
    /// it.
    full: bool,
}

impl KernelPipe {
    /// # Errors
    /// Those of `pipe2(2)`; ENOBUFS if the kernel gives only a small pipe.
    pub fn new() -> nix::Result<Self> {
        let (out_of, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        // If this fails, the size stays as it is.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(CAPACITY as i32));
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

    /// Moves bytes from a socket to the end of the pipe. Returns their number.
    ///
    /// # Errors
    /// Those of `splice(2)`. EAGAIN: the pipe is full if [`is_full`](Self::is_full) is true now;
    /// otherwise the socket is empty.
    pub fn fill_from(&mut self, socket: impl AsFd) -> nix::Result<usize> {
        let moved = splice(socket, None, &self.into, None, CAPACITY, flags());
        self.filled(moved)
    }

    /// The same from a file: at most `most` bytes from `offset` on.
    pub fn fill_from_file(
        &mut self,
        file: impl AsFd,
        offset: u64,
        most: usize,
    ) -> nix::Result<usize> {
        let (mut offset, most) = (offset as loff_t, most.min(CAPACITY));
        let moved = splice(file, Some(&mut offset), &self.into, None, most, flags());
        self.filled(moved)
    }

    fn filled(&mut self, moved: nix::Result<usize>) -> nix::Result<usize> {
        match moved {
            Ok(count) => self.len += count,
            // EAGAIN does not say whether the pipe is full or the socket is empty. A pipe that
            // holds bytes counts as full. When it has been drained, the next call shows whether the
            // socket is empty.
            Err(errno) => self.full = errno == Errno::EAGAIN && !self.is_empty(),
        }
        moved
    }

    /// Moves bytes from the front of the pipe, which is not empty, to a socket. Returns their
    /// number.
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

/// The pool of kernel pipes. One per event loop.
pub struct KernelPipes {
    unused: XpsVec<KernelPipe>,
    lent: usize,
    most: usize,
    /// Whether one has been lent since the last call of [`close_idle`](KernelPipes::close_idle).
    in_use: bool,
}

impl Default for KernelPipes {
    /// A pool for the descriptor limit as it is now.
    fn default() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
        KernelPipes {
            unused: XpsVec::new(),
            lent: 0,
            in_use: false,
            most: usize::try_from(limit).unwrap_or(usize::MAX) / DESCRIPTORS_PER_PIPE,
        }
    }
}

impl KernelPipes {
    /// Divides the limit of the pool, because this many event loops share the descriptor limit.
    pub fn share(&mut self, loops: usize) {
        self.most /= loops;
    }

    /// How many are lent. If this is not 0 although no flow is bulky, one has leaked.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// An empty pipe; `None` if the kernel gives none, or too many are lent.
    pub fn lend(&mut self) -> Option<KernelPipe> {
        if self.lent >= self.most {
            return None;
        }
        let pipe = self.unused.pop().or_else(|| KernelPipe::new().ok())?;
        self.lent += 1;
        self.in_use = true;
        Some(pipe)
    }

    /// Takes back a pipe. If it still holds bytes it is closed, which drops them.
    pub fn take_back(&mut self, pipe: KernelPipe) {
        self.lent -= 1;
        if pipe.is_empty() && self.unused.len() < KEPT {
            self.unused.push(pipe);
        }
    }

    pub fn any_unused(&self) -> bool {
        !self.unused.is_empty()
    }

    /// Closes the unused pipes, unless one has been lent since the last call.
    pub fn close_idle(&mut self) {
        if !mem::take(&mut self.in_use) {
            self.close_unused();
        }
    }

    /// Closes the unused pipes. True if that has freed descriptors.
    pub fn close_unused(&mut self) -> bool {
        let any = self.any_unused();
        self.unused = XpsVec::new();
        any
    }
}

#[cfg(test)]
mod tests;
