//! A running program: what a check expects of any program, and of a server.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::data::{list, show, time, wrong};
use crate::datagram::DatagramPeer;
use crate::failure::{Failure, Outcome, Verdict, ensure};
use crate::hint;
use crate::patience::LOOK;
use crate::patience::patience;
use crate::peer::Peer;
use crate::pipe::{Stdin, Stdout};
use crate::process::{Figures, Process, ended};
use crate::trace::Trace;

/// How much the memory of one of this workspace's servers may grow under load, in bytes.
pub const MOST_GROWTH: u64 = 8 << 20;

/// The same for a program in any language: a heap that is collected from time to time grows by
/// tens of megabytes before it is collected for the first time.
pub const MOST_GROWTH_OF_ANY_RUNTIME: u64 = 64 << 20;

/// Growth that says nothing: the kernel counts a few pages of each CPU late.
const NOISE: u64 = 256 << 10;

/// How often memory may grow before it counts as a leak, and how many rounds without growth in a
/// row show that there is none.
const ROUNDS: usize = 12;
const QUIET: usize = 2;

/// How many exchanges are measured at a time.
const EXCHANGES: u32 = 100;

/// A running program that is not a server: a client, a tool.
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

    /// Turns a program that does not log its address into a server: the kernel knows it.
    pub fn into_server_found_by_the_kernel(self) -> Verdict<Server> {
        let deadline = self.deadline.min(Instant::now() + patience());
        while Instant::now() < deadline {
            if let Some(status) = self.process.status() {
                return Err(ended(&self.process.name, status));
            }
            let addresses = self.process.listening_addresses();
            if !addresses.is_empty() {
                let step = format!("the server listens on {}", list(&addresses));
                self.trace.step(step);
                return Ok(Server {
                    process: self.process,
                    addresses,
                    trace: self.trace,
                    deadline: self.deadline,
                    most_growth: MOST_GROWTH,
                });
            }
            thread::sleep(LOOK);
        }
        let what = format!("`{}` does not listen on any port", self.process.name);
        Err(Failure::new(Outcome::NotStarted, what))
    }

    /// The writing end of its stdin: a pipe, or the keyboard of its terminal.
    pub fn stdin(&self) -> Verdict<Stdin> {
        let file = self.process.take_stdin();
        let file = file.ok_or_else(|| Failure::grader("its stdin", "not a pipe, or taken"))?;
        Ok(Stdin::new(self.process.short_name(), file, &self.trace))
    }

    /// The reading end of its stdout, if it was started with `Sink::Handed`.
    pub fn stdout(&self) -> Verdict<Stdout> {
        take_stdout(&self.process, &self.trace, self.deadline)
    }

    /// Waits until its output on stdout is as `wanted`.
    pub fn expect_printed(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        let name = self.process.short_name();
        if self.process.wait_for_stdout(deadline, wanted) {
            self.trace.step(format!("`{name}` prints {what}"));
            return Ok(());
        }
        let failure = match self.process.status() {
            Some(status) => ended(&self.process.name, status),
            None => {
                let what = format!("`{name}` has not printed what was expected");
                Failure::new(Outcome::Timeout, what)
            }
        };
        let printed = self.process.stdout();
        let failure = failure.expected(what).received(show(&printed));
        Err(self.with_hint(failure, &printed))
    }

    /// Expects that its output on stdout is exactly this.
    pub fn expect_stdout(&self, expected: &[u8]) -> Verdict {
        let printed = self.process.stdout();
        let name = self.process.short_name();
        if printed == expected {
            self.trace
                .step(format!("`{name}` has printed {}", show(expected)));
            return Ok(());
        }
        let whose = format!("the output of `{name}` is wrong");
        let failure = wrong(&whose, expected, &printed);
        Err(self.with_hint(failure, &printed))
    }

    fn with_hint(&self, failure: Failure, printed: &[u8]) -> Failure {
        match printed.is_empty() && self.process.status().is_none() {
            true => failure.hint(hint::FLUSH),
            false => failure,
        }
    }

    /// Waits until it sleeps and stays asleep, because it has done all that it can do.
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
    pub(super) most_growth: u64,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn connect(&self, name: &str) -> Verdict<Peer> {
        self.connect_to(0, name)
    }

    /// Opens this many connections, all at the same time.
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

    /// If the server has ended, that is why the connection failed.
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

    /// The CPU time that one exchange costs the server. It is the mean of the cheapest of several
    /// tries, because other work on the machine can only add to it.
    pub fn cost(&self, exchange: impl Fn() -> Verdict) -> Verdict<Duration> {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let before = self.figures()?.cpu;
            (0..EXCHANGES).try_for_each(|_| exchange())?;
            least = least.min(self.figures()?.cpu.saturating_sub(before));
        }
        let each = least / EXCHANGES;
        self.trace.step(format!(
            "one exchange costs the server {} of CPU time",
            time(each)
        ));
        Ok(each)
    }

    /// Expects about the same [`cost`](Self::cost) with many idle clients as without them. The
    /// limit is far above what a good server needs, and far below the cost of a scan of all clients
    /// (500 us and more in our broken servers). Waking a peer that sleeps on another CPU can alone
    /// cost about 80 us.
    pub fn expect_same_cost(&self, alone: Duration, among_many: Duration) -> Verdict {
        let most = alone * 4 + Duration::from_micros(150);
        if among_many <= most {
            return Ok(());
        }
        let what = format!(
            "with many idle clients, one exchange costs the server {} of CPU time",
            time(among_many)
        );
        let expected = format!(
            "about {}, as without them; at most {}",
            time(alone),
            time(most)
        );
        Err(Failure::new(Outcome::Resources, what).expected(expected))
    }

    pub fn signal(&self, signal: Signal) {
        self.trace
            .step(format!("the check sends {signal} to the server"));
        self.process.signal(signal);
    }

    /// Expects that it has not ended.
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

    /// Expects that it closes its new descriptors, and that its memory has grown little.
    pub fn expect_no_leak(&self, before: &Figures) -> Verdict {
        self.expect_descriptors_back(before)?;
        self.expect_little_growth(before)
    }

    /// Expects that it closes its new descriptors.
    pub fn expect_descriptors_back(&self, before: &Figures) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        while self.figures()?.descriptors > before.descriptors {
            if Instant::now() >= deadline {
                let open = self.figures()?.descriptors;
                let what = format!("the server still has {open} descriptors open");
                let failure = Failure::new(Outcome::Resources, what);
                return Err(failure.expected(format!("{}, as before", before.descriptors)));
            }
            thread::sleep(LOOK);
        }
        self.trace
            .step("the server has no more descriptors open than before");
        Ok(())
    }

    /// Expects that its memory has not grown by more than [`MOST_GROWTH`], or the limit for other
    /// programs.
    pub fn expect_little_growth(&self, before: &Figures) -> Verdict {
        let growth = self.figures()?.rss.saturating_sub(before.rss);
        let (growth, most) = (growth / 1024, self.most_growth / 1024);
        let grown = format!("the memory of the server has grown by {growth} KiB");
        self.trace.step(&*grown);
        ensure(growth < most, Outcome::Resources, || {
            format!("{grown}; at most {most} KiB are allowed")
        })
    }

    /// Expects that the same work, done again and again, takes more and more memory only for a
    /// while. A runtime takes what it needs and keeps it; a leak goes on.
    pub fn expect_growth_to_end(&self, what: &str, work: impl Fn() -> Verdict) -> Verdict {
        let first = self.figures()?.rss;
        let (mut highest, mut quiet) = (first, 0);
        for round in 1..=ROUNDS {
            work()?;
            let now = self.figures()?.rss;
            quiet = if now <= highest + NOISE { quiet + 1 } else { 0 };
            highest = highest.max(now);
            let grown = (highest - first) / 1024;
            self.trace.step(format!(
                "after {round} times {what} the memory of the server has grown by {grown} KiB"
            ));
            if quiet == QUIET {
                return Ok(());
            }
        }
        let grown = (highest - first) / 1024;
        let what = format!(
            "the memory of the server has grown on and on: by {grown} KiB in {ROUNDS} times {what}"
        );
        let failure = Failure::new(Outcome::Resources, what);
        Err(failure.expected("memory that stays the same after the first few times"))
    }

    /// Expects that it uses at most this share of the CPU time of `window`.
    pub fn expect_idle(&self, window: Duration, share: f64) -> Verdict {
        expect_idle(&self.process, &self.trace, window, share)
    }

    /// Expects that nothing wakes it during `window`, not even a timer.
    pub fn expect_asleep(&self, window: Duration) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        until_it_rests(&self.process, &self.trace, deadline)?;
        let before = self.process.sleeps();
        thread::sleep(window); // the measurement itself, not a wait for an event
        let (after, state) = (self.process.sleeps(), self.process.state());
        self.trace.step(format!(
            "the server has gone to sleep {before} times; {} later, {after} times",
            time(window)
        ));
        ensure(
            state == Some('S') && after == before,
            Outcome::Resources,
            || {
                format!(
                    "the server woke up within {}, although it had nothing to do",
                    time(window)
                )
            },
        )
    }
}

fn take_stdout(process: &Process, trace: &Trace, deadline: Instant) -> Verdict<Stdout> {
    let file = process.take_stdout();
    let file = file.ok_or_else(|| Failure::grader("its stdout", "not handed, or taken"))?;
    Ok(Stdout::new(process.short_name(), file, trace, deadline))
}

fn until_it_rests(process: &Process, trace: &Trace, deadline: Instant) -> Verdict {
    let name = process.short_name();
    if comes_to_rest(process, deadline)? {
        trace.step(format!("`{name}` sleeps"));
        return Ok(());
    }
    let what = format!("`{name}` does not go to sleep");
    Err(Failure::new(Outcome::Timeout, what))
}

/// Whether it goes to sleep before the deadline, and stays asleep for a moment.
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
    // On a busy machine it may still be busy with earlier requests. A program that never sleeps is
    // measured too.
    comes_to_rest(process, Instant::now() + Duration::from_secs(3))?;
    let before = process.figures()?;
    thread::sleep(window); // the measurement itself, not a wait for an event
    let after = process.figures()?;
    let used = after.cpu.saturating_sub(before.cpu);
    let queued = after.queued.saturating_sub(before.queued);
    let name = process.short_name();
    let figures = format!(
        "used {} of CPU time in {} and waited {} for a CPU",
        time(used),
        time(window),
        time(queued)
    );
    trace.step(format!("`{name}` {figures}"));
    // On a busy machine a program that spins gets little CPU time, but it is always ready to run.
    // A program that woke up once may have waited as long, but it used almost no CPU time.
    let most = window.mul_f64(share);
    let spins = used + queued > window.mul_f64(share.max(0.5)) && used > window.mul_f64(0.005);
    if used <= most && !spins {
        return Ok(());
    }
    let what = format!("`{name}` had nothing to do, but {figures}");
    Err(Failure::new(Outcome::Resources, what).expected(format!("at most {}", time(most))))
}

fn wait_for_end(process: &Process, trace: &Trace, deadline: Instant) -> Verdict<ExitStatus> {
    match process.wait(deadline) {
        Some(status) => {
            trace.step(format!("`{}` ends ({status})", process.short_name()));
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
