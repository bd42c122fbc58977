//! The flow of bytes in one direction, from a [`Source`] to a [`Sink`]: [`Pipe`].
//!
//! A pipe owns the bytes that are on their way and knows how far its direction has come on the way
//! from open to over. It takes two half-steps: [`fill`](Pipe::fill) lets a source put bytes in,
//! [`drain`](Pipe::drain) lets a sink take them out, so it never needs both at the same moment (the
//! two may be one connection: that is an echo). Called by the session that owns it.
//!
//! What it holds the bytes in is one of two things: memory of ours, which is right for few bytes and
//! for those that somebody has to see; or, for a flow that has proved bulky, a [`KernelPipe`], through
//! which they pass without being copied. The way is the same, and it changes between the two only
//! while nothing is held.
//!
//! It never touches a descriptor of a source or a sink and never waits.

mod kernel;

use std::mem;
use std::time::Instant;

use log::debug;
use nix::errno::Errno;

use crate::utils::buffer::{BufferList, ChunkPool};
use crate::utils::logger::Transcript;
use crate::utils::repeats::Repeats;
pub use kernel::{KernelPipe, KernelPipes};

/// A read of this many bytes is a large one: to copy them costs more than what a kernel pipe costs,
/// a few system calls. Several of them make a flow bulky.
const LARGE: usize = 16 * 1024;
const BULKY: u8 = 4;

/// What the ends of a pipe need to do their work, one per event loop.
pub struct Tools {
    /// Memory for bytes on their way.
    pub chunks: ChunkPool,
    /// For bytes that stay in the kernel.
    pub kernel_pipes: KernelPipes,
    /// The messages of clients, for stdout.
    pub transcript: Transcript,
    pub warnings: Repeats,
    /// When this turn of the loop began.
    pub now: Instant,
}

impl Tools {
    pub fn new(transcript: Transcript) -> Self {
        Tools {
            chunks: ChunkPool::new(),
            kernel_pipes: KernelPipes::default(),
            transcript,
            warnings: Repeats::new(env!("CARGO_CRATE_NAME")),
            now: Instant::now(),
        }
    }

    /// Says `text` as a warning, or counts it if it was said just now.
    pub fn warn(&mut self, text: String) {
        self.warnings.warn(text, self.now);
    }
}

/// What the kernel says about a socket, in the words of epoll(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes can be received, or the end can be.
    pub readable: bool,
    /// The send buffer has room.
    pub writable: bool,
    /// The peer has shut down its sending side, or both sides are shut down.
    pub closing: bool,
    /// The connection has failed: a reset, a timeout, a connect that came to nothing.
    pub failed: bool,
    /// A byte of urgent data is on its way. A `recv` stops at it, even if more bytes are there.
    pub urgent: bool,
}

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
}

pub type Outcome = Result<Progress, Errno>;

/// Where bytes come from.
pub trait Source {
    /// Whether a read may bring something. True until a read has shown that it does not.
    fn readable(&self) -> bool;
    /// One bounded read, to the end of `into`.
    fn read_into(&mut self, into: &mut BufferList, tools: &mut Tools) -> Outcome;
    /// Whether its bytes can be had without being copied.
    fn splices(&self) -> bool {
        false
    }
    /// One bounded move to the end of `into`. Asked only of who [splices](Self::splices).
    fn splice_into(&mut self, _into: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// Nobody will take its bytes any more.
    fn stop(&mut self, _tools: &mut Tools) {}
}

/// Where bytes go to.
pub trait Sink {
    /// Whether it may take bytes. True until a write has shown that it does not.
    fn writable(&self) -> bool;
    /// Whether it is known that it will never take a byte again. Asked even when there is none for
    /// it: a peer that is gone must not be served until there happens to be something to send.
    fn gone(&self) -> bool;
    /// One bounded write of bytes at the front of `from`, which is not empty.
    fn write_from(&mut self, from: &mut BufferList, tools: &mut Tools) -> Outcome;
    /// The same from a kernel pipe. Asked only if the pipe was made for [opaque](Pipe::opaque) bytes.
    fn splice_from(&mut self, _from: &mut KernelPipe) -> Outcome {
        Err(Errno::EOPNOTSUPP)
    }
    /// All bytes were delivered and no more will come. Called once, and not if it is gone.
    fn shut(&mut self, tools: &mut Tools);
}

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Bytes may come.
    Open,
    /// No more will come; those that did are to be delivered.
    Draining,
    /// All were delivered, and the sink was told that these were all.
    Shut,
    /// The sink is gone; what was left has been dropped.
    Failed,
}

/// What can happen to one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The source has said its last byte: in order, or because it has failed after it.
    SourceEnded,
    /// Nothing is held any more.
    Emptied,
    /// The sink has failed, or nobody waits for it any longer.
    SinkGone,
}

/// How a direction ends. What that means for the two ends together is the session's to judge.
pub fn rule(state: State, event: Event) -> State {
    use Event::*;
    use State::*;
    match (event, state) {
        // What the source said before its end is still delivered.
        (SourceEnded, Open) => Draining,
        (Emptied, Draining) => Shut,
        // Nobody to deliver to.
        (SinkGone, Open | Draining) => Failed,
        // It was over already, or still goes on.
        (SourceEnded, Draining | Shut | Failed)
        | (Emptied, Open | Shut | Failed)
        | (SinkGone, Shut | Failed) => state,
    }
}

/// One direction: the bytes on their way and its [`State`].
pub struct Pipe {
    state: State,
    /// Nobody has to see the bytes.
    opaque: bool,
    /// How bulky the flow is: how many more large reads than small ones there were of late. As high
    /// as twice [`BULKY`], so that a few small ones among them do not change the way.
    bulk: u8,
    threshold: usize,
    held: Held,
}

/// The bytes on their way.
enum Held {
    Here(BufferList),
    InKernel(KernelPipe),
}

impl Pipe {
    /// A pipe that is filled while it holds less than `threshold` bytes: the last read may go
    /// beyond.
    pub fn new(threshold: usize, state: State) -> Self {
        Pipe {
            state,
            opaque: false,
            bulk: 0,
            threshold,
            held: Held::Here(BufferList::new()),
        }
    }

    /// The same for bytes that nobody has to see: if they are many, they are not copied.
    pub fn opaque(threshold: usize, state: State) -> Self {
        Pipe {
            opaque: true,
            ..Pipe::new(threshold, state)
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Whether this direction is over.
    pub fn settled(&self) -> bool {
        matches!(self.state, State::Shut | State::Failed)
    }

    /// The number of bytes on their way.
    pub fn held(&self) -> usize {
        match &self.held {
            Held::Here(list) => list.len(),
            Held::InKernel(pipe) => pipe.len(),
        }
    }

    /// Whether [`fill`](Pipe::fill) has something to do. Computed, never remembered: room, bytes
    /// and the end of a direction come about in steps for which there is no event.
    pub fn can_fill(&self, source: &impl Source) -> bool {
        let room = match &self.held {
            // What does not fit the kernel pipe (its source has ended, say) waits until it is empty.
            Held::InKernel(pipe) => pipe.is_empty() || source.splices() && !pipe.is_full(),
            Held::Here(_) => true,
        };
        self.state == State::Open && self.held() < self.threshold && room && source.readable()
    }

    /// Whether [`drain`](Pipe::drain) has something to do.
    pub fn can_drain(&self, sink: &impl Sink) -> bool {
        let owed = self.held() > 0;
        let ended = self.state == State::Draining && !owed;
        !self.settled() && (ended || sink.gone() || owed && sink.writable())
    }

    /// One read, if there is room. Returns how many bytes came.
    pub fn fill(&mut self, source: &mut impl Source, tools: &mut Tools) -> usize {
        if !self.can_fill(source) {
            return 0;
        }
        self.choose(source.splices(), tools);
        let outcome = match &mut self.held {
            Held::Here(list) => source.read_into(list, tools),
            Held::InKernel(pipe) => source.splice_into(pipe),
        };
        match outcome {
            Ok(Progress::Moved(count)) => {
                self.weigh(count);
                return count;
            }
            Ok(Progress::Blocked) => self.choose(false, tools), // who waits keeps no kernel pipe
            Ok(Progress::Eof) => self.on(Event::SourceEnded, tools),
            Err(errno) => {
                debug!("The source failed: {}", errno.desc());
                self.on(Event::SourceEnded, tools);
            }
        }
        0
    }

    /// Decides what the next bytes are held in, if nothing is held now.
    fn choose(&mut self, splices: bool, tools: &mut Tools) {
        match &self.held {
            _ if self.held() > 0 => {}
            Held::Here(_) if self.opaque && splices && self.bulk >= BULKY => {
                match tools.kernel_pipes.lend() {
                    Some(pipe) => self.held = Held::InKernel(pipe),
                    None => self.bulk = 0, // for want of descriptors: some other time
                }
            }
            Held::InKernel(_) if !splices || self.bulk < BULKY => self.put_down(tools),
            _ => {}
        }
    }

    /// Judges the flow by what one read has brought.
    fn weigh(&mut self, count: usize) {
        self.bulk = match count >= LARGE {
            true => (self.bulk + 1).min(2 * BULKY),
            false => self.bulk.saturating_sub(1),
        };
    }

    /// Gives back what bytes are held in, with those that are.
    fn put_down(&mut self, tools: &mut Tools) {
        match mem::replace(&mut self.held, Held::Here(BufferList::new())) {
            Held::Here(mut list) => list.clear(&mut tools.chunks),
            Held::InKernel(pipe) => tools.kernel_pipes.take_back(pipe),
        }
    }

    /// Writes what is held as far as the sink takes it. Returns how many bytes went.
    pub fn drain(&mut self, sink: &mut impl Sink, tools: &mut Tools) -> usize {
        if !self.can_drain(sink) {
            return 0;
        }
        let before = self.held();
        let written = self.write(sink, tools);
        let moved = before - self.held();
        if let Err(errno) = written {
            debug!("The sink failed: {}", errno.desc());
            self.on(Event::SinkGone, tools);
        } else if self.held() == 0 {
            self.on(Event::Emptied, tools);
        }
        if self.state == State::Shut {
            sink.shut(tools); // once: what is over is not drained again
        }
        moved
    }

    fn write(&mut self, sink: &mut impl Sink, tools: &mut Tools) -> Result<(), Errno> {
        if sink.gone() {
            return Err(Errno::EPIPE);
        }
        while self.held() > 0 && sink.writable() {
            let outcome = match &mut self.held {
                Held::Here(list) => sink.write_from(list, tools),
                Held::InKernel(pipe) => sink.splice_from(pipe),
            };
            match outcome? {
                Progress::Moved(1..) => {}
                // 0 bytes: again in the next turn, so that this one is bounded.
                Progress::Moved(0) | Progress::Blocked | Progress::Eof => break,
            }
        }
        Ok(())
    }

    /// Goes by the [`rule`]. Who is over holds nothing: the bytes of a direction that failed are
    /// dropped.
    pub fn on(&mut self, event: Event, tools: &mut Tools) {
        self.state = rule(self.state, event);
        if self.settled() {
            self.put_down(tools);
        }
    }
}

#[cfg(test)]
mod tests;
