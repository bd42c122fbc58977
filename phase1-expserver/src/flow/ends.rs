//! What a pipe asks of its two ends: [`Source`] and [`Sink`].

use nix::errno::Errno;

use super::kernel_pipe::KernelPipe;
use super::resources::Resources;
use crate::utils::buffer::BufferList;

/// The expected results of one call of a source or a sink. A failure of the connection is not one
/// of them: it is the `Err` of the [`Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// This many bytes were moved. After 0 bytes the caller tries again without waiting for an
    /// event. Either a signal interrupted the call, or `splice` cannot go on: the kernel pipe is
    /// full, the stream has ended, or the file does not support it.
    Moved(usize),
    /// Nothing more for now: the source is not readable, or the sink is not writable, until
    /// something changes.
    Blocked,
    /// The last byte has been read. Only a source returns this.
    Eof,
    /// The source cannot be read to its end: what it has given is only a part. Only a source
    /// returns this.
    Broken,
}

pub type Outcome = Result<Progress, Errno>;

/// Where bytes come from.
pub trait Source {
    /// Whether a read may bring something. True until a read has shown that it does not.
    fn readable(&self) -> bool;
    /// One read of limited size, appended to `into`.
    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome;
    /// Whether `splice` can move its bytes, so that they need not be copied.
    fn splices(&self) -> bool {
        false
    }
    /// Moves a limited number of bytes to the end of `into`. Called only on a source that
    /// [splices](Self::splices).
    fn splice_into(&mut self, _into: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// The sink is gone: it takes no more bytes.
    fn stop(&mut self, _resources: &mut Resources) {}
}

/// Where bytes go to.
pub trait Sink {
    /// Whether a write may take bytes. True until a write has shown that it does not.
    fn writable(&self) -> bool;
    /// Whether the sink will certainly never take a byte again. A pipe asks this even when it
    /// holds no bytes: otherwise a sink that is gone would be noticed only when there is something
    /// to send.
    fn gone(&self) -> bool;
    /// One write of limited size: takes bytes from the front of `from`, which is not empty.
    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome;
    /// The same from a kernel pipe. Called only by a pipe for [opaque](super::Pipe::opaque) bytes.
    fn splice_from(&mut self, _from: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// All bytes were delivered and no more will come. Called once, and not on a sink that is gone.
    fn shut(&mut self, resources: &mut Resources);
    /// The source broke: the receiver must not think that the part that it got is everything.
    fn break_off(&mut self) {}
}
