//! One direction of an exchange, from a [`Source`] to a [`Sink`]: [`Pipe`].
//!
//! A pipe owns the bytes that it has read and not written yet, and it knows the state of its
//! direction. It works in two half-steps: [`fill`](Pipe::fill) lets a source put bytes in,
//! [`drain`](Pipe::drain) lets a sink take them out. It never needs both ends at the same time, so
//! the two may be the same connection: that is an echo. The session that owns the pipe calls it.
//!
//! A pipe holds its bytes in one of two ways. Memory is right for few bytes, and for bytes that the
//! server must see. For a bulky flow there is a [`KernelPipe`], which the bytes pass through
//! without being copied. A pipe changes from one to the other only while it holds nothing.
//!
//! It never uses the descriptor of a source or a sink itself, and it never waits.

use std::mem;

use log::debug;
use nix::errno::Errno;

use super::ends::{Progress, Sink, Source};
use super::kernel_pipe::KernelPipe;
use super::resources::Resources;
use super::rule::{Event, State, rule};
use crate::utils::buffer::BufferList;

/// A read of this many bytes is a large one. Copying them costs more than a kernel pipe, which
/// costs a few system calls.
const LARGE: usize = 16 * 1024;
/// A flow counts as bulky when its large reads outnumber its small ones by this.
const BULKY: u8 = 4;

/// One direction: its [`State`], and the bytes that are not delivered yet.
pub struct Pipe {
    state: State,
    /// The server need not see the bytes.
    opaque: bool,
    /// How bulky the flow is: counts up with each large read and down with each small one. It goes
    /// up to twice [`BULKY`], so that a few small reads do not take the kernel pipe away.
    bulk: u8,
    threshold: usize,
    held: Held,
}

/// What the bytes are held in.
enum Held {
    Here(BufferList),
    InKernel(KernelPipe),
}

impl Pipe {
    /// A pipe that is filled while it holds less than `threshold` bytes. The last read may exceed
    /// it.
    pub fn new(threshold: usize, state: State) -> Self {
        Pipe {
            state,
            opaque: false,
            bulk: 0,
            threshold,
            held: Held::Here(BufferList::new()),
        }
    }

    /// The same for bytes that the server need not see: if they are many, they are not copied.
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

    /// Whether this direction has failed.
    pub fn failed(&self) -> bool {
        self.state == State::Failed
    }

    /// The number of bytes held.
    pub fn held(&self) -> usize {
        match &self.held {
            Held::Here(list) => list.len(),
            Held::InKernel(pipe) => pipe.len(),
        }
    }

    /// Whether [`fill`](Pipe::fill) has something to do. The answer is computed and never stored,
    /// because each step can change it, and no event reports that.
    pub fn can_fill(&self, source: &impl Source) -> bool {
        let room = match &self.held {
            // If the source can splice no more, because it has ended for example, it waits until
            // the kernel pipe is empty. Then `recv` takes over.
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

    /// Reads once, if there is room. Returns the number of bytes.
    pub fn fill(&mut self, source: &mut impl Source, resources: &mut Resources) -> usize {
        if !self.can_fill(source) {
            return 0;
        }
        self.choose(source.splices(), resources);
        let outcome = match &mut self.held {
            Held::Here(list) => source.read_into(list, resources),
            Held::InKernel(pipe) => source.splice_into(pipe),
        };
        match outcome {
            Ok(Progress::Moved(count)) => {
                self.weigh(count);
                return count;
            }
            Ok(Progress::Blocked) => self.choose(false, resources), // gives an empty kernel pipe back
            Ok(Progress::Eof) => self.on(Event::SourceEnded, resources),
            Ok(Progress::Broken) => self.on(Event::SourceBroken, resources),
            Err(errno) => {
                debug!("The source failed: {}", errno.desc());
                self.on(Event::SourceEnded, resources);
            }
        }
        0
    }

    /// Chooses what the next bytes are held in, if nothing is held now.
    fn choose(&mut self, splices: bool, resources: &mut Resources) {
        match &self.held {
            _ if self.held() > 0 => {}
            Held::Here(_) if self.opaque && splices && self.bulk >= BULKY => {
                match resources.kernel_pipes.lend() {
                    Some(pipe) => self.held = Held::InKernel(pipe),
                    None => self.bulk = 0, // too few descriptors: try again later
                }
            }
            Held::InKernel(_) if !splices || self.bulk < BULKY => self.put_down(resources),
            _ => {}
        }
    }

    /// Counts a read as a large or a small one.
    fn weigh(&mut self, count: usize) {
        self.bulk = if count >= LARGE {
            (self.bulk + 1).min(2 * BULKY)
        } else {
            self.bulk.saturating_sub(1)
        };
    }

    /// Returns the memory or the kernel pipe, and drops the bytes in it.
    fn put_down(&mut self, resources: &mut Resources) {
        match mem::replace(&mut self.held, Held::Here(BufferList::new())) {
            Held::Here(mut list) => list.clear(&mut resources.chunks),
            Held::InKernel(pipe) => resources.kernel_pipes.take_back(pipe),
        }
    }

    /// Writes the held bytes, as far as the sink takes them. Returns their number.
    pub fn drain(&mut self, sink: &mut impl Sink, resources: &mut Resources) -> usize {
        if !self.can_drain(sink) {
            return 0;
        }
        let before = self.held();
        let written = self.write(sink, resources);
        let moved = before - self.held();
        if let Err(errno) = written {
            debug!("The sink failed: {}", errno.desc());
            self.on(Event::SinkGone, resources);
        } else if self.held() == 0 {
            self.on(Event::Emptied, resources);
        }
        if self.state == State::Shut {
            sink.shut(resources); // once: `can_drain` is false from now on
        }
        moved
    }

    fn write(&mut self, sink: &mut impl Sink, resources: &mut Resources) -> Result<(), Errno> {
        if sink.gone() {
            return Err(Errno::EPIPE);
        }
        while self.held() > 0 && sink.writable() {
            let outcome = match &mut self.held {
                Held::Here(list) => sink.write_from(list, resources),
                Held::InKernel(pipe) => sink.splice_from(pipe),
            };
            match outcome? {
                Progress::Moved(1..) => {}
                // After 0 bytes this turn ends, and the next one tries again.
                Progress::Moved(0) | Progress::Blocked | Progress::Eof | Progress::Broken => break,
            }
        }
        Ok(())
    }

    /// Applies the [`rule`] to an event. A direction that is over holds nothing: when it fails, its
    /// bytes are dropped.
    pub fn on(&mut self, event: Event, resources: &mut Resources) {
        self.state = rule(self.state, event);
        if self.settled() {
            self.put_down(resources);
        }
    }
}

#[cfg(test)]
mod splice_tests;
#[cfg(test)]
mod tests;
