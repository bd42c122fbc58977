//! Builds and checks at each save, and answers keys.

use std::io::{IsTerminal, Read, stdin};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::interrupt;
use harness::patience::set_patience;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::check::{self, Seen};
use crate::ladder::Ladder;
use crate::mine::Mine;
use crate::overview;
use crate::start;
use crate::terminal::{Colour, coloured, say};

/// A check of a program that is being written waits only this long for an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// An editor may write several files at a save: events within this time are one.
const ONE_SAVE: Duration = Duration::from_millis(50);

const KEYS: &str = "h hint · m more · t task · n next · p previous · d diff · r run · q quit";

enum Event {
    Saved,
    Key(u8),
    /// stdin has ended.
    NoKeys,
}

pub fn watch(root: &Path, mine: &Mine, ladder: &Ladder) -> Result<()> {
    set_patience(PATIENCE);
    let progress = mine.progress()?;
    let own = progress.begun(&ladder.name)?.own.as_ref();
    interrupt::catch(|| {}).context("cannot wait for SIGINT")?;
    let (events, seen) = channel();
    let folder = own.map_or(mine.package(&ladder.package), |own| own.folder.clone());
    let _watcher = watch_folder(&folder, events.clone())?;
    let _keys = Keys::listen(events)?;

    let mut number = overview::next(ladder, &progress);
    let mut more = String::new();
    overview::task(ladder, number, mine);
    loop {
        let now = chrono::Local::now().format("%H:%M:%S");
        println!("\n{}", coloured(Colour::Faint, &format!("── {now}")));
        match check::look(root, mine, ladder, number)? {
            Seen::Red(whole) => more = whole,
            Seen::Green => {
                let next = overview::next(ladder, &mine.progress()?);
                if next != number && next > number {
                    number = next;
                    println!();
                    overview::task(ladder, number, mine);
                }
            }
        }
        println!("{}", coloured(Colour::Faint, KEYS));
        if !answer_keys(&seen, root, mine, ladder, &mut number, &more)? {
            return Ok(());
        }
    }
}

/// Answers keys until a file is saved. Whether to go on.
fn answer_keys(
    events: &Receiver<Event>,
    root: &Path,
    mine: &Mine,
    ladder: &Ladder,
    number: &mut usize,
    more: &str,
) -> Result<bool> {
    loop {
        interrupt::check()?;
        let key = match events.recv_timeout(Duration::from_millis(100)) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Ok(Event::Saved) => {
                while let Ok(Event::Saved) = events.recv_timeout(ONE_SAVE) {}
                return Ok(true);
            }
            Ok(Event::NoKeys) => continue,
            Ok(Event::Key(key)) => key,
        };
        let said = match key {
            b'q' => return Ok(false),
            b'r' => return Ok(true),
            b'h' => overview::hint(mine, ladder, *number),
            b'd' => start::diff(root, mine, ladder, Some(*number), false),
            b'm' => {
                say("  ", more);
                Ok(())
            }
            b'n' | b'p' | b't' => {
                *number = match key {
                    b'n' => (*number + 1).min(ladder.tasks.len() - 1),
                    b'p' => number.saturating_sub(1),
                    _ => *number,
                };
                overview::task(ladder, *number, mine);
                if key == b't' {
                    continue;
                }
                return Ok(true);
            }
            _ => {
                println!("{}", coloured(Colour::Faint, KEYS));
                continue;
            }
        };
        if let Err(error) = said {
            say("", &format!("{error:#}"));
        }
    }
}

/// Tells when a file in `folder` is written, made, renamed or removed.
fn watch_folder(folder: &Path, events: Sender<Event>) -> Result<impl Watcher> {
    let is_source = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let hidden = name.starts_with('.') || name.ends_with('~') || name.starts_with("4913");
        !hidden && !path.components().any(|part| part.as_os_str() == "target")
    };
    let tell = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let counts = match event.kind {
            EventKind::Access(_) => false,
            EventKind::Modify(notify::event::ModifyKind::Metadata(_)) => false,
            _ => event.paths.iter().any(is_source),
        };
        if counts {
            // The watcher outlives the loop by a moment.
            let _ = events.send(Event::Saved);
        }
    };
    let mut watcher = notify::recommended_watcher(tell).context("cannot watch files")?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .with_context(|| format!("cannot watch {}", folder.display()))?;
    Ok(watcher)
}

/// The keys of the terminal, one by one and unseen. Dropped, the terminal is as it was.
struct Keys {
    before: Option<Termios>,
}

impl Keys {
    fn listen(events: Sender<Event>) -> Result<Keys> {
        let terminal = stdin();
        let before = if terminal.is_terminal() {
            let before = tcgetattr(terminal.as_fd()).context("cannot read the terminal's mode")?;
            let mut mode = before.clone();
            mode.local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(terminal.as_fd(), SetArg::TCSANOW, &mode)
                .context("cannot set the terminal's mode")?;
            Some(before)
        } else {
            None
        };
        let read = move || {
            for key in stdin().lock().bytes() {
                let Ok(key) = key else { break };
                if events.send(Event::Key(key)).is_err() {
                    return;
                }
            }
            let _ = events.send(Event::NoKeys);
        };
        thread::Builder::new()
            .spawn(read)
            .context("cannot start a thread")?;
        Ok(Keys { before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin().as_fd(), SetArg::TCSANOW, before);
        }
    }
}
