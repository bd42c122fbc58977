//! The rule, compared with its table; and pipes between sources and sinks that follow a script.

use std::collections::VecDeque;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;
use crate::flow::Outcome;
use crate::utils::logger::Transcript;

const LONGEST_READ: usize = 100;

fn resources() -> Resources {
    Resources::new(Transcript::default())
}

/// A source that does what its script says, and then has nothing more.
#[derive(Default)]
struct Scripted {
    script: VecDeque<Outcome>,
    ready: bool,
    ended: bool,
    broken: bool,
    sent: Vec<u8>,
    calls: usize,
}

impl Source for Scripted {
    fn readable(&self) -> bool {
        self.ready && !self.ended
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        assert!(!self.ended, "a read after the end");
        self.calls += 1;
        let outcome = self.script.pop_front().unwrap_or(Ok(Progress::Blocked));
        match outcome {
            Ok(Progress::Moved(count)) => {
                let room = into.room(LONGEST_READ, &mut resources.chunks);
                for byte in &mut room[..count] {
                    *byte = self.sent.len() as u8;
                    self.sent.push(*byte);
                }
                into.commit(count, &mut resources.chunks);
            }
            Ok(Progress::Blocked) => self.ready = false,
            Ok(Progress::Eof) | Err(_) => self.ended = true,
            Ok(Progress::Broken) => {
                self.ended = true;
                self.broken = true;
            }
        }
        outcome
    }
}

/// A sink that does what its script says, and then takes everything.
#[derive(Default)]
struct Taker {
    script: VecDeque<Outcome>,
    ready: bool,
    gone: bool,
    taken: Vec<u8>,
    calls: usize,
    shut: usize,
}

impl Sink for Taker {
    fn writable(&self) -> bool {
        self.ready && !self.gone
    }

    fn gone(&self) -> bool {
        self.gone
    }

    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome {
        assert!(!self.gone && self.shut == 0, "a write after the end");
        assert!(!from.is_empty(), "a write of nothing");
        self.calls += 1;
        let most = Ok(Progress::Moved(usize::MAX));
        match self.script.pop_front().unwrap_or(most) {
            Ok(Progress::Moved(most)) => {
                let count = most.min(from.front().len());
                self.taken.extend_from_slice(&from.front()[..count]);
                from.consume(count, &mut resources.chunks);
                Ok(Progress::Moved(count))
            }
            Ok(_) => {
                self.ready = false;
                Ok(Progress::Blocked)
            }
            Err(errno) => {
                self.gone = true;
                Err(errno)
            }
        }
    }

    fn shut(&mut self, _resources: &mut Resources) {
        assert!(!self.gone, "shut although it is gone");
        self.shut += 1;
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fill,
    Drain,
    SourceEvent,
    SinkEvent,
    SinkDies,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Fill),
        8 => Just(Step::Drain),
        4 => Just(Step::SourceEvent),
        4 => Just(Step::SinkEvent),
        1 => Just(Step::SinkDies),
    ]
}

fn an_outcome(with_end: bool) -> impl Strategy<Value = Outcome> {
    let end = u32::from(with_end);
    prop_oneof![
        8 => (0..=LONGEST_READ).prop_map(|count| Ok(Progress::Moved(count))),
        4 => Just(Ok(Progress::Blocked)),
        end => Just(Ok(Progress::Eof)),
        end => Just(Ok(Progress::Broken)),
        end => Just(Err(Errno::ECONNRESET)),
    ]
}

fn a_taking() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => (0..=LONGEST_READ).prop_map(|count| Ok(Progress::Moved(count))),
        4 => Just(Ok(Progress::Blocked)),
        1 => Just(Err(Errno::EPIPE)),
    ]
}

/// A pipe and its two ends, with what must always be true of them.
struct Rig {
    pipe: Pipe,
    threshold: usize,
    source: Scripted,
    sink: Taker,
    resources: Resources,
}

impl Rig {
    fn new(threshold: usize, reads: Vec<Outcome>, writes: Vec<Outcome>) -> Self {
        Rig {
            pipe: Pipe::new(threshold, State::Open),
            threshold,
            source: Scripted {
                script: reads.into(),
                ready: true,
                ..Scripted::default()
            },
            sink: Taker {
                script: writes.into(),
                ready: true,
                ..Taker::default()
            },
            resources: resources(),
        }
    }

    /// One half-step or event. Calls `fill` and `drain` also when the pipe does not need them.
    fn take(&mut self, step: Step) {
        let (state, sent, taken) = (
            self.pipe.state(),
            self.source.sent.len(),
            self.sink.taken.len(),
        );
        let (reads, writes) = (self.source.calls, self.sink.calls);
        match step {
            Step::Fill => {
                let room = self.pipe.held() < self.threshold;
                let due = state == State::Open && room && self.source.readable();
                assert_eq!(self.pipe.can_fill(&self.source), due);
                let moved = self.pipe.fill(&mut self.source, &mut self.resources);
                assert_eq!(self.source.calls - reads, usize::from(due));
                assert_eq!(self.source.sent.len() - sent, moved);
            }
            Step::Drain => {
                let wanted = self.pipe.can_drain(&self.sink);
                let moved = self.pipe.drain(&mut self.sink, &mut self.resources);
                assert_eq!(self.sink.taken.len() - taken, moved);
                let done = self.pipe.state() != state || self.sink.calls > writes;
                assert_eq!(
                    done, wanted,
                    "can_drain is true only if there is something to do"
                );
            }
            Step::SourceEvent => self.source.ready = true,
            Step::SinkEvent => self.sink.ready = true,
            Step::SinkDies => self.sink.gone = true,
        }
        self.check();
    }

    fn check(&self) {
        let (sent, taken) = (&self.source.sent, &self.sink.taken);
        assert!(sent.starts_with(taken), "order");
        if self.pipe.state() == State::Failed {
            assert_eq!(self.pipe.held(), 0, "what was left is dropped");
            assert!(self.sink.gone || self.source.broken);
        } else {
            assert_eq!(taken.len() + self.pipe.held(), sent.len(), "nothing lost");
        }
        assert!(self.pipe.held() < self.threshold + LONGEST_READ);
        let shut = self.pipe.state() == State::Shut;
        assert_eq!(self.sink.shut, usize::from(shut));
    }

    /// Works as the event loop does: steps only when the pipe has something to do, and events only
    /// for an end that has returned `Blocked`.
    fn run_to_the_end(&mut self) {
        for _ in 0..10_000 {
            if self.pipe.can_fill(&self.source) || self.pipe.can_drain(&self.sink) {
                self.take(Step::Fill);
                self.take(Step::Drain);
            } else if !self.source.ready && !self.source.script.is_empty() {
                self.take(Step::SourceEvent);
            } else if !self.sink.ready {
                self.take(Step::SinkEvent);
            } else {
                return;
            }
        }
        panic!("the pipe never comes to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn bytes_arrive_in_order_and_no_wake_up_is_lost(
        threshold in 1usize..300,
        mut reads in vec_of(an_outcome(true), 0..40),
        writes in vec_of(a_taking(), 0..40),
        steps in vec_of(a_step(), 0..80),
    ) {
        reads.push(Ok(Progress::Eof));
        let mut rig = Rig::new(threshold, reads, writes);
        for step in steps {
            rig.take(step);
        }
        rig.run_to_the_end();
        prop_assert!(rig.pipe.settled());
        if rig.pipe.state() == State::Shut {
            prop_assert!(rig.sink.taken == rig.source.sent);
        }
        prop_assert_eq!(rig.resources.chunks.lent(), 0);
    }

    #[test]
    fn a_healthy_sink_gets_all_and_is_shut(
        threshold in 1usize..300,
        mut reads in vec_of(an_outcome(false), 0..40),
        writes in vec_of(an_outcome(false), 0..40),
        reset in any::<bool>(),
    ) {
        reads.push(if reset { Err(Errno::ECONNRESET) } else { Ok(Progress::Eof) });
        let mut rig = Rig::new(threshold, reads, writes);
        rig.run_to_the_end();
        prop_assert_eq!(rig.pipe.state(), State::Shut);
        prop_assert!(rig.sink.taken == rig.source.sent);
    }
}

/// The state after each event.
const TABLE: &str = "
    event         Open      Draining  Shut  Failed
    SourceEnded   Draining  Draining  Shut  Failed
    SourceBroken  Failed    Draining  Shut  Failed
    Emptied       Open      Shut      Shut  Failed
    SinkGone      Failed    Failed    Shut  Failed";

#[test]
fn the_rule_is_the_table() {
    let events = [
        Event::SourceEnded,
        Event::SourceBroken,
        Event::Emptied,
        Event::SinkGone,
    ];
    let rows: Vec<&str> = TABLE.trim().lines().skip(1).collect();
    assert_eq!(rows.len(), events.len());
    for (event, row) in events.into_iter().zip(rows) {
        let cells = [State::Open, State::Draining, State::Shut, State::Failed]
            .map(|state| format!("{:?}", rule(state, event)));
        let expected: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(expected[0], format!("{event:?}"));
        assert_eq!(expected[1..], cells, "{event:?}");
    }
}

#[test]
fn a_full_pipe_does_not_read() {
    let mut rig = Rig::new(10, vec![Ok(Progress::Moved(9)); 4], vec![]);
    for _ in 0..4 {
        rig.take(Step::Fill);
    }
    assert_eq!((rig.source.calls, rig.pipe.held()), (2, 18));
}

/// The pipe must notice this even if there is nothing to send for hours.
#[test]
fn a_sink_that_is_gone_ends_an_empty_pipe() {
    let mut rig = Rig::new(10, vec![], vec![]);
    rig.take(Step::Fill);
    rig.take(Step::SinkDies);
    assert!(rig.pipe.can_drain(&rig.sink));
    rig.take(Step::Drain);
    assert_eq!(rig.pipe.state(), State::Failed);
}

/// A peer that does not read can keep a sink full for as long as it likes.
#[test]
fn a_sink_that_takes_nothing_is_still_told_of_the_end() {
    let mut rig = Rig::new(10, vec![Ok(Progress::Eof)], vec![]);
    rig.sink.ready = false;
    rig.take(Step::Fill);
    rig.take(Step::Drain);
    assert_eq!((rig.pipe.state(), rig.sink.shut), (State::Shut, 1));
}

#[test]
fn one_drain_gives_all_that_is_taken() {
    let reads = vec![Ok(Progress::Moved(9)); 2];
    let mut rig = Rig::new(10, reads, vec![Ok(Progress::Moved(5)); 3]);
    rig.take(Step::Fill);
    rig.take(Step::Fill);
    rig.take(Step::Drain);
    assert_eq!((rig.pipe.held(), rig.sink.calls), (0, 4));
}

#[test]
fn while_there_is_no_sink_the_end_waits() {
    let mut rig = Rig::new(10, vec![Ok(Progress::Moved(3)), Ok(Progress::Eof)], vec![]);
    rig.take(Step::Fill);
    rig.take(Step::Fill);
    assert_eq!((rig.pipe.state(), rig.pipe.held()), (State::Draining, 3));
    rig.take(Step::Drain);
    assert_eq!((rig.pipe.state(), rig.sink.shut), (State::Shut, 1));
}
