//! Who takes part: the programs of this workspace, their peers, and the floor. How each is
//! started, and how it is ended.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use harness::host::find_tool;
use harness::patience::LOOK;
use harness::process::{Process, Setup, schedstat};
use nix::unistd::Pid;

use crate::machine::{self, Cpus};
use crate::peers::{self, Job};

/// Connections that may wait to be accepted: the same for all contenders.
const BACKLOG: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Who {
    /// Built into this tool: the least that a level-triggered epoll server can do
    Floor,
    Stage03,
    /// `stage03-udp-threads --per-datagram`
    Stage03PerDatagram,
    Stage04,
    Stage05,
    /// Phase 1's role `reverse`
    Reverse,
    /// Phase 1's role `echo`
    Echo,
    /// Phase 1's role `proxy`
    Proxy,
    /// Phase 1's role `file`
    File,
    Nginx,
    Haproxy,
    /// HAProxy with `option splice-request` and `splice-response`
    HaproxySplice,
    Socat,
}

/// What a server is started for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// For proxies.
    pub upstream: Option<SocketAddr>,
    /// For file servers: a folder, and the name of the file.
    pub file: Option<(&'a Path, &'a str)>,
}

impl Order<'_> {
    fn upstream(&self) -> Result<SocketAddr> {
        self.upstream.context("a proxy needs an upstream")
    }
}

impl Who {
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it connects to an upstream for each client.
    pub fn is_proxy(self) -> bool {
        matches!(self, Who::Stage05 | Who::Proxy) || self.is_peer()
    }

    /// Whether it comes from outside this workspace.
    pub fn is_peer(self) -> bool {
        use Who::*;
        matches!(self, Nginx | Haproxy | HaproxySplice | Socat)
    }

    /// Where its program is, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let ours = |name| {
            let beside = std::env::current_exe().ok()?.with_file_name(name);
            beside.exists().then_some(beside)
        };
        match self {
            Who::Floor => std::env::current_exe().ok(),
            Who::Stage03 | Who::Stage03PerDatagram => ours("stage03-udp-threads"),
            Who::Stage04 => ours("stage04-epoll"),
            Who::Stage05 => ours("stage05-proxy"),
            Who::Reverse | Who::Echo | Who::Proxy | Who::File => ours("phase1-expserver"),
            Who::Nginx => find_system_tool("nginx"),
            Who::Haproxy | Who::HaproxySplice => find_system_tool("haproxy"),
            Who::Socat => find_tool("socat"),
        }
    }

    /// The command line that serves `order` on `listen`. Writes configurations to `folder`.
    fn command(self, listen: SocketAddr, order: &Order, folder: &Path) -> Result<Vec<OsString>> {
        let program = self
            .program()
            .with_context(|| format!("{} is not installed", self.name()))?;
        let arguments = match self.is_peer() {
            true => self.arguments_of_a_peer(listen, order, folder)?,
            false => self.arguments_of_ours(&listen.port().to_string(), order)?,
        };
        let mut command = vec![program.into_os_string()];
        command.extend(arguments.into_iter().map(OsString::from));
        Ok(command)
    }

    fn arguments_of_ours(self, port: &str, order: &Order) -> Result<Vec<String>> {
        let role = |role: &str| vec!["--listen".to_owned(), format!("{port}={role}")];
        let on_port = || vec!["--port".to_owned(), port.to_owned()];
        let mut arguments = match self {
            Who::Floor => return Ok(vec!["floor".to_owned(), port.to_owned()]),
            Who::Stage03PerDatagram => [on_port(), vec!["--per-datagram".to_owned()]].concat(),
            Who::Stage05 => [on_port(), vec![format!("--upstream={}", order.upstream()?)]].concat(),
            Who::Reverse => role("reverse"),
            Who::Echo => role("echo"),
            Who::Proxy => role(&format!("proxy:{}", order.upstream()?)),
            Who::File => {
                let (public, name) = order.file.context("a file server needs a file")?;
                let mut arguments = role(&format!("file:{name}"));
                arguments.push(format!("--public={}", public.display()));
                arguments
            }
            _ => on_port(),
        };
        arguments.push("-q".to_owned());
        Ok(arguments)
    }

    fn arguments_of_a_peer(
        self,
        listen: SocketAddr,
        order: &Order,
        folder: &Path,
    ) -> Result<Vec<String>> {
        let write = |name, text: &str| -> Result<String> {
            Ok(peers::write(folder, name, text)?.display().to_string())
        };
        Ok(match self {
            Who::Nginx => {
                let job = match order.file {
                    Some((public, _)) => Job::Files(public),
                    None => Job::Proxy(order.upstream()?),
                };
                let text = peers::nginx(listen, job, folder, BACKLOG);
                let path = write("nginx.conf", &text)?;
                let prefix = folder.display().to_string();
                vec!["-p".to_owned(), prefix, "-c".to_owned(), path]
            }
            Who::Socat => peers::socat(listen, order.upstream()?, BACKLOG),
            _ => {
                let splice = self == Who::HaproxySplice;
                let text = peers::haproxy(listen, order.upstream()?, splice, BACKLOG);
                let path = write("haproxy.cfg", &text)?;
                vec!["-db".to_owned(), "-f".to_owned(), path]
            }
        })
    }

    /// Starts it on the servers' CPU, and waits until it listens.
    pub fn start(self, order: &Order, cpus: &Cpus) -> Result<Server> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let address = free_address()?;
        let command = self.command(address, order, folder.path())?;
        let setup = Setup {
            directory: folder.path().to_owned(),
            ..Setup::default()
        };
        let process = cpus.as_server(|| Process::start(&command, setup, |_| true))?;
        let process = process.map_err(|failure| anyhow!("{failure}"))?;
        let server = Server {
            who: self,
            address,
            process,
            _folder: folder,
        };
        server.wait_until_it_listens()?;
        Ok(server)
    }
}

/// Daemons are often installed in a folder that is not on a user's PATH.
fn find_system_tool(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/local/sbin"].map(|folder| Path::new(folder).join(name));
    find_tool(name).or_else(|| places.into_iter().find(|place| place.exists()))
}

/// A port that was free a moment ago, because the peers do not accept port 0.
fn free_address() -> Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?)
}

/// A running contender. Dropping it ends all its processes.
pub struct Server {
    pub who: Who,
    pub address: SocketAddr,
    process: Process,
    _folder: tempfile::TempDir,
}

impl Server {
    fn wait_until_it_listens(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.listens() {
            if let Some(status) = self.process.status() {
                let log = self.process.log();
                bail!(
                    "{} ended right after its start ({status}): {}",
                    self.process.name,
                    log.trim()
                );
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on {}", self.process.name, self.address);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn listens(&self) -> bool {
        match self.who {
            Who::Stage03 | Who::Stage03PerDatagram => machine::udp_port_is_taken(self.address),
            _ => self.process.listening_addresses().contains(&self.address),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.pid() as i32)
    }

    /// User and system time of all its processes so far.
    pub fn cpu(&self) -> Duration {
        machine::cpu_time(self.pid())
    }

    /// How long its processes and the load have waited for a CPU that other programs used.
    pub fn queued(&self) -> Duration {
        machine::time_queued(self.pid()) + schedstat(std::process::id()).1
    }

    /// Resident memory of all its processes, in bytes.
    pub fn memory(&self) -> u64 {
        machine::resident(self.pid())
    }

    /// Fails when the server has ended: it has no figures then.
    pub fn check(&self) -> Result<()> {
        match self.process.status() {
            Some(status) => bail!(
                "{} ended ({status}): {}",
                self.process.name,
                self.process.log()
            ),
            None => Ok(()),
        }
    }
}
