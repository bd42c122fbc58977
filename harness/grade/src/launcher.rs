//! A process for one task, and the walls around it. It is this program, started again,
//! because only a process with a single thread may create a user namespace (`unshare(2)`).
//!
//! With namespaces there are two processes, a parent and its child. The child is the first
//! process in its own process table (`pid_namespaces(7)`). It has its own loopback
//! interface, can read the machine's files but not write them, and works in a folder that
//! is in memory only. When the child ends, the kernel ends everything that it started.
//!
//! Without namespaces the parent adopts the processes that its child leaves behind
//! (`PR_SET_CHILD_SUBREAPER`), and ends them.

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
use crate::view::{View, change};

/// The first argument of such a process.
pub const WORKER: &str = "inside";

/// Mount options of the working folder, which is in memory: its size, and who may enter.
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
        Err(error) => Answer::Trouble(format!("cannot read the order: {error:#}")),
    };
    match serde_json::to_string(&answer) {
        Ok(answer) => println!("{answer}"),
        Err(error) => eprintln!("cannot answer: {error}"),
    }
    ExitCode::SUCCESS
}

/// Returns the answer in the child; in the parent `None`, when everything has ended.
fn follow(order: &Order) -> Result<Option<Answer>> {
    tie_to_parent()?;
    // In a session of its own: Ctrl-C reaches the grader only, and the kernel divides CPU time
    // fairly between sessions (sched(7), autogroups).
    try_to("setsid", setsid())?;
    let is_child = match order.isolated {
        true => enter_namespaces(order)?,
        false => become_parent_of_orphans(order)?,
    };
    Ok(is_child.then(|| inside::carry_out(order)))
}

/// Puts an error in the system's words: `unshare: Operation not permitted`.
fn try_to<T>(what: &str, result: nix::Result<T>) -> Result<T> {
    result.map_err(|errno| anyhow!("{what}: {}", errno.desc()))
}

/// Makes the kernel end this process when the one that started it ends.
fn tie_to_parent() -> Result<()> {
    let parent = getppid();
    try_to("PR_SET_PDEATHSIG", prctl::set_pdeathsig(Signal::SIGKILL))?;
    ensure!(getppid() == parent, "the grader has ended");
    Ok(())
}

/// True in the child.
fn enter_namespaces(order: &Order) -> Result<bool> {
    // Root can see more than the user whom it becomes, such as toolchains in its own home.
    let as_root = geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok();
    if as_root {
        make_mounts_private()?;
        change(&order.view)?;
    }
    become_nobody()?;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let own = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC;
    try_to("unshare", unshare(own))?;
    // Inside there is one user, the same as outside: no process is root, not even in here.
    let inside = |id| if id == 0 { NOBODY } else { id };
    write_map("setgroups", "deny")?;
    write_map("uid_map", &format!("{} {user} 1", inside(user)))?;
    write_map("gid_map", &format!("{} {group} 1", inside(group)))?;
    if let Some(child) = fork_alone()? {
        wait_for(child);
        return Ok(false);
    }
    try_to("PR_SET_PDEATHSIG", prctl::set_pdeathsig(Signal::SIGKILL))?;
    make_mounts_private()?;
    if !as_root {
        change(&order.view)?;
    }
    build_walls(order)?;
    // The program under test runs as the same user: it must not be able to inspect this process.
    try_to("PR_SET_DUMPABLE", prctl::set_dumpable(false))?;
    Ok(true)
}

fn write_map(name: &str, text: &str) -> Result<()> {
    fs::write(format!("/proc/self/{name}"), text).with_context(|| format!("write {name}"))
}

/// Otherwise the machine would see our mounts too.
fn make_mounts_private() -> Result<()> {
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    try_to(
        "make the mounts private",
        mount(NONE, "/", NONE, private, NONE),
    )
}

/// Sets up what the first process in the namespaces can reach and write.
fn build_walls(order: &Order) -> Result<()> {
    const NONE: Option<&str> = None;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let flags = plain | MsFlags::MS_NOEXEC;
    let proc = Some("proc");
    try_to("mount /proc", mount(proc, "/proc", proc, flags, NONE))?;
    // The other terminals of this user are not for the program. What it opens in here is new.
    let pts = Some("devpts");
    let new = Some("newinstance,ptmxmode=0666");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    try_to("mount /dev/pts", mount(pts, "/dev/pts", pts, flags, new))?;
    bring_loopback_up().context("bring the loopback interface up")?;
    set_writable(Path::new("/"), false).context("make the files read-only")?;
    let is_tmp = |change: &&View| matches!(change, View::Hidden(path) if path == Path::new("/tmp"));
    if order.view.iter().any(|change| is_tmp(&change)) {
        set_writable(Path::new("/tmp"), true).context("make /tmp writable")?;
    }
    let checks = order.place_of_checks();
    for place in [&order.scratch, Path::new("/dev/shm"), &checks] {
        if place == checks {
            fs::create_dir(place).context("make the folder of the checks")?;
        }
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

/// Forks a process for the task, and adopts its orphans. True in the child.
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

/// A grader that is root runs a program as the user `nobody`. Otherwise the user stays.
fn become_nobody() -> Result<()> {
    if !can_be_nobody() {
        return Ok(());
    }
    try_to("setgroups", setgroups(&[]))?;
    try_to("setgid", setgid(Gid::from_raw(NOBODY)))?;
    try_to("setuid", setuid(Uid::from_raw(NOBODY)))?;
    // After a change of user the kernel does not let a process write its own maps.
    try_to("PR_SET_DUMPABLE", prctl::set_dumpable(true))?;
    tie_to_parent() // setuid has undone it
}

/// Returns the child's pid in the parent, `None` in the child.
fn fork_alone() -> Result<Option<Pid>> {
    // SAFETY: this process has one thread, so no other thread can be in the middle of a
    // change when the child's memory is copied.
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
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    try_to("SIOCSIFFLAGS", Errno::result(result)).map(drop)
}

/// Makes the mount `place` writable, or makes it read-only with all mounts below it
/// (`mount_setattr(2)`).
fn set_writable(place: &Path, writable: bool) -> Result<()> {
    let place = CString::new(place.as_os_str().as_encoded_bytes())?;
    let (set, clear, below) = match writable {
        true => (0, libc::MOUNT_ATTR_RDONLY, 0),
        false => (libc::MOUNT_ATTR_RDONLY, 0, libc::AT_RECURSIVE),
    };
    let change = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the kernel reads a path that ends in a NUL and a structure of the given
    // size; both live longer than the call. Neither nix nor libc has a function.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            place.as_ptr(),
            below,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    try_to("mount_setattr", Errno::result(result)).map(drop)
}
