//! The temporary folder of a grading, and the processes that are started in it.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::folder::{is_open_to_all, remove_tree};
use harness::interrupt::is_interrupted;
use harness::own_network;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::launcher::WORKER;
use crate::nobody::{NOBODY, can_be_nobody};
use crate::order::{Allowed, Answer, Order, Task};
use crate::orphans::descendants;

/// How often a process that is waited for is looked after.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// What is passed on of our environment: no keys, no tokens.
const ENVIRONMENT: [&str; 4] = ["PATH", "LANG", "LC_ALL", "EXPSERVER_FULL_TESTS"];

pub struct Workplace {
    folder: TempDir,
    isolated: bool,
    allowed: Allowed,
    scratches: AtomicUsize,
}

impl Workplace {
    pub fn open(arguments: &Arguments) -> Result<Self> {
        let place = temporary_place();
        let folder = tempfile::Builder::new().prefix("grade-").tempdir_in(&place);
        let folder = folder.with_context(|| format!("make a folder in {}", place.display()))?;
        let mut workplace = Self {
            folder,
            isolated: true,
            allowed: Allowed::new(&arguments.limits),
            scratches: AtomicUsize::new(0),
        };
        if can_be_nobody() {
            // Nobody else may enter: the submissions are in there.
            chown(workplace.path(), None, Some(NOBODY)).context("chown the temporary folder")?;
            let group_may_enter = std::os::unix::fs::PermissionsExt::from_mode(0o710);
            fs::set_permissions(workplace.path(), group_may_enter)?;
        }
        if let Answer::NotIsolated(why) =
            workplace.carry_out(Task::Probe, Duration::from_secs(10))?
        {
            workplace.isolated = false;
            eprintln!(
                "grade: note: no namespaces here ({why}): programs are graded one at a time, \
                 with this machine's own network and files around them"
            );
        }
        Ok(workplace)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether each task has a network of its own.
    pub fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Removes the temporary folder with all that programs have left in it.
    pub fn close(self) {
        let path = self.folder.keep();
        if let Err(error) = remove_tree(&path) {
            eprintln!("grade: cannot remove {}: {error}", path.display());
        }
    }

    /// In a process of its own, which has so long to answer.
    pub fn carry_out(&self, task: Task, time: Duration) -> Result<Answer> {
        let scratch = self.new_scratch().context("make a temporary folder")?;
        let order = Order {
            isolated: self.isolated,
            scratch: scratch.clone(),
            allowed: self.allowed.clone(),
            task,
        };
        let answer = Worker::start(&order).and_then(|process| process.answer(time));
        let _ = remove_tree(&scratch); // once more at the end
        answer
    }

    fn new_scratch(&self) -> Result<PathBuf> {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        let scratch = self.path().join(format!("run-{number}"));
        fs::create_dir(&scratch)?;
        if can_be_nobody() {
            chown(&scratch, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(scratch)
    }
}

/// Where temporary folders go: where somebody else can get at them when root grades.
fn temporary_place() -> PathBuf {
    let usual = std::env::temp_dir();
    match can_be_nobody() && !is_open_to_all(&usual) {
        true => PathBuf::from("/tmp"),
        false => usual,
    }
}

/// A launcher and all that is below it.
struct Worker {
    child: Child,
    /// What the launcher says on stderr: nothing, unless the grader itself fails.
    complaints: File,
}

impl Worker {
    fn start(order: &Order) -> Result<Self> {
        let complaints = tempfile::tempfile()?;
        let passed_on = ENVIRONMENT
            .iter()
            .filter_map(|&name| Some((name, std::env::var_os(name)?)));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(WORKER)
            .env_clear()
            .envs(passed_on)
            .env("HOME", &order.scratch)
            .env("TMPDIR", &order.scratch)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?);
        if order.isolated {
            command.env(own_network::INSIDE, "1");
        }
        let mut child = command.spawn().context("start the grader once more")?;
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(&serde_json::to_vec(order)?)?;
        Ok(Self { child, complaints })
    }

    /// Waits for its answer and its end, or ends it.
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
            let what = format!("the check was not over after {} s", time.as_secs());
            return Ok(Answer::failed("no answer in time", &what));
        }
        match serde_json::from_slice(&text) {
            Ok(answer) => Ok(answer),
            Err(_) if is_interrupted() => Ok(Answer::Trouble("interrupted".to_owned())),
            Err(_) => self.explain_silence(),
        }
    }

    /// A grader that fails says why. One that is killed says nothing; without namespaces
    /// a program can do that to it.
    fn explain_silence(&mut self) -> Result<Answer> {
        let mut said = String::new();
        self.complaints.rewind()?;
        self.complaints.read_to_string(&mut said)?;
        Ok(match said.trim_end() {
            "" => Answer::failed(
                "the check was killed",
                "the program has ended the process that checks it",
            ),
            said => Answer::Trouble(format!("the checking process has failed: {said}")),
        })
    }

    /// Ends what the launcher has started; then it ends itself.
    fn end(&self) {
        let launcher = Pid::from_raw(self.child.id() as i32);
        let below = descendants(launcher);
        let first = below.first().copied().unwrap_or(launcher);
        let _ = kill(first, Signal::SIGKILL); // gone already: fine
    }
}
