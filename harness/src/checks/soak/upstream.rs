//! The server behind the proxy in a soak. The first bytes of each client say what it should do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::plan::{Fate, Operation};
use super::tally::Tally;
use crate::data::Pattern;
use crate::failure::{Outcome, Verdict};
use crate::peer::Peer;
use crate::trial::Trial;
use crate::upstream::{Nobody, Service};

/// What an upstream that counts sends at the end if all bytes were right.
pub const ALL_OF_IT: &[u8] = b"all of it";

/// A server that goes down and comes back.
pub struct Upstream {
    tally: Arc<Tally>,
    /// Odd while it is away.
    changes: AtomicU64,
}

impl Upstream {
    pub fn new(tally: &Arc<Tally>) -> Self {
        Self {
            tally: Arc::clone(tally),
            changes: AtomicU64::new(0),
        }
    }

    pub fn appear(&self, trial: &Trial, nobody: Nobody) -> Verdict<Service> {
        let tally = Arc::clone(&self.tally);
        let upstream = trial.upstream_at(nobody, 1024)?;
        Ok(upstream.serve(move |_, peer| {
            play(peer, &tally);
            Ok(())
        }))
    }

    /// Stops listening for the time `pause`. The kernel refuses connections meanwhile.
    pub fn go_away(&self, trial: &Trial, service: Service, pause: Duration) -> Verdict<Service> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let nobody = service.disappear()?;
        thread::sleep(pause); // the fault itself
        let service = self.appear(trial, nobody);
        self.changes.fetch_add(1, Ordering::SeqCst);
        service
    }

    /// Two equal numbers before and after an exchange mean that it was not away in between.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    pub fn was_away_since(&self, before: u64) -> bool {
        before % 2 == 1 || self.changes() != before
    }
}

/// The length of a client's first bytes: what the upstream should do, and with which bytes.
const GREETING: usize = 1 + 3 * 8;

pub fn greet(client: &Peer, operation: &Operation) -> Verdict {
    let pause = operation.pause.as_millis() as u64;
    let mut greeting = vec![operation.fate as u8];
    for number in [operation.number, operation.length, pause] {
        greeting.extend(number.to_be_bytes());
    }
    client.send(&greeting)
}

/// Many clients leave before the end, so only what is clearly wrong counts.
fn play(peer: &Peer, tally: &Tally) {
    let mut greeting = [0; GREETING];
    let mut count = 0;
    while count < GREETING {
        match peer.receive(&mut greeting[count..]) {
            Ok(0) | Err(_) => return,
            Ok(more) => count += more,
        }
    }
    let number = |at: usize| {
        let bytes: [u8; 8] = std::array::from_fn(|index| greeting[1 + 8 * at + index]);
        u64::from_be_bytes(bytes)
    };
    let (pattern, length) = (Pattern::new(number(0)), number(1));
    let pause = Duration::from_millis(number(2));
    let Some(fate) = Fate::from_byte(greeting[0]) else {
        return tally.wrong(format!(
            "the upstream received {greeting:?} as the first bytes, which no client has sent"
        ));
    };
    let verdict = act(peer, fate, pattern, length, pause);
    // These clients always go on to the end. If it takes too long, they report it themselves.
    if let (Err(failure), Fate::Counts | Fate::HalfCloses) = (verdict, fate)
        && matches!(failure.outcome, Outcome::WrongData | Outcome::ShortData)
    {
        let number = number(0);
        tally.wrong(format!("the upstream of operation {number}: {failure}"));
    }
}

fn act(peer: &Peer, fate: Fate, pattern: Pattern, length: u64, pause: Duration) -> Verdict {
    match fate {
        Fate::Echoes => super::super::proxying::echo(0, peer),
        Fate::IsSlow => echo_slowly(peer),
        Fate::SendsAndCloses => peer.send_pattern(pattern, length),
        Fate::Counts => {
            peer.expect_pattern(pattern, length)?;
            peer.expect_end()?;
            peer.send(ALL_OF_IT)
        }
        Fate::HalfCloses => {
            peer.send_pattern(pattern, length)?;
            peer.half_close()?;
            peer.expect_pattern(pattern, length)?;
            peer.expect_end()
        }
        Fate::ClosesAtOnce => Ok(()),
        Fate::ResetsMidway => {
            peer.send_pattern(pattern, length)?;
            peer.reset_when_dropped()
        }
        Fate::NeverReads => {
            thread::sleep(pause); // what it does instead of reading
            Ok(())
        }
    }
}

fn echo_slowly(peer: &Peer) -> Verdict {
    let mut chunk = [0; 500];
    loop {
        match peer.receive(&mut chunk)? {
            0 => return Ok(()),
            count => peer.send(&chunk[..count])?,
        }
        thread::sleep(Duration::from_millis(5));
    }
}
