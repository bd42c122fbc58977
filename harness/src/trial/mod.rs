//! One run of one check: what it starts, how long it has, what it has done so far.

mod descriptors;
mod launch;
mod listening;
mod running;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::check::{Check, Failure, Outcome, Stage, Verdict};
use crate::datagram::DatagramServer;
use crate::folder::copy_tree;
use crate::peer::patience;
use crate::process::{LOOK, Process, ended};
use crate::program::{FixedPorts, Ports, Program, soak_by_hand};
use crate::trace::Trace;
use crate::upstream::{Nobody, Upstream};

pub use descriptors::Reserved;
pub use launch::Launch;
pub use running::{MOST_GROWTH, Running, Server};

/// Set this to read the steps of checks that pass, with what they have measured.
pub const SHOW_STEPS: &str = "EXPSERVER_SHOW_STEPS";

pub struct Trial<'p> {
    program: &'p Program,
    stage: Stage,
    trace: Trace,
    deadline: Instant,
    directory: TempDir,
    processes: Mutex<Vec<Arc<Process>>>,
    /// The one of them that is a server, and the last.
    server: Mutex<Option<Arc<Process>>>,
}

impl<'p> Trial<'p> {
    fn new(check: &Check, program: &'p Program) -> Verdict<Self> {
        let directory =
            TempDir::new().map_err(|error| Failure::grader("a temporary folder", error))?;
        if let Some(folder) = &program.folder {
            copy_tree(folder, directory.path())
                .map_err(|error| Failure::grader("copy the program's folder", error))?;
        }
        // As long as the soak of the full test lasts.
        let full = Duration::from_secs(if program.full_size { 60 } else { 0 });
        Ok(Self {
            program,
            stage: check.stage,
            trace: Trace::default(),
            deadline: Instant::now() + check.timeout + soak_by_hand().unwrap_or(full),
            directory,
            processes: Mutex::default(),
            server: Mutex::default(),
        })
    }

    pub fn step(&self, what: impl Into<String>) {
        self.trace.step(what);
    }

    pub fn ports(&self) -> Ports {
        self.program.ports
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The stage whose contract is checked.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// A folder for this run alone, where the programs run too.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `full` where long checks are asked for, else `short`.
    pub fn size<T>(&self, short: T, full: T) -> T {
        if self.program.full_size { full } else { short }
    }

    /// Waits until the checks beside this one leave room for so many sockets, should they
    /// need thousands as well. Before the sockets, so that it is dropped after them.
    pub fn reserve_sockets(&self, count: usize) -> Verdict<Reserved> {
        descriptors::reserve(count as u64, self.deadline)
    }

    /// Starts the program as it is and waits until it listens.
    pub fn start(&self) -> Verdict<Server> {
        self.launch().start()
    }

    /// The program under test, to be started in some other way.
    pub fn launch(&self) -> Launch<'_> {
        Launch::new(self, self.program.command.clone(), self.program.ports)
    }

    /// Another binary of the stage.
    pub fn launch_companion(&self, name: &str) -> Verdict<Launch<'_>> {
        let command = self.program.find_companion(name);
        let command =
            command.ok_or_else(|| Failure::grader(name, "this stage has no such binary"))?;
        Ok(Launch::new(self, command.to_vec(), Ports::Announced))
    }

    /// An outside tool (`curl`), with its arguments.
    pub fn launch_tool(&self, command: &[&str]) -> Launch<'_> {
        let command = command.iter().map(OsString::from).collect();
        Launch::new(self, command, Ports::Fixed).without_limits()
    }

    /// A server of the check's own, where the program under test expects it.
    pub fn upstream(&self) -> Verdict<Upstream> {
        Upstream::listen(self.upstream_address(), &self.trace, self.deadline)
    }

    /// An address where the program expects a server, and where nobody listens.
    pub fn nobody(&self) -> Verdict<Nobody> {
        let nobody = Nobody::at(self.upstream_address())?;
        self.step(format!("nobody listens on {}", nobody.address()));
        Ok(nobody)
    }

    /// A server of the check's own that appears where nobody was.
    pub fn upstream_at(&self, nobody: Nobody, backlog: i32) -> Verdict<Upstream> {
        Upstream::appear(nobody, backlog, &self.trace, self.deadline)
    }

    /// The same as [`Trial::upstream`] for UDP.
    pub fn datagram_upstream(&self) -> Verdict<DatagramServer> {
        DatagramServer::bind(self.upstream_address(), &self.trace, self.deadline)
    }

    /// Where the program expects its server; port 0 when it can be told.
    pub fn upstream_address(&self) -> SocketAddr {
        let port = match self.program.ports {
            Ports::Announced => 0,
            Ports::Fixed => self.fixed_ports().upstream,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The ports of a program that is not told any.
    pub fn fixed_ports(&self) -> FixedPorts {
        let given = self.program.fixed_ports.clone();
        given.unwrap_or_else(|| FixedPorts::of_the_course(self.stage))
    }

    /// Waits until `condition` holds, for a state that has no event to wait for.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Verdict {
        let deadline = self.deadline.min(Instant::now() + patience());
        while !condition() {
            if Instant::now() >= deadline {
                let what = format!("waited for {:?}, but never: {what}", patience());
                return Err(Failure::new(Outcome::Timeout, what));
            }
            thread::sleep(LOOK);
        }
        self.step(what);
        Ok(())
    }

    /// Stops a process, as Ctrl-Z does. One that has just ended cannot be stopped: its status
    /// will tell.
    pub fn stop(&self, process: &Process) -> Verdict {
        process.signal(Signal::SIGSTOP);
        let stopped = || matches!(process.state(), None | Some('T' | 'Z'));
        self.wait_until("it is stopped (SIGSTOP)", stopped)
    }

    pub fn go_on(&self, process: &Process) -> Verdict {
        process.signal(Signal::SIGCONT);
        self.wait_until("it goes on (SIGCONT)", || process.state() != Some('T'))
    }

    fn keep_server(&self, process: &Arc<Process>) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        *server = Some(Arc::clone(process));
    }

    /// Ends the server that was started last.
    fn end_server(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = server.take() {
            before.end();
            self.step(format!("`{}` was ended by the check", before.name));
        }
    }

    /// A program that crashed is the reason for whatever was seen after it.
    fn crash(&self) -> Option<Failure> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes
            .iter()
            .find_map(|process| crash_of(process).or_else(|| panic_of(process)))
    }

    /// The sockets of a program that crashes are closed a moment before it has ended:
    /// then what was seen of them waits for its reason.
    fn crash_behind(&self, failure: &Failure) -> Option<Failure> {
        let may_be_a_crash = matches!(
            failure.outcome,
            Outcome::Reset | Outcome::ShortData | Outcome::Behaviour
        );
        let moment = if may_be_a_crash { 300 } else { 0 };
        let deadline = Instant::now() + Duration::from_millis(moment);
        loop {
            let crash = self.crash();
            if crash.is_some() || Instant::now() >= deadline {
                return crash.or_else(|| self.end_behind(failure));
            }
            thread::sleep(LOOK);
        }
    }

    /// A connection that broke off because the program has ended in its own way.
    fn end_behind(&self, failure: &Failure) -> Option<Failure> {
        if !matches!(failure.outcome, Outcome::Reset | Outcome::ShortData) {
            return None;
        }
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes
            .iter()
            .find_map(|process| Some(ended(&process.name, process.status()?)))
    }

    /// The last lines of every program's log, for a failure.
    fn logs(&self) -> String {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for process in processes.iter() {
            if process.status().is_some() {
                process.wait(Instant::now()); // for its last words
            }
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(8)..];
            let state = match process.status() {
                Some(status) => ended(&process.name, status).outcome.to_string(),
                None => "running".to_owned(),
            };
            if last.is_empty() {
                text += &format!("`{}` ({state}) has logged nothing\n", process.name);
                continue;
            }
            text += &format!("last log lines of `{}` ({state}):\n", process.name);
            last.iter()
                .for_each(|line| text += &format!("    {line}\n"));
        }
        text
    }
}

fn crash_of(process: &Process) -> Option<Failure> {
    let failure = ended(&process.name, process.status()?);
    let crashed = match &failure.outcome {
        Outcome::Exited(101) => true,
        Outcome::Killed(signal) => !matches!(signal.as_str(), "SIGTERM" | "SIGINT" | "SIGKILL"),
        _ => false,
    };
    crashed.then_some(failure)
}

/// A thread that panics ends alone: the program lives on, with one thread less.
fn panic_of(process: &Process) -> Option<Failure> {
    let is_panic = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    let panicked = process.log().lines().any(is_panic);
    let what = || format!("a thread of `{}` has panicked", process.name);
    panicked.then(|| Failure::behaviour(what()))
}

/// What a failed check has to say: the failure, and the story up to it.
pub struct Report {
    pub failure: Failure,
    pub story: String,
}

/// Runs `check` against `program`.
pub fn run(check: &Check, program: &Program) -> Result<(), Report> {
    let trial = Trial::new(check, program).map_err(|failure| Report {
        failure,
        story: String::new(),
    })?;
    let verdict = (check.body)(&trial);
    let crash = match &verdict {
        Ok(()) => trial.crash(),
        Err(failure) => trial.crash_behind(failure),
    };
    let failure = match (verdict, crash) {
        (Ok(()), None) => {
            if std::env::var_os(SHOW_STEPS).is_some() {
                println!("{}:\n{}", check.id, trial.trace);
            }
            return Ok(());
        }
        (Ok(()), Some(crash)) => crash,
        (Err(failure), None) => failure,
        (Err(failure), Some(crash)) if failure.outcome == crash.outcome => failure,
        (Err(failure), Some(crash)) => {
            let what = format!("{}; seen from outside: {failure}", crash.what);
            Failure { what, ..crash }
        }
    };
    let story = format!("steps:\n{}{}", trial.trace, trial.logs());
    Err(Report { failure, story })
}
