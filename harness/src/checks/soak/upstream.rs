//! The server behind the proxy in a soak. Each client says first what it wants of it.

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

/// What an upstream that has counted says, if all was right.
pub const ALL_OF_IT: &[u8] = b"all of it";

/// A server that comes and goes.
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

    /// Nobody listens for so long; whoever comes meanwhile is refused.
    pub fn go_away(&self, trial: &Trial, service: Service, pause: Duration) -> Verdict<Service> {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let nobody = service.disappear()?;
        thread::sleep(pause); // the fault itself
        let service = self.appear(trial, nobody);
        self.changes.fetch_add(1, Ordering::SeqCst);
        service
    }

    /// To be asked before and after an exchange: has it been away in between?
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    pub fn was_away_since(&self, before: u64) -> bool {
        before % 2 == 1 || self.changes() != before
    }
}

/// A client's first words: what is to happen, and with which bytes.
const GREETING: usize = 1 + 3 * 8;

pub fn greet(client: &Peer, operation: &Operation) -> Verdict {
    let pause = operation.pause.as_millis() as u64;
    let mut greeting = vec![operation.fate as u8];
    for number in [operation.number, operation.length, pause] {
        greeting.extend(number.to_be_bytes());
    }
    client.send(&greeting)
}

/// Many a client leaves before all is done: only what is plainly wrong counts.
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
        return tally.wrong(format!("no client has said {greeting:?} to the upstream"));
    };
    let verdict = act(peer, fate, pattern, length, pause);
    // These clients see everything through to its end. Whether it takes too long is theirs
    // to say.
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
            thread::sleep(pause); // what it does in place of reading
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
