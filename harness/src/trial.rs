//! One run of one check: what it starts, how long it has, what it has done so far.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::check::{Check, Failure, Outcome, Stage, Verdict, ensure};
use crate::data::{show, show_difference};
use crate::datagram::{DatagramPeer, DatagramServer};
use crate::peer::{Peer, patience};
use crate::pipe::{Stdin, Stdout};
use crate::process::{Figures, Input, LOOK, Process, Setup, Sink, ended};
use crate::program::{COURSE_UPSTREAM_PORT, Ports, Program, announced_addresses, course_ports};
use crate::trace::Trace;
use crate::upstream::{Nobody, Upstream};

/// Set this to read the steps of checks that pass, with what they have measured.
pub const SHOW_STEPS: &str = "EXPSERVER_SHOW_STEPS";

/// By how much a server may grow while it is put under strain, in bytes.
pub const MOST_GROWTH: u64 = 8 * 1024 * 1024;

pub struct Trial<'p> {
    program: &'p Program,
    stage: Stage,
    trace: Trace,
    deadline: Instant,
    directory: TempDir,
    processes: Mutex<Vec<Arc<Process>>>,
}

impl<'p> Trial<'p> {
    fn new(check: &Check, program: &'p Program) -> Verdict<Self> {
        let directory =
            TempDir::new().map_err(|error| Failure::grader("a temporary folder", error))?;
        Ok(Self {
            program,
            stage: check.stage,
            trace: Trace::default(),
            deadline: Instant::now() + check.timeout,
            directory,
            processes: Mutex::default(),
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
        Launch::new(self, command, Ports::Fixed)
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
            Ports::Fixed => match self.stage {
                Stage::Stage02 | Stage::Stage03 => 8080,
                _ => COURSE_UPSTREAM_PORT,
            },
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
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
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(8)..];
            let state = match process.status() {
                Some(status) => ended(&process.name, status).outcome.to_string(),
                None => "running".to_owned(),
            };
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

/// A program about to be started.
#[must_use]
pub struct Launch<'t> {
    trial: &'t Trial<'t>,
    command: Vec<OsString>,
    ports: Ports,
    roles: Vec<String>,
    /// How many listeners the options ask for, where they do.
    listeners: Option<usize>,
    port: u16,
    setup: Setup,
}

impl<'t> Launch<'t> {
    fn new(trial: &'t Trial, command: Vec<OsString>, ports: Ports) -> Self {
        let setup = Setup {
            directory: trial.directory().to_owned(),
            ..Setup::default()
        };
        Self {
            trial,
            command,
            ports,
            roles: Vec::new(),
            listeners: None,
            port: 0,
            setup,
        }
    }

    /// Options of this workspace's own programs; a check that adds any names them in
    /// its needs ([`crate::check::Need::Option`]).
    pub fn options<S: Into<OsString>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(options.into_iter().map(Into::into));
        self
    }

    /// Tells a proxy or a client where its server is; one with fixed ports knows.
    pub fn towards(self, option: &str, upstream: impl Display) -> Self {
        match self.ports {
            Ports::Announced => self.options([option.to_owned(), upstream.to_string()]),
            Ports::Fixed => self,
        }
    }

    /// Makes a client talk to this server; one with fixed ports knows.
    pub fn client_of(self, server: SocketAddr) -> Self {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        match self.ports {
            Ports::Announced => {
                self.options(["--host".to_owned(), host, "--port".to_owned(), port])
            }
            Ports::Fixed => self,
        }
    }

    /// The modular server with a listener for each role, in this order.
    pub fn roles<S: AsRef<str>>(mut self, roles: &[S]) -> Self {
        self.roles = roles.iter().map(|role| role.as_ref().to_owned()).collect();
        self
    }

    /// The modular server as one of the course's stages, on the course's ports.
    pub fn preset(self, stage: u8) -> Self {
        let listeners = course_ports(Stage::Phase1).len();
        match self.ports {
            Ports::Announced => self
                .options(["--stage".to_owned(), stage.to_string()])
                .listeners(listeners),
            Ports::Fixed => self.listeners(listeners),
        }
    }

    /// The options ask for so many listeners: [`Launch::start`] adds none.
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = Some(count);
        self
    }

    /// The working directory, where [`Trial::directory`] is not the right one.
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.setup.directory = directory.to_owned();
        self
    }

    pub fn input(mut self, input: Input) -> Self {
        self.setup.input = input;
        self
    }

    pub fn stdout(mut self, sink: Sink) -> Self {
        self.setup.stdout = sink;
        self
    }

    pub fn stderr(mut self, sink: Sink) -> Self {
        self.setup.stderr = sink;
        self
    }

    /// A limit of the process (`setrlimit(2)`), soft and hard.
    pub fn limit(self, resource: Resource, limit: u64) -> Self {
        self.limits(resource, limit, limit)
    }

    /// A soft limit, which the process may raise up to the hard one.
    pub fn limits(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.setup.limits.push((resource, soft, hard));
        self
    }

    /// The port to listen on, where [`Launch::start`] would take a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Runs it as this user; only root may. The user gets a copy of the program, in a
    /// folder that it may enter: it may have no way to where the program stands.
    pub fn user(mut self, id: u32) -> Verdict<Self> {
        let copy = self.trial.directory().join("program");
        // By another process: a program that somebody still has open for writing cannot
        // be run (ETXTBSY), and a child that another thread is just starting would have.
        let copied = Command::new("cp").arg(&self.command[0]).arg(&copy).status();
        let copied = copied.map_err(|error| Failure::grader("cp", error))?;
        if !copied.success() {
            return Err(Failure::grader("copy the program", copied));
        }
        let everybody = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.trial.directory(), everybody)
            .map_err(|error| Failure::grader("open the folder", error))?;
        self.command[0] = copy.into();
        self.setup.user = Some(id);
        Ok(self)
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.setup
            .environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts a server and waits until it accepts connections. Without a word about
    /// roles the modular server reverses lines.
    pub fn start(mut self) -> Verdict<Server> {
        let modular = self.trial.stage == Stage::Phase1;
        if modular && self.roles.is_empty() && self.listeners.is_none() {
            self.roles = vec!["reverse".to_owned()];
        }
        let (trial, ports, roles) = (self.trial, self.ports, self.roles.clone());
        if ports == Ports::Announced && roles.is_empty() && self.listeners.is_none() {
            let port = self.port.to_string();
            self = self.options(["--port".to_owned(), port]);
        }
        let listeners = self.listeners.unwrap_or(roles.len()).max(1);
        let process = self.run()?.process;
        let addresses = match ports {
            Ports::Announced => wait_for_announcement(trial, &process, listeners)?,
            Ports::Fixed if modular && !roles.is_empty() => {
                wait_for_listeners(trial, &process)?;
                roles.iter().map(|role| course_address(role)).collect()
            }
            Ports::Fixed => wait_for_listeners(trial, &process)?,
        };
        let (trace, deadline) = (trial.trace.clone(), trial.deadline);
        Ok(Server {
            process,
            addresses,
            trace,
            deadline,
        })
    }

    /// Starts a program that is no server, or one that shall not come to be one.
    pub fn run(mut self) -> Verdict<Running> {
        if self.ports == Ports::Announced {
            for role in std::mem::take(&mut self.roles) {
                let listener = format!("127.0.0.1:{}={role}", self.port);
                self = self.options(["--listen".to_owned(), listener]);
            }
        }
        let announced =
            |bytes: &[u8]| !announced_addresses(&String::from_utf8_lossy(bytes)).is_empty();
        let process = Arc::new(Process::start(&self.command, self.setup, announced)?);
        self.trial.step(format!(
            "started `{}` (pid {})",
            process.name,
            process.pid()
        ));
        let mut processes = self
            .trial
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.push(Arc::clone(&process));
        let (trace, deadline) = (self.trial.trace.clone(), self.trial.deadline);
        Ok(Running {
            process,
            trace,
            deadline,
        })
    }
}

fn wait_for_announcement(
    trial: &Trial,
    process: &Process,
    listeners: usize,
) -> Verdict<Vec<SocketAddr>> {
    let deadline = trial.deadline.min(Instant::now() + patience());
    let enough = |log: &str| announced_addresses(log).len() >= listeners;
    if process.wait_for_log(deadline, enough) {
        let addresses = announced_addresses(&process.log());
        trial.step(format!("it listens on {addresses:?}"));
        return Ok(addresses);
    }
    let line = match trial.stage {
        Stage::Phase1 => "listening on tcp://127.0.0.1:8001 (echo)",
        _ => "Server listening on port 8080 (127.0.0.1:8080)",
    };
    let what = format!("it did not log where it listens: `{line}`");
    Err(Failure::new(Outcome::NotStarted, what).received(process.log()))
}

/// Where the course's modular server has a listener of this role.
fn course_address(role: &str) -> SocketAddr {
    let ports = course_ports(Stage::Phase1);
    let port = match role.split(':').next() {
        Some("proxy") => ports[0],
        Some("file") => ports[1],
        Some("reverse") => ports[2],
        _ => ports[3],
    };
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Looks into the kernel's table: to connect would use up the only client of stage 1.
fn wait_for_listeners(trial: &Trial, process: &Process) -> Verdict<Vec<SocketAddr>> {
    let ports = course_ports(trial.stage);
    let file = if trial.stage == Stage::Stage03 {
        "udp"
    } else {
        "tcp"
    };
    let in_state = if trial.stage == Stage::Stage03 {
        " 07 "
    } else {
        " 0A "
    };
    let listens = |port: &u16| {
        [file.to_owned(), format!("{file}6")].iter().any(|file| {
            let table =
                std::fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
            let wanted = format!(":{port:04X} ");
            table.lines().any(|line| {
                let local = line.split_whitespace().nth(1).unwrap_or_default();
                format!("{local} ").ends_with(&wanted) && line.contains(in_state)
            })
        })
    };
    let all = || ports.iter().all(listens) || process.status().is_some();
    let waited = trial.wait_until(&format!("it listens on {ports:?}"), all);
    waited.map_err(|failure| Failure {
        outcome: Outcome::NotStarted,
        ..failure
    })?;
    match process.status() {
        Some(status) => Err(ended(&process.name, status)),
        None => Ok(ports
            .iter()
            .map(|&port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .collect()),
    }
}

/// A program that was started and is no server: a client, a tool.
pub struct Running {
    pub process: Arc<Process>,
    trace: Trace,
    deadline: Instant,
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
        let file = self.process.take_stdout();
        let file = file.ok_or_else(|| Failure::grader("its stdout", "not handed, or taken"))?;
        Ok(Stdout::new(file, &self.trace, self.deadline))
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

    /// See [`Server::expect_idle`].
    pub fn expect_idle(&self, window: Duration, share: f64) -> Verdict {
        expect_idle(&self.process, &self.trace, window, share)
    }
}

/// A server under test that listens.
pub struct Server {
    pub process: Arc<Process>,
    pub addresses: Vec<SocketAddr>,
    trace: Trace,
    deadline: Instant,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn connect(&self, name: &str) -> Verdict<Peer> {
        self.connect_to(0, name)
    }

    /// Connects to the listener with this number.
    pub fn connect_to(&self, listener: usize, name: &str) -> Verdict<Peer> {
        Peer::connect(name, self.addresses[listener], &self.trace, self.deadline)
            .map_err(|failure| self.explain(failure))
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
        let deadline = self.deadline.min(Instant::now() + patience());
        while self.figures()?.descriptors > before.descriptors {
            if Instant::now() >= deadline {
                let open = self.figures()?.descriptors;
                let what = format!("it has {open} descriptors open and no clients any more");
                let failure = Failure::new(Outcome::Resources, what);
                return Err(failure.expected(format!("{} as before", before.descriptors)));
            }
            thread::sleep(LOOK);
        }
        self.trace
            .step("its descriptors are back to what they were");
        self.expect_little_growth(before)
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
}

fn expect_idle(process: &Process, trace: &Trace, window: Duration, share: f64) -> Verdict {
    let before = process.figures()?;
    thread::sleep(window); // the measurement itself, not a wait for an event
    let after = process.figures()?;
    let used = after.cpu - before.cpu;
    let queued = after.queued.saturating_sub(before.queued);
    trace.step(format!(
        "it used {used:?} of CPU time in {window:?}, and waited {queued:?} for it"
    ));
    // On a busy machine a program that spins gets little, but it always wants more.
    let most = window.mul_f64(share);
    if used <= most && used + queued <= window.mul_f64(share.max(0.5)) {
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
