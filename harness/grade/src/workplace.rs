//! The temporary folder of a run, and the processes that are started in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::check::{Check, Need};
use harness::folder::{is_open_to_all, remove_tree};
use harness::host::OWN_NETWORK;
use harness::interrupt::is_interrupted;
use harness::program::Program;
use harness::suite;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::launcher::WORKER;
use crate::nobody::{NOBODY, can_be_nobody};
use crate::order::{Allowed, Answer, Order, Task};
use crate::orphans::descendants;
use crate::report::complain;
use crate::surroundings::Surroundings;

/// How long to wait for output before looking at the deadline and at interrupts.
const LOOK_AFTER: Duration = Duration::from_millis(50);

pub struct Workplace {
    folder: TempDir,
    isolated: bool,
    surroundings: Surroundings,
    allowed: Allowed,
}

impl Workplace {
    pub fn open(arguments: &Arguments) -> Result<Self> {
        let place = temporary_place();
        let folder = tempfile::Builder::new().prefix("grade-").tempdir_in(&place);
        let folder =
            folder.with_context(|| format!("cannot make a folder in {}", place.display()))?;
        let mut workplace = Self {
            folder,
            isolated: true,
            surroundings: Surroundings::new(arguments),
            allowed: Allowed::new(&arguments.limits),
        };
        if can_be_nobody() {
            // No other user may enter, because the submissions are in there.
            chown(workplace.path(), None, Some(NOBODY))
                .context("cannot chown the temporary folder")?;
            let group_may_enter = std::os::unix::fs::PermissionsExt::from_mode(0o710);
            fs::set_permissions(workplace.path(), group_may_enter)?;
        }
        if let Answer::NotIsolated(why) =
            workplace.carry_out(Task::Probe, Duration::from_secs(10))?
        {
            workplace.isolated = false;
            complain(format_args!(
                "note: no namespaces here ({why}), so programs are graded one at a time, \
                 in this machine's own network; they can read its files, also other submissions"
            ));
        }
        Ok(workplace)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether each task has its own network.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The first need of the check that is missing here. No program is root in its namespaces.
    pub fn missing(&self, check: &Check, program: &Program) -> Option<Need> {
        let no_root = self.isolated || can_be_nobody();
        match check.needs.contains(&Need::Root) && no_root {
            true => Some(Need::Root),
            false => suite::missing(check, program),
        }
    }

    /// Removes the temporary folder with everything that programs have left in it.
    pub fn close(self) {
        let path = self.folder.keep();
        if let Err(error) = remove_tree(&path) {
            complain(format_args!("cannot remove {}: {error}", path.display()));
        }
    }

    /// Runs a task in a process of its own, which must answer within `time`.
    pub fn carry_out(&self, task: Task, time: Duration) -> Result<Answer> {
        let scratch = self.new_scratch()?;
        let order = Order {
            isolated: self.isolated,
            view: self.surroundings.view(&task, self.path(), &scratch),
            scratch: scratch.clone(),
            allowed: self.allowed.clone(),
            task,
        };
        let answer = Worker::start(&order, &self.surroundings.environment)
            .and_then(|process| process.answer(time));
        let _ = remove_tree(&scratch); // `close` removes what is left
        answer
    }

    /// Its name cannot be guessed: without namespaces that keeps other submissions from it, where
    /// root grades.
    pub fn new_folder(&self) -> Result<PathBuf> {
        let folder = tempfile::Builder::new().tempdir_in(self.path());
        Ok(folder.context("cannot make a temporary folder")?.keep())
    }

    fn new_scratch(&self) -> Result<PathBuf> {
        let scratch = self.new_folder()?;
        if can_be_nobody() {
            chown(&scratch, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(scratch)
    }
}

/// The place for temporary folders. When root grades, another user must be able to reach it.
fn temporary_place() -> PathBuf {
    let usual = std::env::temp_dir();
    match can_be_nobody() && !is_open_to_all(&usual) {
        true => PathBuf::from("/tmp"),
        false => usual,
    }
}

/// A launcher and its descendants.
struct Worker {
    child: Child,
    /// The launcher's stderr: empty, unless the grader itself fails.
    complaints: File,
}

impl Worker {
    fn start(order: &Order, environment: &[(OsString, OsString)]) -> Result<Self> {
        let complaints = tempfile::tempfile()?;
        // This program, even if its file was built again after it was started (proc_pid_exe(5)).
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(WORKER)
            .env_clear()
            .envs(environment.iter().cloned())
            .env("HOME", &order.scratch)
            .env("TMPDIR", &order.scratch)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?);
        if order.isolated {
            command.env(OWN_NETWORK, "1");
        }
        let mut child = command.spawn().context("cannot start the grader again")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(&serde_json::to_vec(order)?)?;
        Ok(Self { child, complaints })
    }

    /// Waits until it has answered and ended. Ends it when the time is over.
    fn answer(mut self, time: Duration) -> Result<Answer> {
        let mut stdout = self.child.stdout.take().context("no stdout")?;
        let (mut text, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        let deadline = Instant::now() + time;
        let mut overdue = false;
        loop {
            let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut asked, PollTimeout::try_from(LOOK_AFTER)?).unwrap_or(0);
            if ready > 0 {
                match stdout.read(&mut chunk)? {
                    0 => break,
                    count => text.extend_from_slice(&chunk[..count]),
                }
            } else if is_interrupted() || Instant::now() >= deadline {
                overdue |= !is_interrupted();
                self.end();
            }
        }
        self.child.wait()?;
        if overdue {
            let what = format!("it did not end within {} s", time.as_secs());
            return Ok(Answer::failed("timed out", &what));
        }
        match serde_json::from_slice(&text) {
            Ok(answer) => Ok(answer),
            Err(_) if is_interrupted() => Ok(Answer::Trouble("interrupted".to_owned())),
            Err(_) => self.explain_silence(),
        }
    }

    /// A launcher that fails prints the reason. One that was killed prints nothing; without
    /// namespaces a program under test can kill it.
    fn explain_silence(&mut self) -> Result<Answer> {
        let mut said = String::new();
        self.complaints.rewind()?;
        self.complaints.read_to_string(&mut said)?;
        Ok(match said.trim_end() {
            "" => Answer::failed(
                "the check was killed",
                "the program killed the process that was checking it",
            ),
            said => Answer::Trouble(format!("the process that runs the check failed: {said}")),
        })
    }

    /// Kills what the launcher has started; the launcher then ends by itself.
    fn end(&self) {
        let launcher = Pid::from_raw(self.child.id() as i32);
        let below = descendants(launcher);
        let first = below.first().copied().unwrap_or(launcher);
        let _ = kill(first, Signal::SIGKILL); // it may have ended already
    }
}
