//! A running program: its output, its figures, its end.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, signal};
use nix::unistd::{Pid, SysconfVar, setsid, sysconf};

use crate::excerpt::excerpt;
use crate::failure::{Failure, Outcome, Verdict};
use crate::foreign;
use crate::lock::lock;
use crate::patience::LOOK;
use crate::sockets::{CLOSED, LISTENING, Row, Table, listeners, rows};

/// How many bytes of one output stream are kept. Beyond that, those after the first ones are
/// dropped, and this stands in their place.
const KEPT: usize = 8 * 1024 * 1024;
const FIRST: usize = 64 * 1024;
const DROPPED: &[u8] = b"\n[older lines are not kept]\n";

/// The soft limit of descriptors of a program, at most: more than any check asks for. A program
/// may have a table with a row for each descriptor that is possible.
const DESCRIPTORS: u64 = 65_536;

/// What happens to a program's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    #[default]
    Captured,
    /// A pipe that is not read any more once the program has logged where it listens.
    Unread,
    /// A pipe whose reading end is closed once the program has logged where it listens.
    Closed,
    /// A pipe that the check itself reads ([`Process::take_stdout`]); stdout only.
    Handed,
}

/// What a program reads.
#[derive(Clone, Debug, Default)]
pub enum Input {
    /// `/dev/null`
    #[default]
    Nothing,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    File(PathBuf),
    /// A pipe, which [`Process::take_stdin`] hands out.
    Pipe,
    /// A terminal, which is stdout too. [`Process::take_stdin`] hands out its keyboard.
    Terminal,
}

/// How a program is started.
#[derive(Default)]
pub struct Setup {
    /// A program and its first arguments, which runs the command and becomes it (`execve(2)`).
    pub through: Vec<OsString>,
    pub input: Input,
    pub stdout: Sink,
    pub stderr: Sink,
    /// Soft and hard (`setrlimit(2)`).
    pub limits: Vec<(Resource, u64, u64)>,
    /// Signals that it inherits as ignored (`signal(7)`).
    pub ignored: Vec<Signal>,
    pub user: Option<u32>,
    pub environment: Vec<(String, String)>,
    pub directory: PathBuf,
    /// A mount that the program can read and not write.
    pub read_only: Option<PathBuf>,
}

/// One output stream of a program. A thread reads it.
#[derive(Default)]
struct Capture {
    state: Mutex<Captured>,
    changed: Condvar,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    total: u64,
    ended: bool,
    /// When the last writer closed it.
    closed: Option<Instant>,
    /// The pipe of a [`Sink::Unread`]: open as long as this is.
    unread: Option<File>,
}

impl Capture {
    fn lock(&self) -> MutexGuard<'_, Captured> {
        lock(&self.state)
    }

    /// For a stream that the check itself reads.
    fn of_nothing() -> Self {
        let capture = Self::default();
        capture.lock().ended = true;
        capture
    }

    /// Starts to read `pipe`. For a sink that is not captured, `enough` ends the reading.
    fn start(pipe: File, sink: Sink, enough: fn(&[u8]) -> bool) -> Arc<Self> {
        let capture = Arc::new(Self::default());
        let shared = Arc::clone(&capture);
        thread::spawn(move || shared.read(pipe, sink, enough));
        capture
    }

    fn read(&self, mut pipe: File, sink: Sink, enough: fn(&[u8]) -> bool) {
        let mut chunk = [0; 64 * 1024];
        while sink == Sink::Captured || !enough(&self.lock().bytes) {
            let count = match pipe.read(&mut chunk) {
                Ok(0) | Err(_) => {
                    self.lock().closed = Some(Instant::now());
                    break;
                }
                Ok(count) => count,
            };
            let mut state = self.lock();
            if state.bytes.len() + count > KEPT {
                let older = FIRST..FIRST + KEPT / 2;
                state.bytes.splice(older, DROPPED.iter().copied());
            }
            state.bytes.extend_from_slice(&chunk[..count]);
            state.total += count as u64;
            self.changed.notify_all();
        }
        let mut state = self.lock();
        state.ended = true;
        if sink == Sink::Unread {
            state.unread = Some(pipe);
        }
        self.changed.notify_all();
    }

    /// Waits until `wanted` is true of the output. Returns false if the deadline or the end of
    /// the output comes first.
    fn wait(&self, deadline: Instant, mut wanted: impl FnMut(&[u8]) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if wanted(&state.bytes) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What a process uses at a moment (`proc(5)`).
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// User and system time of all its threads since it was started.
    pub cpu: Duration,
    /// How long its threads were ready to run and had to wait for a CPU. Zero if the kernel
    /// does not count it.
    pub queued: Duration,
    /// Resident memory in bytes.
    pub rss: u64,
    pub threads: usize,
    pub descriptors: usize,
}

/// A program in a process group of its own. Dropping it ends the whole group.
pub struct Process {
    pub name: String,
    pid: Pid,
    child: Mutex<Child>,
    /// The check has killed it.
    killed_by_us: AtomicBool,
    /// What the check has sent it.
    sent: Mutex<Vec<Signal>>,
    stdin: Mutex<Option<File>>,
    /// The reading end of a [`Sink::Handed`].
    handed: Mutex<Option<File>>,
    stdout: Arc<Capture>,
    stderr: Arc<Capture>,
}

impl Process {
    /// Starts `command`. `announced` says, from its stderr, whether it is ready. From then on a
    /// sink that is not captured is not read any more.
    pub fn start(
        command: &[impl AsRef<OsStr>],
        setup: Setup,
        announced: fn(&[u8]) -> bool,
    ) -> Verdict<Self> {
        let name = display(command);
        let cannot = |why: &dyn std::fmt::Display| {
            Failure::new(Outcome::NotStarted, format!("cannot start `{name}`: {why}"))
        };
        let through = setup.through.iter().map(OsString::as_os_str);
        let words: Vec<&OsStr> = through.chain(command.iter().map(AsRef::as_ref)).collect();
        let (program, arguments) = words.split_first().ok_or_else(|| cannot(&"no command"))?;
        let terminal = match setup.input {
            Input::Terminal => Some(Terminal::open().map_err(|error| cannot(&error))?),
            _ => None,
        };
        let (stdout, stdout_end) = match &terminal {
            Some(terminal) => terminal.as_stdout(),
            None => pipe(),
        }
        .map_err(|error| cannot(&error))?;
        let (stderr, stderr_end) = pipe().map_err(|error| cannot(&error))?;

        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if is_ours(&name) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(&setup.directory)
            .env("PWD", &setup.directory)
            .envs(setup.environment)
            .stdin(match &setup.input {
                Input::Nothing => Stdio::null(),
                Input::Bytes(_) | Input::Pipe => Stdio::piped(),
                Input::File(path) => File::open(path).map_err(|error| cannot(&error))?.into(),
                Input::Terminal => stdout_end
                    .try_clone()
                    .map_err(|error| cannot(&error))?
                    .into(),
            })
            .stdout(stdout_end)
            .stderr(stderr_end);
        if let Some(user) = setup.user {
            command.uid(user).gid(user);
        }
        if let Some(place) = setup.read_only {
            make_read_only(&mut command, place);
        }
        limit_and_tie_to_us(&mut command, setup.limits, setup.ignored);

        let mut child = command.spawn().map_err(|error| cannot(&error))?;
        drop(command); // it holds the writing ends of the pipes
        let stdin = child.stdin.take().map(|pipe| OwnedFd::from(pipe).into());
        let mut stdin: Option<File> = terminal.map(|terminal| terminal.keyboard).or(stdin);
        if let Input::Bytes(bytes) = setup.input
            && let Some(mut pipe) = stdin.take()
        {
            // The program may end before it has read everything, which is not a failure.
            thread::spawn(move || std::io::Write::write_all(&mut pipe, &bytes));
        }
        let (stdout, handed) = match setup.stdout {
            Sink::Handed => (Arc::new(Capture::of_nothing()), Some(stdout)),
            sink => (Capture::start(stdout, sink, |_| true), None),
        };
        Ok(Self {
            pid: Pid::from_raw(child.id() as i32),
            child: Mutex::new(child),
            killed_by_us: AtomicBool::new(false),
            sent: Mutex::default(),
            stdin: Mutex::new(stdin),
            handed: Mutex::new(handed),
            stdout,
            stderr: Capture::start(stderr, setup.stderr, announced),
            name,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// The first word of its command, for steps that a reader can follow: `tcp_server`.
    pub fn short_name(&self) -> &str {
        self.name.split(' ').next().unwrap_or(&self.name)
    }

    pub fn signal(&self, signal: Signal) {
        lock(&self.sent).push(signal);
        let _ = kill(self.pid, signal); // it may have ended, which the check notices
    }

    /// The writing end of [`Input::Pipe`], the keyboard of [`Input::Terminal`].
    pub fn take_stdin(&self) -> Option<File> {
        let mut stdin = lock(&self.stdin);
        stdin.take()
    }

    /// The reading end of [`Sink::Handed`].
    pub fn take_stdout(&self) -> Option<File> {
        let mut handed = lock(&self.handed);
        handed.take()
    }

    /// What it has printed to stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.lock().bytes.clone()
    }

    /// What it has printed to stderr so far.
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.lock().bytes.clone()
    }

    /// The same as text.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().bytes).into_owned()
    }

    /// What of its log a failure shows.
    pub fn logged(&self) -> String {
        match excerpt(&self.stderr()).join("\n    ") {
            nothing if nothing.is_empty() => "nothing".to_owned(),
            lines => lines,
        }
    }

    /// How many bytes it has printed to stderr, including those that are not kept any more.
    pub fn log_size(&self) -> u64 {
        self.stderr.lock().total
    }

    pub fn wait_for_log(&self, deadline: Instant, wanted: impl Fn(&str) -> bool) -> bool {
        self.stderr
            .wait(deadline, |bytes| wanted(&String::from_utf8_lossy(bytes)))
    }

    pub fn wait_for_stdout(&self, deadline: Instant, wanted: impl FnMut(&[u8]) -> bool) -> bool {
        self.stdout.wait(deadline, wanted)
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        let mut child = lock(&self.child);
        child.try_wait().ok().flatten()
    }

    /// Waits for its end, and for the last of its output.
    pub fn wait(&self, deadline: Instant) -> Option<ExitStatus> {
        let status = loop {
            match self.status() {
                Some(status) => break status,
                None if Instant::now() >= deadline => return None,
                None => thread::sleep(LOOK),
            }
        };
        for capture in [&self.stdout, &self.stderr] {
            capture.wait(
                deadline.max(Instant::now() + Duration::from_secs(1)),
                |_| false,
            );
        }
        Some(status)
    }

    /// How it ended, if it has and the check is not why.
    pub fn ended_by_itself(&self) -> Option<ExitStatus> {
        let status = self.status()?;
        let signal = status.signal().and_then(|it| Signal::try_from(it).ok());
        let by_us = self.killed_by_us.load(Ordering::Relaxed)
            || signal.is_some_and(|it| lock(&self.sent).contains(&it));
        (!by_us).then_some(status)
    }

    /// When it ended: the kernel then closes its stderr, before its sockets. Not known while a
    /// child has the same stderr.
    pub fn ended_at(&self) -> Option<Instant> {
        self.stderr.lock().closed
    }

    /// How many of its child processes have ended and have not been waited for.
    pub fn zombies(&self) -> usize {
        let parent = self.pid().to_string();
        let is_zombie = |stat: &String| {
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let mut fields = fields.split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&*parent)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let stats = processes.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
        stats.filter(is_zombie).count()
    }

    /// Ends it, and the whole group.
    pub fn end(&self) {
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(None)) {
            self.killed_by_us.store(true, Ordering::Relaxed);
        }
        // The group first: until `wait`, the kernel cannot give this pid to another process.
        let _ = killpg(self.pid, Signal::SIGKILL);
        let _ = child.wait();
    }

    /// The IPv4 addresses on which it listens for TCP connections, or receives datagrams of
    /// anybody.
    pub fn listening_addresses(&self) -> Vec<SocketAddr> {
        let ours = self.socket_names();
        let is_ours = |row: &Row| ours.contains(&format!("socket:[{}]", row.inode));
        let bound = rows(Table::Udp).filter(|row| row.state == CLOSED);
        let open = listeners(Table::Tcp).chain(bound).filter(is_ours);
        open.map(|row| row.local).collect()
    }

    /// All its listeners and its unconnected UDP sockets, for a reader: `[::1]:8080 (TCP)`.
    pub fn where_it_listens(&self) -> Vec<String> {
        let ours = self.socket_names();
        let tables = [
            (Table::Tcp, LISTENING, "TCP"),
            (Table::Tcp6, LISTENING, "TCP"),
            (Table::Udp, CLOSED, "UDP"),
            (Table::Udp6, CLOSED, "UDP"),
        ];
        let found = tables.into_iter().flat_map(|(table, state, protocol)| {
            let open = rows(table).filter(move |row| row.state == state);
            let open = open.filter(|row| ours.contains(&format!("socket:[{}]", row.inode)));
            open.map(move |row| format!("{} ({protocol})", row.local))
        });
        found.collect()
    }

    /// How many sockets it has open, listeners included.
    pub fn sockets(&self) -> usize {
        self.socket_names().len()
    }

    /// `socket:[12345]`
    fn socket_names(&self) -> Vec<String> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        let targets = descriptors
            .into_iter()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| target.to_string_lossy().into_owned());
        targets.filter(|name| name.starts_with("socket:")).collect()
    }

    /// Its state: `R` running, `S` sleeping, `T` stopped (`proc(5)`, /proc/pid/stat).
    pub fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }

    /// The ids of its threads at this moment. None if it has ended.
    pub fn thread_ids(&self) -> BTreeSet<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid));
        let threads = threads.into_iter().flatten().flatten();
        let id = |name: OsString| name.to_str()?.parse().ok();
        threads.filter_map(|it| id(it.file_name())).collect()
    }

    /// How many times its threads have gone to sleep (`proc_pid_status(5)`). A thread that wakes
    /// up and finds nothing to do goes to sleep once more.
    pub fn sleeps(&self) -> u64 {
        let of = |status: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|count| count.trim().parse::<u64>().ok())
        };
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid))
            .into_iter()
            .flatten()
            .flatten();
        let statuses =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
        statuses.filter_map(|status| of(&status)).sum()
    }

    pub fn figures(&self) -> Verdict<Figures> {
        read_figures(self.pid()).ok_or_else(|| {
            // A process that is just ending has no figures any more, and no status yet.
            match self.wait(Instant::now() + Duration::from_secs(1)) {
                Some(status) => ended(&self.name, status),
                None => Failure::grader("read /proc of the program", "no figures"),
            }
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Variables that change what our own programs or the checks do.
fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("EXPSERVER_")
        || matches!(
            &*name,
            "RUST_LOG" | "XPS_DEBUG" | "RUST_BACKTRACE" | "OLDPWD"
        )
}

/// Reading end, writing end.
fn pipe() -> std::io::Result<(File, OwnedFd)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((File::from(OwnedFd::from(reader)), writer.into()))
}

/// A pseudo-terminal (`pty(7)`): what we write to `keyboard` counts as typed, and what we
/// read from it is what the screen shows.
struct Terminal {
    keyboard: File,
    program_side: OwnedFd,
}

impl Terminal {
    /// Does not use openpty(3), which does not set O_CLOEXEC: a program that another thread
    /// starts at this moment would inherit both ends.
    fn open() -> std::io::Result<Self> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname_r(&master)?;
        let program_side = nix::fcntl::open(name.as_str(), flags, nix::sys::stat::Mode::empty())?;
        Ok(Self {
            keyboard: OwnedFd::from(master).into(),
            program_side,
        })
    }

    fn as_stdout(&self) -> std::io::Result<(File, OwnedFd)> {
        Ok((self.keyboard.try_clone()?, self.program_side.try_clone()?))
    }
}

/// The failure of a program that has ended although it should not have.
pub fn ended(name: &str, status: ExitStatus) -> Failure {
    let outcome = match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, number) => Outcome::Killed(signal_name(number.unwrap_or_default())),
    };
    Failure::new(outcome, format!("`{name}` has ended"))
}

fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("signal {number}"),
    }
}

/// A command as a reader sees it: its words, without the folder of the first.
pub fn display(command: &[impl AsRef<OsStr>]) -> String {
    let words = command.iter().enumerate().map(|(index, word)| {
        let path = std::path::Path::new(word.as_ref());
        let short = if index == 0 { path.file_name() } else { None };
        foreign::line(short.unwrap_or(word.as_ref()).as_encoded_bytes())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Makes a mount read-only for the program, and for no other process: a mount namespace of its own
/// (`mount_namespaces(7)`).
fn make_read_only(command: &mut Command, place: PathBuf) {
    const NONE: Option<&str> = None;
    let change = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    // SAFETY: between fork and exec only unshare(2) and mount(2) are called: no lock, and no
    // allocation, as the path is shorter than 1,024 bytes.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(NONE, &place, NONE, change, NONE)?;
            Ok(())
        });
    }
}

/// Gives the program its limits, and lets it die with the thread that started it, so that an
/// interrupted test run leaves no servers behind. Its new session makes it a process group. The
/// session also gets one share of the CPU time, however much the program wants (`sched(7)`,
/// autogroups).
///
/// A program inherits much from the one that starts it (execve(2), "Effect on process attributes").
/// It shall find what a shell gives it: no signal blocked (`interrupt.rs` blocks some) or ignored
/// (`nohup` and a background job ignore some), and no descriptors but the three. The soft limit of
/// descriptors that we have raised for ourselves is cut to [`DESCRIPTORS`].
fn limit_and_tie_to_us(
    command: &mut Command,
    limits: Vec<(Resource, u64, u64)>,
    ignored: Vec<Signal>,
) {
    // On a 32-bit system the type is smaller. Its largest value means unlimited.
    let units = |limit: u64| rlim_t::try_from(limit).unwrap_or(rlim_t::MAX);
    // SAFETY: between fork and exec only setsid(2), sigprocmask(2), sigaction(2), getrlimit(2),
    // setrlimit(2), close_range(2) and prctl(2) are called, which are plain system calls: no lock,
    // no allocation. No handler is installed.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            SigSet::empty().thread_set_mask()?;
            for number in 1..=libc::SIGRTMAX() {
                libc::signal(number, libc::SIG_DFL); // fails for SIGKILL and SIGSTOP
            }
            for &number in &ignored {
                signal(number, SigHandler::SigIgn)?;
            }
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, soft.min(units(DESCRIPTORS)), hard)?;
            for &(resource, soft, hard) in &limits {
                setrlimit(resource, units(soft), units(hard))?;
            }
            // The descriptors are closed by exec. Linux before 5.11 does not know how; then those
            // that we have inherited ourselves stay open.
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
}

fn read_figures(pid: u32) -> Option<Figures> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let threads = fields.get(17)?.parse().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
    let (ran, queued) = schedstat(pid);
    Some(Figures {
        // Ticks are coarse, but count all threads. `ran` is exact, but counts living threads only.
        cpu: ran.max(Duration::from_secs_f64(
            ticks as f64 / ticks_per_second as f64,
        )),
        queued,
        rss: kibibytes * 1024,
        threads,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
    })
}

/// How long the threads have run, and how long they have waited for a CPU. Zero if the kernel
/// does not count it.
pub fn schedstat(pid: u32) -> (Duration, Duration) {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let figures = threads.filter_map(|thread| {
        let figures = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let mut figures = figures.split_whitespace().map(str::parse);
        let (ran, queued) = (figures.next()?.ok()?, figures.next()?.ok()?);
        Some((Duration::from_nanos(ran), Duration::from_nanos(queued)))
    });
    figures.fold(Default::default(), |sum, one| {
        (sum.0 + one.0, sum.1 + one.1)
    })
}
