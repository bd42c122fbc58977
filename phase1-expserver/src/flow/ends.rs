//! What a pipe asks of its two ends: [`Source`] and [`Sink`].

use nix::errno::Errno;

use super::kernel_pipe::KernelPipe;
use super::resources::Resources;
use crate::utils::buffer::BufferList;

/// What one call of a source or a sink has brought: what is expected to happen. A fault is the
/// `Err` of the [`Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes went through. 0 does not mean to wait: a signal came first, or another way has
    /// to be taken (a kernel pipe is full, splice has met the end or cannot read this file).
    Moved(usize),
    /// Nothing more for now; it is not readable, or writable, until it is known better.
    Blocked,
    /// The last byte has been read. From sources only.
    Eof,
    /// The source cannot be read to its end: what came is not all. From sources only.
    Broken,
}

pub type Outcome = Result<Progress, Errno>;

/// Where bytes come from.
pub trait Source {
    /// Whether a read may bring something. True until a read has shown that it does not.
    fn readable(&self) -> bool;
    /// One bounded read, to the end of `into`.
    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome;
    /// Whether its bytes can be had without being copied.
    fn splices(&self) -> bool {
        false
    }
    /// One bounded move to the end of `into`. Asked only of who [splices](Self::splices).
    fn splice_into(&mut self, _into: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// Nobody will take its bytes any more.
    fn stop(&mut self, _resources: &mut Resources) {}
}

/// Where bytes go to.
pub trait Sink {
    /// Whether it may take bytes. True until a write has shown that it does not.
    fn writable(&self) -> bool;
    /// Whether it is known that it will never take a byte again. Asked even when there is none for
    /// it: a peer that is gone must not be served until there happens to be something to send.
    fn gone(&self) -> bool;
    /// One bounded write of bytes at the front of `from`, which is not empty.
    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome;
    /// The same from a kernel pipe. Asked only if the pipe was made for [opaque](super::Pipe::opaque) bytes.
    fn splice_from(&mut self, _from: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// All bytes were delivered and no more will come. Called once, and not if it is gone.
    fn shut(&mut self, resources: &mut Resources);
    /// The source broke: what was delivered is not all, and must not be taken for all.
    fn break_off(&mut self) {}
}
