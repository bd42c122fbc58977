//! A client of a soak: one operation, from its connection to its end.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use super::plan::{Act, Fate, Operation, Role};
use super::tally::Tally;
use super::upstream::{ALL_OF_IT, greet};
use crate::data::show_difference;
use crate::failure::{Failure, Outcome, Verdict};
use crate::patience::patience;
use crate::peer::{Peer, both};
use crate::trace::Trace;

/// Larger than what the sockets on the way hold.
const MORE_THAN_FITS: u64 = 24 << 20;

/// Carries out the operation against the server at this address.
pub fn play(
    operation: &Operation,
    address: SocketAddr,
    deadline: Instant,
    tally: &Tally,
) -> Verdict {
    let trace = Trace::default();
    // Two dozen are busy at the same time, and the server may be stopped.
    let client = Peer::connect("the client", address, &trace, deadline)
        .map(|client| client.with_patience(3 * patience()));
    let verdict = client.and_then(|client| match operation.role {
        Role::NoFile => client.expect_end(),
        Role::Proxy if operation.fate != Fate::Echoes => meet_fate(client, operation, tally),
        _ => act(client, operation, tally),
    });
    verdict.map_err(|failure| Failure {
        what: format!("{operation}: {}\nits steps:\n{trace}", failure.what),
        ..failure
    })
}

/// Acts against a server that answers as it should.
fn act(client: Peer, operation: &Operation, tally: &Tally) -> Verdict {
    if operation.act == Act::ConnectsAndCloses {
        client.close();
        return Ok(());
    }
    if operation.act == Act::ConnectsAndResets {
        return client.reset();
    }
    if operation.role == Role::Proxy {
        greet(&client, operation)?;
    }
    let (request, answer) = operation.conversation();
    let send = || send(&client, operation.act, &request);
    let wait = || thread::sleep(operation.pause); // the fault itself
    match operation.act {
        Act::ConnectsAndCloses | Act::ConnectsAndResets => {}
        Act::Exchanges | Act::SendsByteByByte | Act::SendsABurst => {
            both(send, || client.expect(&answer))?;
            client.half_close()?;
            client.expect_end()?;
            tally.compared(answer.len());
        }
        Act::ReadsLate => {
            let receive = || {
                wait();
                client.expect(&answer)
            };
            both(send, receive)?;
            client.half_close()?;
            client.expect_end()?;
            tally.compared(answer.len());
        }
        Act::HalfClosesFirst => {
            let send = || send().and_then(|()| client.half_close());
            let receive = || {
                wait();
                client.expect(&answer)?;
                client.expect_end()
            };
            both(send, receive)?;
            tally.compared(answer.len());
        }
        Act::LeavesHalfAMessage => {
            client.send(&request[..request.len() / 2])?;
            wait();
            client.close();
        }
        Act::ResetsHalfAMessage => {
            client.send(&request[..request.len() / 2])?;
            client.reset()?;
        }
        Act::ResetsAfterItsMessage => {
            send()?;
            client.reset()?;
        }
        Act::ResetsDuringTheAnswer => {
            let some = &answer[..answer.len() / 2];
            both(|| send().or(Ok(())), || client.expect(some))?;
            tally.compared(some.len());
            client.reset()?;
        }
        Act::ResetsAfterTheAnswer => {
            both(send, || client.expect(&answer))?;
            tally.compared(answer.len());
            client.reset()?;
        }
        Act::ClosesWithUnreadInput => {
            send()?;
            wait();
            client.close();
        }
        // A file is sent only once, and a client that keeps sending after that is cut off.
        Act::NeverReads if operation.role == Role::File => {
            wait();
            client.reset()?;
        }
        Act::NeverReads => {
            // Short lines in large pieces, because so many bytes one by one would take minutes.
            let lines = [&request[..], b"\n"].concat();
            let lines = lines.repeat((64 * 1024 / lines.len()).max(1));
            client.send_until_stuck(&lines, MORE_THAN_FITS)?;
            client.reset()?;
        }
    }
    Ok(())
}

fn send(client: &Peer, act: Act, request: &[u8]) -> Verdict {
    let most = match act {
        Act::SendsByteByByte => 1,
        Act::SendsABurst => request.len().div_ceil(50).max(1),
        _ => request.len().max(1),
    };
    request
        .chunks(most)
        .try_for_each(|piece| client.send(piece))
}

/// Acts against an upstream that does something else than an echo.
fn meet_fate(client: Peer, operation: &Operation, tally: &Tally) -> Verdict {
    let (pattern, length) = (operation.pattern(), operation.length);
    greet(&client, operation)?;
    if operation.act == Act::ReadsLate {
        thread::sleep(operation.pause);
    }
    match operation.fate {
        Fate::Echoes | Fate::IsSlow => {
            let bytes = pattern.bytes(length as usize);
            client.exchange(&bytes, &bytes)?;
            client.half_close()?;
            client.expect_end()?;
        }
        Fate::SendsAndCloses => {
            client.expect_pattern(pattern, length)?;
            client.expect_end()?;
        }
        Fate::Counts => {
            client.send_pattern(pattern, length)?;
            client.half_close()?;
            client.expect(ALL_OF_IT)?;
            client.expect_end()?;
        }
        Fate::HalfCloses => {
            client.expect_pattern(pattern, length)?;
            client.expect_end()?;
            client.send_pattern(pattern, length)?;
            client.half_close()?;
        }
        Fate::ClosesAtOnce => client.expect_gone()?,
        Fate::ResetsMidway => return expect_beginning(&client, operation, tally),
        Fate::NeverReads => {
            // The upstream may be gone before the proxy has taken all of it.
            let _ = client.send_until_stuck(pattern.period(), MORE_THAN_FITS);
            return client.reset();
        }
    }
    if operation.fate != Fate::ClosesAtOnce {
        tally.compared(length as usize);
    }
    Ok(())
}

/// Expects that all bytes which came before the reset are right.
fn expect_beginning(client: &Peer, operation: &Operation, tally: &Tally) -> Verdict {
    let (pattern, mut chunk, mut done) = (operation.pattern(), vec![0; 64 * 1024], 0);
    loop {
        let expected = pattern.at(done as u64);
        let most = expected.len().min(chunk.len());
        match client.receive(&mut chunk[..most]) {
            Ok(0) => return Ok(()),
            Ok(count) if chunk[..count] == expected[..count] => {
                done += count;
                tally.compared(count);
            }
            Ok(count) => {
                let difference = show_difference(&expected[..count], &chunk[..count]);
                let what =
                    format!("wrong bytes before the reset, after {done} right ones: {difference}");
                return Err(Failure::new(Outcome::WrongData, what));
            }
            Err(failure) if failure.outcome == Outcome::Reset => return Ok(()),
            Err(failure) => return Err(failure),
        }
    }
}
