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

use std::mem;

use log::debug;
use nix::errno::Errno;

use super::ends::{Progress, Sink, Source};
use super::kernel_pipe::KernelPipe;
use super::resources::Resources;
use super::rule::{Event, State, rule};
use crate::utils::buffer::BufferList;

/// A read of this many bytes is a large one: to copy them costs more than what a kernel pipe costs,
/// a few system calls. Several of them make a flow bulky.
const LARGE: usize = 16 * 1024;
const BULKY: u8 = 4;

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

    /// Whether bytes of this direction were lost, or would be.
    pub fn failed(&self) -> bool {
        self.state == State::Failed
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
            Ok(Progress::Blocked) => self.choose(false, resources), // who waits keeps no kernel pipe
            Ok(Progress::Eof) => self.on(Event::SourceEnded, resources),
            Ok(Progress::Broken) => self.on(Event::SourceBroken, resources),
            Err(errno) => {
                debug!("The source failed: {}", errno.desc());
                self.on(Event::SourceEnded, resources);
            }
        }
        0
    }

    /// Decides what the next bytes are held in, if nothing is held now.
    fn choose(&mut self, splices: bool, resources: &mut Resources) {
        match &self.held {
            _ if self.held() > 0 => {}
            Held::Here(_) if self.opaque && splices && self.bulk >= BULKY => {
                match resources.kernel_pipes.lend() {
                    Some(pipe) => self.held = Held::InKernel(pipe),
                    None => self.bulk = 0, // for want of descriptors: some other time
                }
            }
            Held::InKernel(_) if !splices || self.bulk < BULKY => self.put_down(resources),
            _ => {}
        }
    }

    /// Judges the flow by what one read has brought.
    fn weigh(&mut self, count: usize) {
        self.bulk = if count >= LARGE {
            (self.bulk + 1).min(2 * BULKY)
        } else {
            self.bulk.saturating_sub(1)
        };
    }

    /// Gives back what bytes are held in, with those that are.
    fn put_down(&mut self, resources: &mut Resources) {
        match mem::replace(&mut self.held, Held::Here(BufferList::new())) {
            Held::Here(mut list) => list.clear(&mut resources.chunks),
            Held::InKernel(pipe) => resources.kernel_pipes.take_back(pipe),
        }
    }

    /// Writes what is held as far as the sink takes it. Returns how many bytes went.
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
            sink.shut(resources); // once: what is over is not drained again
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
                // 0 bytes: again in the next turn, so that this one is bounded.
                Progress::Moved(0) | Progress::Blocked | Progress::Eof | Progress::Broken => break,
            }
        }
        Ok(())
    }

    /// Goes by the [`rule`]. Who is over holds nothing: the bytes of a direction that failed are
    /// dropped.
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
