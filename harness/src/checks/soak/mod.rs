//! The soak: many clients at the same time, with faults of every kind that are drawn from a seed.
//! An exchange that comes to its end is byte-exact, whatever the other clients do. When all clients
//! are gone, the server uses no more memory and descriptors than before.
//!
//! It lasts three seconds in a plain test and sixty in the full one. `EXPSERVER_SOAK_SECONDS` sets
//! another time for a run by hand.
//! [`SEED`] plays the same operations again: which client does what, with which bytes and pauses.
//! The scheduler and the kernel may act in another order, so a failure may need a few runs to show
//! again.

mod client;
mod plan;
mod tally;
mod upstream;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use self::plan::{Dice, Operation, Role};
use self::tally::{Levels, Report, Tally};
use self::upstream::Upstream;
use crate::check::{Check, Need, Tier};
use crate::failure::{Failure, Outcome, Verdict};
use crate::process::Figures;
use crate::program::{SEED, soak_by_hand};
use crate::stage::Stage;
use crate::trial::{Server, Trial};
use crate::upstream::Service;

/// How many clients there are at the same time.
const CLIENTS: u64 = 24;

pub const LINES: Check = Check {
    stage: Stage::Stage04,
    role: "",
    name: "soak",
    title: "Clients that do not fail get exactly the right bytes while thousands of others fail in every way",
    why: "a server may handle each fault well alone, but badly when it comes in one batch with others",
    hint: "an event may be for a client that left earlier in the same batch: look the client up, and ignore the event if it is gone",
    chapter: "docs/src/phase0/stage04.md",
    tier: Tier::Robust,
    timeout: Duration::from_secs(90),
    needs: &[],
    body: |trial| soak(trial, &[Role::Reverse]),
};

pub const PROXY: Check = Check {
    stage: Stage::Stage05,
    chapter: "docs/src/phase0/stage05.md",
    body: |trial| soak(trial, &[Role::Proxy]),
    ..LINES
};

pub const ALL_ROLES: Check = Check {
    stage: Stage::Phase1,
    chapter: "docs/src/phase1/architecture.md",
    needs: &[Need::Option("--public")],
    body: |trial| {
        let roles = [
            Role::Reverse,
            Role::Echo,
            Role::Proxy,
            Role::File,
            Role::NoFile,
        ];
        soak(trial, &roles)
    },
    ..LINES
};

fn soak(trial: &Trial, roles: &[Role]) -> Verdict {
    let seed = seed()?;
    trial.step(format!(
        "the seed is {seed}; {SEED}={seed} plays the same operations again"
    ));
    let tally = Arc::new(Tally::default());
    let upstream = Upstream::new(&tally);
    let service = match roles.contains(&Role::Proxy) {
        true => Some(upstream.appear(trial, trial.nobody()?)?),
        false => None,
    };
    let server = start(trial, service.as_ref(), roles)?;
    let listeners = server.process.sockets();

    let soak = Soak {
        trial,
        server: &server,
        upstream: &upstream,
        roles,
        seed,
        tally: &tally,
    };
    let before = soak.warm_up(listeners)?;
    let begun = Instant::now();
    let lasts =
        soak_by_hand().unwrap_or(trial.size(Duration::from_secs(3), Duration::from_secs(60)));
    let peak = soak.run(begun + lasts, service, before)?;

    server.expect_no_leak(&before)?;
    let levels = Levels {
        before,
        peak,
        after: server.figures()?,
    };
    let name = &server.process.name;
    let report = Report {
        name,
        seed,
        lasted: begun.elapsed(),
        tally: &tally,
        levels,
    };
    trial.step(report.to_string());
    if soak_by_hand().is_some() || trial.size(false, true) {
        eprintln!("{report}"); // stdout may be for a report of the checks
    }
    server.expect_idle(Duration::from_millis(300), 0.1)?;
    if trial.stage() != Stage::Phase1 {
        return Ok(());
    }
    // In a debug build the modular server counts at its end what it has created.
    server.signal(Signal::SIGTERM);
    server.expect_exit(0)
}

/// A run by hand gets a new seed each time; all other runs have the same one.
fn seed() -> Verdict<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().map_err(|error| Failure::grader(SEED, error)),
        Err(_) if soak_by_hand().is_some() => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            Ok(now.map_or(0, |now| now.as_secs()))
        }
        Err(_) => Ok(20_250_105),
    }
}

fn start(trial: &Trial, service: Option<&Service>, roles: &[Role]) -> Verdict<Server> {
    let upstream = || service.map_or_else(String::new, |it| it.address().to_string());
    match trial.stage() {
        Stage::Stage04 => trial.start(),
        Stage::Stage05 => super::proxying::proxy(trial, upstream()),
        _ => {
            let public = public_folder(trial)?;
            let role = |role: &Role| match role {
                Role::Reverse => "reverse".to_owned(),
                Role::Echo => "echo".to_owned(),
                Role::Proxy => format!("proxy:{}", upstream()),
                Role::File => "file:f".to_owned(),
                Role::NoFile => "file:missing".to_owned(),
            };
            let roles: Vec<String> = roles.iter().map(role).collect();
            let options = ["--public".into(), public.into_os_string()];
            trial.launch().options(options).roles(&roles).start()
        }
    }
}

fn public_folder(trial: &Trial) -> Verdict<PathBuf> {
    let public = trial.folder().join("public");
    let path = public.join("f");
    fs::create_dir(&public)
        .and_then(|()| fs::write(&path, plan::file()))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
        .map_err(|error| Failure::grader("write a file", error))?;
    Ok(public)
}

struct Soak<'a> {
    trial: &'a Trial<'a>,
    server: &'a Server,
    upstream: &'a Upstream,
    roles: &'a [Role],
    seed: u64,
    tally: &'a Tally,
}

impl Soak<'_> {
    /// Runs some operations one after the other, so that the server has the memory that it needs
    /// for its work. Returns what it uses when these clients are gone.
    fn warm_up(&self, listeners: usize) -> Verdict<Figures> {
        (0..100).for_each(|number| self.operate(plan::WARMING_UP + number));
        self.tally.verdict()?;
        self.trial.wait_until("the first clients are gone", || {
            self.server.process.sockets() <= listeners
        })?;
        self.server.figures()
    }

    /// Runs clients and disturbances until `end`. Returns the most that the server has used.
    fn run(&self, end: Instant, mut service: Option<Service>, warm: Figures) -> Verdict<Figures> {
        let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let play = || {
            while !over.load(Ordering::Relaxed) {
                self.operate(next.fetch_add(1, Ordering::Relaxed));
            }
        };
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(play);
            }
            let peak = self.disturb(end, &mut service, warm);
            over.store(true, Ordering::Relaxed);
            peak
        })
        .and_then(|peak| self.tally.verdict().map(|()| peak))
    }

    fn operate(&self, number: u64) {
        let operation = Operation::new(self.seed, number, self.roles);
        let address = self.server.addresses[operation.listener];
        let changes = self.upstream.changes();
        match client::play(&operation, address, self.trial.deadline(), self.tally) {
            Ok(()) => self.tally.done(&operation),
            Err(failure) if self.is_excused(&operation, changes, &failure) => {
                self.tally
                    .fault("an exchange was cut short because the upstream was away");
            }
            Err(failure) => self.tally.fail(failure),
        }
    }

    /// Without its upstream a proxy cannot serve a client, but it must not send wrong bytes or let
    /// the client wait forever.
    fn is_excused(&self, operation: &Operation, changes: u64, failure: &Failure) -> bool {
        operation.role == Role::Proxy
            && self.upstream.was_away_since(changes)
            && matches!(failure.outcome, Outcome::Reset | Outcome::ShortData)
    }

    fn disturb(
        &self,
        end: Instant,
        service: &mut Option<Service>,
        warm: Figures,
    ) -> Verdict<Figures> {
        let (mut dice, mut peak) = (Dice::new(self.seed, u64::MAX), warm);
        while Instant::now() < end && self.tally.verdict().is_ok() {
            let left = end.saturating_duration_since(Instant::now());
            thread::sleep(dice.millis(400).min(left)); // the time between two disturbances
            let now = self.server.figures()?;
            peak.descriptors = peak.descriptors.max(now.descriptors);
            peak.threads = peak.threads.max(now.threads);
            peak.rss = peak.rss.max(now.rss);
            let pause = dice.millis(150);
            match service.take() {
                Some(there) if dice.roll(2) == 0 => {
                    *service = Some(self.upstream.go_away(self.trial, there, pause)?);
                    self.tally.fault("the upstream is away for a while");
                }
                there => {
                    *service = there;
                    self.server.process.signal(Signal::SIGSTOP);
                    thread::sleep(pause); // the fault itself
                    self.server.process.signal(Signal::SIGCONT);
                    self.tally
                        .fault("the server is stopped for a while (SIGSTOP)");
                }
            }
        }
        Ok(peak)
    }
}
