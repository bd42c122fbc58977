//! What the kernel knows: which CPUs are ours, and a process's CPU time and memory.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::process::schedstat;
use harness::sockets::{Table, listeners, rows};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Who runs where: the servers on one CPU, the load and the upstream on another. If there is
/// only one CPU, all share it.
#[derive(Clone, Debug)]
pub struct Cpus {
    pub server: usize,
    pub load: usize,
}

const THIS_THREAD: Pid = Pid::from_raw(0);

impl Cpus {
    /// Takes the first two CPUs that this process may use, and moves this process to one.
    pub fn share_out() -> Result<Self> {
        let allowed = sched_getaffinity(THIS_THREAD).context("sched_getaffinity")?;
        let mut ours = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true));
        let load = ours.next().context("there is no CPU to run on")?;
        let cpus = Self {
            server: ours.next().unwrap_or(load),
            load,
        };
        move_to(cpus.load)?;
        Ok(cpus)
    }

    /// Runs `start`, whose child processes stay on the servers' CPU.
    pub fn as_server<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        move_to(self.server)?;
        let started = start();
        move_to(self.load)?;
        Ok(started)
    }

    pub fn describe(&self) -> String {
        match self.server == self.load {
            true => "all programs share one CPU".to_owned(),
            false => format!(
                "servers on CPU {}, load and upstream on CPU {}",
                self.server, self.load
            ),
        }
    }
}

fn move_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(THIS_THREAD, &set).with_context(|| format!("cannot move to CPU {cpu}"))
}

/// User and system time of a process and its descendants. This includes those that have ended
/// and whose parent has waited for them. The CPU clock of a running process counts in
/// nanoseconds; the time of ended ones is counted in ticks (`proc(5)`).
pub fn cpu_time(pid: Pid) -> Duration {
    let running = family(pid).into_iter().filter_map(|pid| {
        let clock = clock_getcpuclockid(pid).ok()?;
        Some(Duration::from(clock_gettime(clock).ok()?) + time_of_waited_for(pid))
    });
    running.sum()
}

/// User and system time of this program.
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

fn time_of_waited_for(pid: Pid) -> Duration {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some((user + system, sysconf(SysconfVar::CLK_TCK).ok()??))
    };
    match ticks() {
        Some((ticks, per_second)) => Duration::from_secs_f64(ticks as f64 / per_second as f64),
        None => Duration::ZERO,
    }
}

/// A process, its children, and theirs.
pub fn family(pid: Pid) -> Vec<Pid> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(children(parent));
        next += 1;
    }
    family
}

fn children(pid: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    let numbers = list.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.map(Pid::from_raw).collect()
}

/// How long a process and its descendants were ready to run while others had the CPU.
pub fn time_queued(pid: Pid) -> Duration {
    let queued = |pid: Pid| schedstat(pid.as_raw() as u32).1;
    family(pid).into_iter().map(queued).sum()
}

/// Whether a tracer such as strace is attached to a process.
pub fn is_traced(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

/// Resident memory of a process and its descendants in bytes, counted page by page because
/// `VmRSS` may lag behind by some pages for each CPU.
pub fn resident(pid: Pid) -> u64 {
    let of_one = |pid: Pid| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1024)
    };
    family(pid).into_iter().filter_map(of_one).sum()
}

/// Whether a UDP socket of this network is bound there.
pub fn udp_port_is_taken(address: SocketAddr) -> bool {
    rows(Table::Udp).any(|row| row.local.port() == address.port())
}

/// Connections that the server at `listener` has not accepted yet.
pub fn accept_queue(listener: SocketAddr) -> u64 {
    let mut here = listeners(Table::Tcp).filter(|row| row.local.port() == listener.port());
    here.next().map_or(0, |row| row.receiving)
}
