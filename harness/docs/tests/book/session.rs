//! Terminal sessions, replayed with the real programs. A comment before each `console` block
//! says what the block is:
//!
//! ```text
//! <!-- server -->                       started first; its output is compared at the end
//! <!-- client -->                       commands that run to their end, one by one
//! <!-- client types: hello | ab -->     one command on a terminal, and what is typed
//! <!-- grading -->                      commands without a server, `cargo grade` above all
//! <!-- not replayed: why -->
//! ```
//!
//! The first server after a client begins a new session. A page shows the course's ports;
//! here the servers get free ones. A server of phase 1 listens on several ports, so its
//! session is replayed in a network of its own, on the ports that the page shows. `^C` in a
//! block means SIGINT at that place. The blocks of a grading share a folder, in which
//! `harness` is a link to that of the repository. Times are not compared.

use std::fs;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::host::{find_tool, in_own_network};
use harness::own_network;
use harness::program::announced_addresses;
use libtest_mimic::Trial;
use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::options::Programs;
use crate::page::Page;

/// No step of a session takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clients, which need the option `--port` here because the server has another port.
const CLIENTS: &[&str] = &[
    "stage02-tcp-client",
    "multi-client",
    "udp-client",
    "file-client",
];
/// The tools that sessions may need and that are not part of this workspace.
const TOOLS: &[&str] = &["nc.openbsd", "curl", "strace", "cc", "make"];
/// A server with this name uses the ports that the page shows.
const FIXED_PORTS: &str = "phase1-expserver";

#[derive(Clone, Default)]
pub struct Session {
    line: usize,
    servers: Vec<String>,
    clients: Vec<Terminal>,
}

#[derive(Clone)]
struct Terminal {
    shown: String,
    typed: Vec<String>,
}

/// One test for each session. It is ignored when a program or a tool is missing; then its
/// name says which.
pub fn tests(page: &Page, programs: &Arc<Programs>) -> Vec<Trial> {
    let (sessions, problems) = sessions(page);
    let mut tests = Vec::new();
    for (number, session) in (1..).zip(sessions) {
        let missing = session.missing(programs);
        let mut name = format!("{}: session {number}", page.path);
        if let Some(missing) = &missing {
            name += &format!(" (needs {missing})");
        }
        let (programs, again) = (Arc::clone(programs), name.clone());
        let place = format!("{}:{}", page.path, session.line);
        let test = move || match session.has_fixed_ports() && !in_own_network() {
            true => own_network::run_again(&again),
            false => replay(&session, &programs).map_err(|e| format!("{place}: {e}").into()),
        };
        tests.push(Trial::test(name, test).with_ignored_flag(missing.is_some()));
    }
    let name = format!("{}: sessions are marked", page.path);
    tests.push(Trial::test(name, move || crate::verdict(problems)));
    tests
}

/// The sessions of a page, and a problem for each block without a marker.
pub fn sessions(page: &Page) -> (Vec<Session>, Vec<String>) {
    let (mut sessions, mut problems): (Vec<Session>, _) = (Vec::new(), Vec::new());
    for block in page
        .blocks()
        .iter()
        .filter(|block| block.language == "console")
    {
        let shown = block.body.to_owned();
        let marker = block.marker.unwrap_or_default();
        let typed = marker.strip_prefix("client types: ");
        let typed = typed.map(|typed| typed.split(" | ").map(str::to_owned).collect());
        match (sessions.last_mut(), marker) {
            (Some(session), "server") if session.clients.is_empty() => session.servers.push(shown),
            (_, "server") => sessions.push(Session {
                line: block.line,
                servers: vec![shown],
                clients: Vec::new(),
            }),
            (Some(session), _) if marker == "client" || typed.is_some() => {
                let typed = typed.unwrap_or_default();
                session.clients.push(Terminal { shown, typed });
            }
            (last, "grading") => {
                let client = Terminal {
                    shown,
                    typed: Vec::new(),
                };
                match last.filter(|session| session.is_grading()) {
                    Some(session) => session.clients.push(client),
                    None => sessions.push(Session {
                        line: block.line,
                        servers: Vec::new(),
                        clients: vec![client],
                    }),
                }
            }
            (_, marker) if marker.starts_with("not replayed: ") => {}
            _ => problems.push(format!(
                "{}:{}: session without a marker",
                page.path, block.line
            )),
        }
    }
    (sessions, problems)
}

impl Session {
    /// Whether it is a grading: a session without a server.
    fn is_grading(&self) -> bool {
        self.servers.is_empty()
    }

    fn has_fixed_ports(&self) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|shown| first_command(shown).0.contains(FIXED_PORTS))
    }

    fn missing(&self, programs: &Programs) -> Option<String> {
        let blocks = self
            .servers
            .iter()
            .chain(self.clients.iter().map(|client| &client.shown));
        let lines = blocks.flat_map(|block| block.lines());
        let commands: Vec<String> = lines
            .filter_map(|line| line.strip_prefix("$ "))
            .map(|command| translated(command, &[], &|name| Some(name.to_owned())))
            .collect();
        let words = || {
            commands
                .iter()
                .flat_map(|command| command.split([' ', ';', '|']))
        };
        let tool = words().find(|word| TOOLS.contains(word) && find_tool(word).is_none());
        let program = words().find(|word| programs.is_known(word) && programs.path(word).is_none());
        let network = self.has_fixed_ports() && !own_network::is_possible()
            || self.is_grading() && !isolates(programs);
        let network = network.then_some("a network of its own");
        tool.or(program).or(network).map(str::to_owned)
    }
}

/// Whether the grader has namespaces here. It prints a note when it does not.
fn isolates(programs: &Programs) -> bool {
    let words = [
        "--stage",
        "1",
        "--only",
        "stage01/reverses-a-line",
        "--",
        "/bin/true",
    ];
    let grade = programs
        .path("grade")
        .map(|grade| Command::new(grade).args(words).output());
    let output = grade.and_then(Result::ok);
    output.is_some_and(|output| !String::from_utf8_lossy(&output.stderr).contains("no namespaces"))
}

/// Runs a session, and compares what the terminals show.
pub fn replay(session: &Session, programs: &Programs) -> Result<(), String> {
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    if session.is_grading() {
        let harness = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        harness
            .and_then(|harness| symlink(harness, folder.path().join("harness")))
            .map_err(|error| error.to_string())?;
    }
    let path = |name: &str| Some(programs.path(name)?.display().to_string());
    let mut ports = Vec::new();
    let mut servers = Vec::new();
    let fixed = session.has_fixed_ports();
    for shown in &session.servers {
        let (command, rest) = first_command(shown);
        let mut command = translated(command, &ports, &path);
        if !fixed {
            command = with_free_port(&command);
        }
        let running = Running::start(&command, &folder, None)?;
        let places = running.announced_ports(announced_addresses(rest).len().max(1))?;
        if !fixed {
            ports.push((shown_port(first_command(shown).0), places[0].port()));
        }
        servers.push((running, shown, rest));
    }
    for client in &session.clients {
        let got = match client.typed.as_slice() {
            [] => run(&client.shown, &ports, &path, &folder)?,
            typed => converse(client, typed, &ports, &path, &folder)?,
        };
        let got = as_shown(&got, &ports);
        match session.is_grading() {
            true => compare(&without_times(&client.shown), &without_times(&got))?,
            false => compare(&client.shown, &got)?,
        }
    }
    for (mut running, shown, rest) in servers.into_iter().rev() {
        let (output, then) = rest
            .split_once("$ echo $?\n")
            .map_or((rest, ""), |parts| parts);
        if let Some((before, _)) = output.split_once("^C\n") {
            running.wait_until(|text| as_shown(text, &ports) == before);
            running.interrupt();
        }
        let code = running.wait()?;
        let mut got = as_shown(&running.text(), &ports);
        if !then.is_empty() {
            got += &format!("$ echo $?\n{code}\n");
        }
        let (command, _) = first_command(shown);
        compare(&shown.replace("^C\n", ""), &format!("$ {command}\n{got}"))?;
    }
    Ok(())
}

fn compare(shown: &str, got: &str) -> Result<(), String> {
    if shown == got {
        return Ok(());
    }
    Err(format!(
        "the page shows:\n{shown}\nthe programs printed:\n{got}"
    ))
}

/// Splits a block into its first command and the rest.
fn first_command(shown: &str) -> (&str, &str) {
    let (command, rest) = shown.split_once('\n').unwrap_or((shown, ""));
    (command.strip_prefix("$ ").unwrap_or(command), rest)
}

fn shown_port(command: &str) -> u16 {
    let words: Vec<&str> = command.split_whitespace().collect();
    let option = words.iter().position(|&word| word == "--port");
    option
        .and_then(|at| words.get(at + 1)?.parse().ok())
        .unwrap_or(8080)
}

fn with_free_port(command: &str) -> String {
    match command.split_once(" --port ") {
        Some((before, after)) => {
            let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{before} --port 0 {rest}")
        }
        None => format!("{command} --port 0"),
    }
}

/// The command as it is run here: with the paths of our programs, and the real ports.
fn translated(
    command: &str,
    ports: &[(u16, u16)],
    path: &dyn Fn(&str) -> Option<String>,
) -> String {
    let parts = command.split_inclusive(['|', ';']);
    let part = |part: &str| {
        let words: Vec<&str> = part.split(' ').collect();
        if let Some(at) = words.windows(2).position(|pair| pair == ["cargo", "grade"]) {
            let grade = path("grade").unwrap_or("grade".to_owned());
            return [&words[..at], &[grade.as_str()], &words[at + 2..]]
                .concat()
                .join(" ");
        }
        let Some(at) = words.windows(2).position(|pair| pair == ["cargo", "run"]) else {
            return words
                .iter()
                .map(|&word| tool(word))
                .collect::<Vec<_>>()
                .join(" ");
        };
        let option = |name| {
            let at = words.iter().position(|&word| word == name)?;
            words.get(at + 1).copied()
        };
        let name = option("--bin").or(option("-p")).unwrap_or_default();
        let name_at = words.iter().rposition(|&word| word == name).unwrap_or(at);
        let rest = words[name_at + 1..].join(" ");
        let rest = rest.strip_prefix("--").unwrap_or(&rest).trim_start();
        let mut program = path(name).unwrap_or(name.to_owned());
        if let Some((shown, _)) = ports.last()
            && CLIENTS.contains(&name)
            && !part.contains("--port")
        {
            program += &format!(" --port {shown}");
        }
        if let [(shown, _)] = ports
            && name == "stage05-proxy"
            && !part.contains("--upstream")
        {
            program += &format!(" --upstream 127.0.0.1:{shown}");
        }
        format!("{} {program} {rest}", words[..at].join(" "))
            .trim()
            .to_owned()
    };
    let command: String = parts.map(part).collect();
    let swap = |text: String, &(shown, real): &(u16, u16)| replace_number(&text, shown, real);
    ports.iter().fold(command, swap)
}

/// The pages are written for OpenBSD's netcat: see `reference/netcat.md`.
fn tool(word: &str) -> &str {
    if word == "nc" { "nc.openbsd" } else { word }
}

fn as_shown(text: &str, ports: &[(u16, u16)]) -> String {
    let text = without_colors(&text.replace("\r\n", "\n"));
    ports.iter().fold(text, |text, &(shown, real)| {
        replace_number(&text, real, shown)
    })
}

fn without_colors(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let plain = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(plain, |plain, piece| {
        plain + piece.split_once('m').map_or(piece, |(_, rest)| rest)
    })
}

/// Replaces each decimal fraction, and the blanks before it, by ` 0.0`.
fn without_times(text: &str) -> String {
    let mut plain = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_digit() && c != '.') {
        let number = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
        if number.split('.').count() == 2 && number.len() > 2 && !number.starts_with('.') {
            let before = plain.trim_end_matches(' ').len();
            plain.truncate(before);
            plain += " 0.0";
            plain += &piece[number.len()..];
        } else {
            plain += piece;
        }
    }
    plain
}

/// Replaces `from` by `to` where it is a whole number, not a part of one.
fn replace_number(text: &str, from: u16, to: u16) -> String {
    let pieces = text.split_inclusive(|c: char| !c.is_ascii_digit());
    let piece = |piece: &str| {
        let digits = piece.trim_end_matches(|c: char| !c.is_ascii_digit());
        let rest = &piece[digits.len()..];
        if digits == from.to_string() {
            format!("{to}{rest}")
        } else {
            piece.to_owned()
        }
    };
    pieces.map(piece).collect()
}

/// Runs all commands of a block in one shell, which also prints them with their prompts.
fn run(
    shown: &str,
    ports: &[(u16, u16)],
    path: &dyn Fn(&str) -> Option<String>,
    folder: &TempDir,
) -> Result<String, String> {
    let commands = shown.lines().filter_map(|line| line.strip_prefix("$ "));
    let script: String = commands
        .map(|command| {
            let quoted = command.replace('\'', r"'\''");
            let command = translated(command, ports, path);
            format!("s=$?; printf '$ %s\\n' '{quoted}'; (exit $s)\n{command}\n")
        })
        .collect();
    let mut running = Running::start(&script, folder, None)?;
    running.wait()?;
    Ok(running.text())
}

/// Types each line when the terminal shows the text that precedes it.
fn converse(
    client: &Terminal,
    typed: &[String],
    ports: &[(u16, u16)],
    path: &dyn Fn(&str) -> Option<String>,
    folder: &TempDir,
) -> Result<String, String> {
    let (command, shown) = first_command(&client.shown);
    let pty = openpty(None, None).map_err(|errno| errno.to_string())?;
    let mut keyboard = File::from(pty.master.try_clone().unwrap());
    let terminal = Some((pty.master, pty.slave));
    let mut running = Running::start(&translated(command, ports, path), folder, terminal)?;
    let mut at = 0;
    for line in typed {
        let found = shown[at..].find(&format!("{line}\n"));
        let begin = at
            + found.ok_or(format!(
                "the marker types `{line}`, but the block does not show it"
            ))?;
        running.wait_until(|text| as_shown(text, ports) == shown[..begin]);
        writeln!(keyboard, "{line}").map_err(|error| error.to_string())?;
        at = begin + line.len() + 1;
    }
    let (before, interrupted) = match shown.strip_suffix("^C\n") {
        Some(before) => (before, true),
        None => (shown, false),
    };
    // When its input ends, a program may still end its last line.
    let all_but_end = before.strip_suffix('\n').unwrap_or(before);
    running.wait_until(|text| [before, all_but_end].contains(&as_shown(text, ports).as_str()));
    if interrupted {
        running.interrupt();
    } else {
        let _ = keyboard.write_all(b"\x04"); // Ctrl-D; the program may have ended already
    }
    running.wait()?;
    let end = if interrupted { "^C\n" } else { "" };
    Ok(format!("$ {command}\n{}{end}", running.text()))
}

/// A running program in its own process group, and what it has printed.
struct Running {
    child: Child,
    output: Arc<Output>,
    command: String,
}

#[derive(Default)]
struct Output {
    /// The text, and whether it is complete.
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Running {
    /// Starts a command on a terminal, given as its two ends. Without one, stdin is empty.
    fn start(
        command: &str,
        folder: &TempDir,
        terminal: Option<(OwnedFd, OwnedFd)>,
    ) -> Result<Running, String> {
        let (input, (from, to)): (Stdio, (OwnedFd, OwnedFd)) = match terminal {
            Some((ours, its)) => (its.try_clone().unwrap().into(), (ours, its)),
            None => {
                let (from, to) = pipe().map_err(|error| error.to_string())?;
                (Stdio::null(), (from.into(), to.into()))
            }
        };
        let exec = if command.contains('\n') { "" } else { "exec " };
        let exec = if command.contains(['|', ';']) {
            ""
        } else {
            exec
        };
        let child = Command::new("sh")
            .args(["-c", &format!("{exec}{command}")])
            .current_dir(folder.path())
            .env_remove("RUST_LOG")
            .stdin(input)
            .stdout(to.try_clone().unwrap())
            .stderr(to)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{command}: {error}"))?;
        let output = Arc::new(Output::default());
        let shared = Arc::clone(&output);
        thread::spawn(move || shared.collect(File::from(from)));
        let command = command.to_owned();
        Ok(Running {
            child,
            output,
            command,
        })
    }

    fn text(&self) -> String {
        self.output.text.lock().unwrap().0.clone()
    }

    /// Waits until it has printed enough. If it never does, the later comparison fails.
    fn wait_until(&self, enough: impl Fn(&str) -> bool) -> bool {
        let state = self.output.text.lock().unwrap();
        let waiting = |state: &mut (String, bool)| !enough(&state.0) && !state.1;
        let waited = self
            .output
            .changed
            .wait_timeout_while(state, PATIENCE, waiting);
        enough(&waited.unwrap().0.0)
    }

    /// Waits until it has announced `count` ports. Returns the addresses.
    fn announced_ports(&self, count: usize) -> Result<Vec<SocketAddr>, String> {
        if !self.wait_until(|text| announced_addresses(text).len() >= count) {
            return Err(format!(
                "{}: does not listen:\n{}",
                self.command,
                self.text()
            ));
        }
        Ok(announced_addresses(&self.text()))
    }

    /// Ctrl-C, which a terminal sends to all processes of a command. If the tests run with
    /// SIGINT ignored, as a background job does (signal(7)), a program may inherit that and
    /// keep it. Then it gets SIGTERM instead.
    fn interrupt(&self) {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let has_sigint = |name: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix(name));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.unwrap_or_default() & (1 << (Signal::SIGINT as u64 - 1)) != 0
        };
        // A blocked signal stays pending, even if it is ignored: a signalfd receives it.
        let signal = match has_sigint("SigIgn:") && !has_sigint("SigBlk:") {
            true => Signal::SIGTERM,
            false => Signal::SIGINT,
        };
        let _ = killpg(Pid::from_raw(pid as i32), signal);
    }

    /// Waits for its end and the end of its output. Returns the exit status.
    fn wait(&mut self) -> Result<i32, String> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    return Err(format!("{}: does not end:\n{}", self.command, self.text()));
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        self.wait_until(|_| false);
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl Output {
    fn collect(&self, mut from: File) {
        let mut chunk = [0; 4096];
        // A terminal ends with the error EIO when its last program has closed it.
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..count]).into_owned();
            self.text.lock().unwrap().0 += &text;
            self.changed.notify_all();
        }
        self.text.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}
