//! A process for one task, and the walls around it. It is this program, started again:
//! a process that may make a user namespace has one thread only (`unshare(2)`).
//!
//! With namespaces there are two processes: the first of a process table of its own
//! (`pid_namespaces(7)`), which has a loopback interface for itself, sees the machine's
//! files without being able to write them, and works in a folder that is in memory only;
//! and its parent. When the first ends, the kernel ends everything that it started.
//!
//! Without them the parent adopts what its child leaves behind (`PR_SET_CHILD_SUBREAPER`)
//! and ends it.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::waitpid;
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, fork, getegid, geteuid, getppid, setgid, setgroups, setsid,
    setuid,
};

use crate::inside;
use crate::nobody::{NOBODY, can_be_nobody};
use crate::order::{Answer, Order, Task};
use crate::orphans::end_descendants;

/// The first word of the command line of such a process.
pub const WORKER: &str = "inside";

/// What a program may keep in its working folder, in memory.
const ROOM: &str = "size=1g,mode=0700";

/// Reads an order, carries it out, prints the answer.
pub fn main() -> ExitCode {
    let mut text = String::new();
    let order = io::stdin()
        .read_to_string(&mut text)
        .map_err(anyhow::Error::from);
    let order = order.and_then(|_| Ok(serde_json::from_str::<Order>(&text)?));
    let answer = match order {
        Ok(order) => match follow(&order) {
            Ok(Some(answer)) => answer,
            Ok(None) => return ExitCode::SUCCESS, // the child has answered
            Err(error) if order.isolated => Answer::NotIsolated(format!("{error:#}")),
            Err(error) => Answer::Trouble(format!("{error:#}")),
        },
        Err(error) => Answer::Trouble(format!("an order that nobody understands: {error:#}")),
    };
    match serde_json::to_string(&answer) {
        Ok(answer) => println!("{answer}"),
        Err(error) => eprintln!("cannot answer: {error}"),
    }
    ExitCode::SUCCESS
}

/// The answer in the child, `None` in the parent, once everything has ended.
fn follow(order: &Order) -> Result<Option<Answer>> {
    tie_to_parent()?;
    // Ctrl-C is the grader's to handle, and CPU time is shared between sessions.
    try_to("setsid", setsid())?;
    let is_child = match order.isolated {
        true => enter_namespaces(order)?,
        false => become_parent_of_orphans(order)?,
    };
    Ok(is_child.then(|| inside::carry_out(order)))
}

/// Errors in the system's words: `unshare: Operation not permitted`.
fn try_to<T>(what: &str, result: nix::Result<T>) -> Result<T> {
    result.map_err(|errno| anyhow!("{what}: {}", errno.desc()))
}

/// This process ends with the one that started it.
fn tie_to_parent() -> Result<()> {
    let parent = getppid();
    try_to("PR_SET_PDEATHSIG", prctl::set_pdeathsig(Signal::SIGKILL))?;
    ensure!(getppid() == parent, "the grader has ended");
    Ok(())
}

/// True in the child.
fn enter_namespaces(order: &Order) -> Result<bool> {
    become_nobody()?;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let own = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC;
    try_to("unshare", unshare(own))?;
    // The same user as outside, and no other: not even in here is anybody root.
    let inside = |id| if id == 0 { NOBODY } else { id };
    write_map("setgroups", "deny")?;
    write_map("uid_map", &format!("{} {user} 1", inside(user)))?;
    write_map("gid_map", &format!("{} {group} 1", inside(group)))?;
    if let Some(child) = fork_alone()? {
        wait_for(child);
        return Ok(false);
    }
    try_to("PR_SET_PDEATHSIG", prctl::set_pdeathsig(Signal::SIGKILL))?;
    build_walls(order)?;
    // A program under test is of the same user: it may not look into this process.
    try_to("PR_SET_DUMPABLE", prctl::set_dumpable(false))?;
    Ok(true)
}

fn write_map(name: &str, text: &str) -> Result<()> {
    fs::write(format!("/proc/self/{name}"), text).with_context(|| format!("write {name}"))
}

/// The view of the first process in the namespaces.
fn build_walls(order: &Order) -> Result<()> {
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    try_to(
        "make the mounts private",
        mount(NONE, "/", NONE, private, NONE),
    )?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let flags = plain | MsFlags::MS_NOEXEC;
    let proc = Some("proc");
    try_to("mount /proc", mount(proc, "/proc", proc, flags, NONE))?;
    bring_loopback_up().context("bring the loopback interface up")?;
    set_writable(Path::new("/"), false).context("make the files read-only")?;
    for place in [order.scratch.as_path(), Path::new("/dev/shm")] {
        let tmpfs = Some("tmpfs");
        try_to(
            &format!("mount a folder at {}", place.display()),
            mount(tmpfs, place, tmpfs, plain, Some(ROOM)),
        )?;
    }
    if let Task::Build { folder, .. } = &order.task {
        mount(Some(folder), folder, NONE, MsFlags::MS_BIND, NONE)
            .context("mount the submission")?;
        set_writable(folder, true).context("make the submission writable")?;
    }
    try_to("enter the temporary folder", chdir(&order.scratch))
}

/// A process of its own for the task, whose orphans are ours. True in the child.
fn become_parent_of_orphans(order: &Order) -> Result<bool> {
    try_to("PR_SET_CHILD_SUBREAPER", prctl::set_child_subreaper(true))?;
    if let Some(child) = fork_alone()? {
        wait_for(child);
        end_descendants()?;
        return Ok(false);
    }
    become_nobody()?;
    try_to("PR_SET_PDEATHSIG", prctl::set_pdeathsig(Signal::SIGKILL))?;
    try_to("PR_SET_DUMPABLE", prctl::set_dumpable(false))?;
    try_to("enter the temporary folder", chdir(&order.scratch))?;
    Ok(true)
}

/// Root runs a program as nobody; anybody else is who he is.
fn become_nobody() -> Result<()> {
    if !can_be_nobody() {
        return Ok(());
    }
    try_to("setgroups", setgroups(&[]))?;
    try_to("setgid", setgid(Gid::from_raw(NOBODY)))?;
    try_to("setuid", setuid(Uid::from_raw(NOBODY)))?;
    // With another user this process has become one that may not even write its own maps.
    try_to("PR_SET_DUMPABLE", prctl::set_dumpable(true))?;
    tie_to_parent() // forgotten by setuid
}

/// The child's number in the parent.
fn fork_alone() -> Result<Option<Pid>> {
    // SAFETY: this process has one thread, so that the child's memory is whole: no other
    // thread can have been in the middle of something.
    #[allow(unsafe_code)]
    match try_to("fork", unsafe { fork() })? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

fn wait_for(child: Pid) {
    while waitpid(child, None) == Err(Errno::EINTR) {}
}

/// A new network has one interface, `lo`, and it is down (`netdevice(7)`).
fn bring_loopback_up() -> Result<()> {
    let any = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut name = [0; libc::IFNAMSIZ];
    name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    let flags = libc::__c_anonymous_ifr_ifru {
        ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
    };
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: flags,
    };
    // SAFETY: SIOCSIFFLAGS reads the name, ended by a NUL, and the flags of `request`,
    // which lives longer than the call; nix has no function for it.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS, &request) };
    try_to("SIOCSIFFLAGS", Errno::result(result)).map(drop)
}

/// Whether files can be written in `place` and all mounts below it (`mount_setattr(2)`).
fn set_writable(place: &Path, writable: bool) -> Result<()> {
    let place = CString::new(place.as_os_str().as_encoded_bytes())?;
    let (set, clear) = match writable {
        true => (0, libc::MOUNT_ATTR_RDONLY),
        false => (libc::MOUNT_ATTR_RDONLY, 0),
    };
    let change = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the kernel reads a path that ends in a NUL and a structure of the size that
    // it is told; both live longer than the call. Neither nix nor libc has a function.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            place.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    try_to("mount_setattr", Errno::result(result)).map(drop)
}
