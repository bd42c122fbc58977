//! What a check knows about its run: the program, the folder, the deadline, the steps so far.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::descriptors::{self, Reserved};
use crate::data::time;
use crate::datagram::DatagramServer;
use crate::failure::{Failure, Outcome, Verdict};
use crate::folder::copy_tree;
use crate::host::set_network;
use crate::lock::lock;
use crate::patience::LOOK;
use crate::patience::patience;
use crate::process::Process;
use crate::program::{FixedPorts, Ports, Program, soak_by_hand};
use crate::stage::Stage;
use crate::trace::Trace;
use crate::upstream::{Nobody, Upstream};

pub struct Trial<'p> {
    pub(super) program: &'p Program,
    pub(super) stage: Stage,
    pub(super) trace: Trace,
    pub(super) deadline: Instant,
    /// The program's working directory: a copy of its folder, or empty.
    directory: TempDir,
    /// What the check itself makes is in here.
    folder: TempDir,
    pub(super) processes: Mutex<Vec<Arc<Process>>>,
    /// How many sockets the check has reserved.
    reserved: AtomicU64,
    /// The server that was started last.
    server: Mutex<Option<Arc<Process>>>,
}

impl<'p> Trial<'p> {
    /// A run of a check of this stage against `program`, which may take this long.
    pub(crate) fn new(stage: Stage, timeout: Duration, program: &'p Program) -> Verdict<Self> {
        let folder = match &program.guarded {
            Some(place) => TempDir::new_in(place),
            None => TempDir::new(),
        };
        let trouble = |error| Failure::grader("a temporary folder", error);
        let (directory, folder) = (TempDir::new().map_err(trouble)?, folder.map_err(trouble)?);
        if let Some(folder) = &program.folder {
            copy_tree(folder, directory.path())
                .map_err(|error| Failure::grader("copy the program's folder", error))?;
        }
        // This is how long the soak of the full test lasts.
        let full = Duration::from_secs(if program.full_size { 60 } else { 0 });
        Ok(Self {
            program,
            stage,
            trace: Trace::default(),
            deadline: Instant::now() + timeout + soak_by_hand().unwrap_or(full),
            directory,
            folder,
            processes: Mutex::default(),
            reserved: AtomicU64::new(0),
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

    /// A new folder for what the check makes. It is apart from the program's folder, in which
    /// every name may be taken.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the program runs.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `full` if long checks are wanted, otherwise `short`.
    pub fn size<T>(&self, short: T, full: T) -> T {
        if self.program.full_size { full } else { short }
    }

    /// Waits until other checks that need thousands of sockets leave room for this many.
    pub(crate) fn reserve_sockets(&self, count: usize) -> Verdict<Reserved> {
        self.reserved.fetch_add(count as u64, Ordering::Relaxed);
        descriptors::reserve(count, self.deadline)
    }

    /// What the program may use. For each socket of a check with thousands of them it may have two
    /// more threads.
    pub(crate) fn limits(&self) -> Vec<(Resource, u64, u64)> {
        let threads = 2 * self.reserved.load(Ordering::Relaxed);
        let limits = self.program.limits.iter();
        limits
            .map(|&(resource, soft, hard)| match resource {
                Resource::RLIMIT_NPROC => (resource, soft + threads, hard + threads),
                _ => (resource, soft, hard),
            })
            .collect()
    }

    /// A server inside the check, where the program under test expects one.
    pub fn upstream(&self) -> Verdict<Upstream> {
        Upstream::listen(self.upstream_address(), &self.trace, self.deadline)
    }

    /// The address where the program expects a server. Connections to it are refused.
    pub fn nobody(&self) -> Verdict<Nobody> {
        let nobody = Nobody::at(self.upstream_address())?;
        self.step(format!("no program listens on {}", nobody.address()));
        Ok(nobody)
    }

    /// Starts a server where connections were refused so far.
    pub fn upstream_at(&self, nobody: Nobody, backlog: i32) -> Verdict<Upstream> {
        Upstream::appear(nobody, backlog, &self.trace, self.deadline)
    }

    /// Leaves the kernel only this port to choose for clients. The check must need
    /// [`Need::NetworkSettings`](crate::check::Need::NetworkSettings).
    pub fn leave_only_port(&self, port: u16) -> Verdict {
        self.set_network("ip_local_port_range", &format!("{port} {port}"))
    }

    /// Lets the kernel ask for a silent peer after a second: by default, after two hours
    /// (`SO_KEEPALIVE`, `tcp(7)`).
    pub fn hurry_keepalive(&self) -> Verdict {
        self.set_network("tcp_keepalive_time", "1")
    }

    /// Limits the kernel's buffers of every new TCP connection (tcp(7), by default 6 or 32 MB), so
    /// that a megabyte or two fill them.
    pub fn limit_buffers(&self) -> Verdict {
        self.set_network("tcp_rmem", "4096 131072 1000000")?;
        self.set_network("tcp_wmem", "4096 16384 500000")
    }

    /// Changes a setting of the network in which the check runs.
    fn set_network(&self, name: &str, value: &str) -> Verdict {
        self.step(format!("in this network, {name} is now {value}"));
        set_network(name, value).map_err(|error| Failure::grader(format!("set {name}"), error))
    }

    /// The same as [`Trial::upstream`] for UDP.
    pub fn datagram_upstream(&self) -> Verdict<DatagramServer> {
        DatagramServer::bind(self.upstream_address(), &self.trace, self.deadline)
    }

    /// Where the program expects its server. Port 0 if the program takes any address.
    pub fn upstream_address(&self) -> SocketAddr {
        let port = match self.program.ports {
            Ports::Announced => 0,
            Ports::Fixed => self.fixed_ports().upstream,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The ports of a program with fixed ports.
    pub fn fixed_ports(&self) -> FixedPorts {
        let given = self.program.fixed_ports.clone();
        given.unwrap_or_else(|| FixedPorts::of_the_course(self.stage))
    }

    /// Waits until `condition` holds. For a state that causes no event.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Verdict {
        let begun = Instant::now();
        let deadline = self.deadline.min(begun + patience());
        while !condition() {
            if Instant::now() >= deadline {
                let what = format!(
                    "this has not happened within {}: {what}",
                    time(begun.elapsed())
                );
                return Err(Failure::new(Outcome::Timeout, what));
            }
            thread::sleep(LOOK);
        }
        self.step(what);
        Ok(())
    }

    /// Stops a process, as Ctrl-Z does. One that has just ended cannot be stopped, which the
    /// check notices by its status.
    pub fn stop(&self, process: &Process) -> Verdict {
        process.signal(Signal::SIGSTOP);
        let stopped = || matches!(process.state(), None | Some('T' | 'Z'));
        let what = format!("`{}` is stopped (SIGSTOP)", process.short_name());
        self.wait_until(&what, stopped)
    }

    pub fn go_on(&self, process: &Process) -> Verdict {
        process.signal(Signal::SIGCONT);
        let what = format!("`{}` continues (SIGCONT)", process.short_name());
        self.wait_until(&what, || process.state() != Some('T'))
    }

    pub(super) fn keep_server(&self, process: &Arc<Process>) {
        let mut server = lock(&self.server);
        *server = Some(Arc::clone(process));
    }

    /// Ends the server that was started last.
    pub(super) fn end_server(&self) {
        let mut server = lock(&self.server);
        if let Some(before) = server.take() {
            before.end();
            self.step(format!("the check ends `{}`", before.name));
        }
    }

    /// The programs that were started so far.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        lock(&self.processes).clone()
    }
}
