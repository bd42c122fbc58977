//! Every kind of fault, many at the same time, from a seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{PROXY, proxy};
use crate::check::{Check, Failure, Tier, Verdict};
use crate::data::{Pattern, splitmix};
use crate::peer::Peer;
use crate::trial::{Server, Trial};

pub const FAULTS_IN_BULK: Check = Check {
    id: "stage05/faults-in-bulk",
    title: "Among hundreds of connections that fail in every way, those that do not fail are byte-exact",
    why: "a fault that is handled well alone may still be handled badly in the same batch with others",
    hint: "an event may be for a pair that has ended earlier in the batch; nothing may be found for it then",
    tier: Tier::Robust,
    points: 3,
    timeout: Duration::from_secs(90),
    body: faults_in_bulk,
    ..PROXY
};

const SEED: u64 = 20_250_105;
/// How many clients there are at the same time.
const CLIENTS: u64 = 16;

/// What happens to one connection. The client's first byte tells the upstream.
#[derive(Clone, Copy)]
enum Fate {
    /// Everything comes back, and the streams end in order.
    Echo,
    /// The upstream sends so much and closes; what the client sends is read.
    Download,
    UpstreamCloses,
    UpstreamResets,
    UpstreamNeverReads,
    ClientResets,
    ClientCloses,
}

impl Fate {
    const ALL: [Fate; 8] = [
        Fate::Echo,
        Fate::Download,
        Fate::UpstreamCloses,
        Fate::UpstreamResets,
        Fate::UpstreamNeverReads,
        Fate::ClientResets,
        Fate::ClientCloses,
        Fate::Echo,
    ];

    fn of(byte: u8) -> Fate {
        Fate::ALL[usize::from(byte) % Fate::ALL.len()]
    }
}

fn faults_in_bulk(trial: &Trial) -> Verdict {
    trial.step(format!("the seed is {SEED}"));
    let upstream = trial.upstream()?.serve(|_, peer| play_upstream(peer));
    let server = proxy(trial, upstream.address())?;
    (0..32).try_for_each(|number| play_client(&server, number))?;
    let before = server.figures()?;

    let (last, next) = (trial.size(800, 20_000), AtomicU64::new(0));
    let play = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                return Ok(());
            }
            play_client(&server, number)?;
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(play)).collect();
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .unwrap_or_else(|_| Err(Failure::grader("a thread", "panicked")))
        })
    })?;
    server.expect_no_leak(&before)?;
    server.expect_idle(Duration::from_millis(300), 0.1)?;
    expect_echo_of(&server)
}

/// The upstream goes by the first byte, so that of a plain echo must be sent too.
fn expect_echo_of(server: &Server) -> Verdict {
    server.expect_running()?;
    let client = server.connect("a new client")?;
    client.send(&[0])?;
    client.ask(b"ping\n", b"ping\n")
}

fn play_client(server: &Server, number: u64) -> Verdict {
    let random = splitmix(SEED + number);
    let (kind, length) = ((random >> 32) as u8, random % 300_000);
    let client = server.connect(&format!("client {number}"))?;
    let pattern = Pattern::new(number);
    match Fate::of(kind) {
        Fate::Echo => {
            client.send(&[kind])?;
            let bytes = pattern.bytes(length as usize);
            client.exchange(&bytes, &bytes)?;
            client.half_close()?;
            client.expect_end()
        }
        Fate::Download => {
            client.send(&[kind])?;
            client.send(&length.to_be_bytes())?;
            client.expect_pattern(Pattern::new(length), length)?;
            client.expect_end()
        }
        Fate::UpstreamCloses | Fate::UpstreamResets => {
            let _ = client.send(&[kind]); // it may be gone before all is sent
            let _ = client.send(&pattern.bytes(length as usize));
            client.expect_gone()
        }
        Fate::UpstreamNeverReads => {
            client.send(&[kind])?;
            client.send(&pattern.bytes(100_000))?;
            client.reset()
        }
        Fate::ClientResets | Fate::ClientCloses => {
            client.send(&[kind])?;
            client.send(&pattern.bytes(10_000))?;
            let mut some = [0; 1000];
            client.receive(&mut some)?;
            match Fate::of(kind) {
                Fate::ClientResets => client.reset(),
                _ => {
                    client.close();
                    Ok(())
                }
            }
        }
    }
}

fn play_upstream(peer: &Peer) -> Verdict {
    let mut kind = [0];
    if peer.receive(&mut kind)? == 0 {
        return Ok(());
    }
    match Fate::of(kind[0]) {
        Fate::Echo | Fate::ClientResets | Fate::ClientCloses => super::echo(0, peer),
        Fate::Download => {
            let mut length = [0; 8];
            let mut count = 0;
            while count < length.len() {
                count += peer.receive(&mut length[count..])?;
            }
            let length = u64::from_be_bytes(length);
            peer.send_pattern(Pattern::new(length), length)
        }
        Fate::UpstreamCloses => Ok(()),
        Fate::UpstreamResets => {
            let _ = peer.send(b"half an answer");
            peer.reset_when_dropped()
        }
        Fate::UpstreamNeverReads => {
            thread::sleep(Duration::from_millis(20)); // what it does in place of reading
            Ok(())
        }
    }
}
