//! A program that runs: what a check asks of it, whatever it is, and of a server.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::data::{show, show_difference};
use crate::datagram::DatagramPeer;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::patience::LOOK;
use crate::patience::patience;
use crate::peer::Peer;
use crate::pipe::{Stdin, Stdout};
use crate::process::{Figures, Process, ended};
use crate::trace::Trace;

/// By how much a server may grow while it is put under strain, in bytes.
pub const MOST_GROWTH: u64 = 8 * 1024 * 1024;

/// How many exchanges are measured at a time.
const EXCHANGES: u32 = 100;

/// A program that was started and is no server: a client, a tool.
pub struct Running {
    pub process: Arc<Process>,
    pub(super) trace: Trace,
    pub(super) deadline: Instant,
}

impl Running {
    /// Waits for its end.
    pub fn wait(&self) -> Verdict<ExitStatus> {
        self.wait_for(patience())
    }

    pub fn wait_for(&self, patience: Duration) -> Verdict<ExitStatus> {
        wait_for_end(
            &self.process,
            &self.trace,
            self.deadline.min(Instant::now() + patience),
        )
    }

    /// Waits for its end with this exit status.
    pub fn expect_exit(&self, code: i32) -> Verdict {
        expect_code(&self.process, self.wait()?, code)
    }

    /// A server that does not say where it listens: the kernel knows.
    pub fn into_server_found_by_the_kernel(self) -> Verdict<Server> {
        let deadline = self.deadline.min(Instant::now() + patience());
        while Instant::now() < deadline {
            if let Some(status) = self.process.status() {
                return Err(ended(&self.process.name, status));
            }
            let addresses = self.process.listening_addresses();
            if !addresses.is_empty() {
                self.trace.step(format!("it listens on {addresses:?}"));
                return Ok(Server {
                    process: self.process,
                    addresses,
                    trace: self.trace,
                    deadline: self.deadline,
                });
            }
            thread::sleep(LOOK);
        }
        let what = format!("`{}` does not listen on any port", self.process.name);
        Err(Failure::new(Outcome::NotStarted, what))
    }

    /// What the check writes to it: its pipe, or its keyboard on a terminal.
    pub fn stdin(&self) -> Verdict<Stdin> {
        let file = self.process.take_stdin();
        let file = file.ok_or_else(|| Failure::grader("its stdin", "not a pipe, or taken"))?;
        Ok(Stdin::new(file, &self.trace))
    }

    /// What it prints, when [`Sink::Handed`] leaves the reading to the check.
    pub fn stdout(&self) -> Verdict<Stdout> {
        take_stdout(&self.process, &self.trace, self.deadline)
    }

    /// Waits until what it has printed to stdout is as `wanted`.
    pub fn expect_printed(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        if self.process.wait_for_stdout(deadline, wanted) {
            self.trace.step(format!("it prints {what}"));
            return Ok(());
        }
        let failure = match self.process.status() {
            Some(status) => ended(&self.process.name, status),
            None => Failure::new(Outcome::Timeout, "it does not print what it should"),
        };
        let printed = show(&self.process.stdout());
        Err(failure.expected(what).received(printed))
    }

    /// What it has printed to stdout up to its end is just this.
    pub fn expect_stdout(&self, expected: &[u8]) -> Verdict {
        let printed = self.process.stdout();
        if printed == expected {
            self.trace
                .step(format!("it has printed {}", show(expected)));
            return Ok(());
        }
        let what = show_difference(expected, &printed);
        let failure = Failure::new(Outcome::WrongData, format!("its output is wrong: {what}"));
        Err(failure.expected(show(expected)).received(show(&printed)))
    }

    /// Waits until it sleeps, and goes on sleeping: what it could do is done. No event tells when.
    pub fn until_it_rests(&self) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        until_it_rests(&self.process, &self.trace, deadline)
    }

    /// See [`Server::expect_idle`].
    pub fn expect_idle(&self, window: Duration, share: f64) -> Verdict {
        expect_idle(&self.process, &self.trace, window, share)
    }
}

/// A server under test that listens.
pub struct Server {
    pub process: Arc<Process>,
    pub addresses: Vec<SocketAddr>,
    pub(super) trace: Trace,
    pub(super) deadline: Instant,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn connect(&self, name: &str) -> Verdict<Peer> {
        self.connect_to(0, name)
    }

    /// So many connections, all open at the same time.
    pub fn connect_many(&self, count: usize) -> Verdict<Vec<Peer>> {
        let numbers = 1..=count;
        numbers
            .map(|number| self.connect(&format!("client {number}")))
            .collect()
    }

    /// Connects to the listener with this number.
    pub fn connect_to(&self, listener: usize, name: &str) -> Verdict<Peer> {
        Peer::connect(name, self.addresses[listener], &self.trace, self.deadline)
            .map_err(|failure| self.explain(failure))
    }

    /// See [`Running::stdout`].
    pub fn stdout(&self) -> Verdict<Stdout> {
        take_stdout(&self.process, &self.trace, self.deadline)
    }

    pub fn datagram(&self, name: &str) -> Verdict<DatagramPeer> {
        DatagramPeer::connect(name, self.address(), &self.trace, self.deadline)
    }

    /// When the server has ended, that is why nobody can connect.
    fn explain(&self, failure: Failure) -> Failure {
        match self.process.status() {
            Some(status) => {
                let end = ended(&self.process.name, status);
                Failure {
                    what: format!("{}; {}", end.what, failure.what),
                    ..end
                }
            }
            None => failure,
        }
    }

    pub fn figures(&self) -> Verdict<Figures> {
        self.process.figures()
    }

    /// The CPU time that one exchange costs it. The mean of the cheapest of several tries: whatever
    /// else goes on on the machine only adds to it.
    pub fn cost(&self, exchange: impl Fn() -> Verdict) -> Verdict<Duration> {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let before = self.figures()?.cpu;
            (0..EXCHANGES).try_for_each(|_| exchange())?;
            least = least.min(self.figures()?.cpu.saturating_sub(before));
        }
        let each = least / EXCHANGES;
        self.trace
            .step(format!("an answer costs {each:?} of CPU time"));
        Ok(each)
    }

    /// Its [`cost`](Self::cost) beside many idle clients is about what it was without: far from
    /// what a good server needs, and far below what a scan of all of them costs (500 us and more in
    /// our broken ones). To wake a peer that sleeps on another CPU may alone cost some 80.
    pub fn expect_same_cost(&self, alone: Duration, among_many: Duration) -> Verdict {
        let most = alone * 4 + Duration::from_micros(150);
        if among_many <= most {
            return Ok(());
        }
        let what = format!(
            "an answer to one client took {among_many:?} of CPU time beside many idle ones"
        );
        let expected = format!("about {alone:?}, as without them; at most {most:?}");
        Err(Failure::new(Outcome::Resources, what).expected(expected))
    }

    pub fn signal(&self, signal: Signal) {
        self.trace.step(format!("the server is sent {signal}"));
        self.process.signal(signal);
    }

    /// It has not ended.
    pub fn expect_running(&self) -> Verdict {
        match self.process.status() {
            Some(status) => Err(ended(&self.process.name, status)),
            None => Ok(()),
        }
    }

    /// Waits for its end with this exit status.
    pub fn expect_exit(&self, code: i32) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        expect_code(
            &self.process,
            wait_for_end(&self.process, &self.trace, deadline)?,
            code,
        )
    }

    /// Its descriptors come back to what they were, and it has not grown by more than
    /// [`MOST_GROWTH`].
    pub fn expect_no_leak(&self, before: &Figures) -> Verdict {
        self.expect_descriptors_back(before)?;
        self.expect_little_growth(before)
    }

    /// Its descriptors come back to what they were.
    pub fn expect_descriptors_back(&self, before: &Figures) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        while self.figures()?.descriptors > before.descriptors {
            if Instant::now() >= deadline {
                let open = self.figures()?.descriptors;
                let what = format!("it has {open} descriptors open, and those that came are gone");
                let failure = Failure::new(Outcome::Resources, what);
                return Err(failure.expected(format!("{}, as before", before.descriptors)));
            }
            thread::sleep(LOOK);
        }
        self.trace
            .step("its descriptors are back to what they were");
        Ok(())
    }

    /// Its memory has not grown by more than [`MOST_GROWTH`].
    pub fn expect_little_growth(&self, before: &Figures) -> Verdict {
        let growth = self.figures()?.rss.saturating_sub(before.rss);
        self.trace
            .step(format!("its memory has grown by {} KiB", growth / 1024));
        ensure(growth < MOST_GROWTH, Outcome::Resources, || {
            format!(
                "its memory has grown by {} KiB; at most {} KiB are fine",
                growth / 1024,
                MOST_GROWTH / 1024
            )
        })
    }

    /// Measures for `window` how much CPU time it uses: at most `share` of it.
    pub fn expect_idle(&self, window: Duration, share: f64) -> Verdict {
        expect_idle(&self.process, &self.trace, window, share)
    }

    /// Nothing at all wakes it for the time of `window`, no timer either.
    pub fn expect_asleep(&self, window: Duration) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        until_it_rests(&self.process, &self.trace, deadline)?;
        let before = self.process.sleeps();
        thread::sleep(window); // the measurement itself, not a wait for an event
        let (after, state) = (self.process.sleeps(), self.process.state());
        let said = format!("{window:?} later it has slept {after} times, {before} before");
        self.trace.step(said);
        ensure(
            state == Some('S') && after == before,
            Outcome::Resources,
            || format!("it did something in {window:?} with nothing to do"),
        )
    }
}

fn take_stdout(process: &Process, trace: &Trace, deadline: Instant) -> Verdict<Stdout> {
    let file = process.take_stdout();
    let file = file.ok_or_else(|| Failure::grader("its stdout", "not handed, or taken"))?;
    Ok(Stdout::new(file, trace, deadline))
}

fn until_it_rests(process: &Process, trace: &Trace, deadline: Instant) -> Verdict {
    match comes_to_rest(process, deadline)? {
        true => trace.step("it sleeps"),
        false => return Err(Failure::new(Outcome::Timeout, "it does not come to rest")),
    }
    Ok(())
}

/// Whether it sleeps by then, and does so for a moment.
fn comes_to_rest(process: &Process, deadline: Instant) -> Verdict<bool> {
    let asleep = || match process.state() {
        Some('S') => process.figures().map(|figures| Some(figures.cpu)),
        _ => Ok(None),
    };
    while Instant::now() < deadline {
        let before = asleep()?;
        thread::sleep(Duration::from_millis(50));
        if before.is_some() && before == asleep()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn expect_idle(process: &Process, trace: &Trace, window: Duration, share: f64) -> Verdict {
    // On a busy machine it may still be at what it was asked for before. One that never rests is
    // measured as well.
    comes_to_rest(process, Instant::now() + Duration::from_secs(3))?;
    let before = process.figures()?;
    thread::sleep(window); // the measurement itself, not a wait for an event
    let after = process.figures()?;
    let used = after.cpu.saturating_sub(before.cpu);
    let queued = after.queued.saturating_sub(before.queued);
    trace.step(format!(
        "it used {used:?} of CPU time in {window:?}, and waited {queued:?} for it"
    ));
    // On a busy machine a program that spins gets little, but it always wants more. (One that woke
    // up once may have waited as long, but has then used next to nothing.)
    let most = window.mul_f64(share);
    let spins = used + queued > window.mul_f64(share.max(0.5)) && used > window.mul_f64(0.005);
    if used <= most && !spins {
        return Ok(());
    }
    let what = format!(
        "it used {used:?} of CPU time in {window:?} with nothing to do, and waited {queued:?} for more"
    );
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {most:?}")))
}

fn wait_for_end(process: &Process, trace: &Trace, deadline: Instant) -> Verdict<ExitStatus> {
    match process.wait(deadline) {
        Some(status) => {
            trace.step(format!("`{}` ended: {status}", process.name));
            Ok(status)
        }
        None => {
            let what = format!("`{}` has not ended", process.name);
            Err(Failure::new(Outcome::Timeout, what))
        }
    }
}

fn expect_code(process: &Process, status: ExitStatus, code: i32) -> Verdict {
    if status.code() == Some(code) {
        return Ok(());
    }
    Err(ended(&process.name, status).expected(format!("exit status {code}")))
}
