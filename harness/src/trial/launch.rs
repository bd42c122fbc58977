//! How a check starts a program, and waits until it listens.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;

use super::listening::{course_address, wait_for_announcement, wait_for_listeners};
use super::running::{MOST_GROWTH, MOST_GROWTH_OF_ANY_RUNTIME, Running, Server};
use super::state::Trial;
use crate::failure::{Failure, Verdict};
use crate::lock::lock;
use crate::process::{Input, Process, Setup, Sink};
use crate::program::{Ports, announced_addresses};
use crate::stage::Stage;

impl Trial<'_> {
    /// Starts the program as it is and waits until it listens.
    pub fn start(&self) -> Verdict<Server> {
        self.launch().start()
    }

    /// The program under test, to be started in some other way.
    pub fn launch(&self) -> Launch<'_> {
        Launch::new(self, self.program.command.clone(), self.program.ports)
    }

    /// Another binary of the stage.
    pub fn launch_companion(&self, name: &str) -> Verdict<Launch<'_>> {
        let command = self.program.find_companion(name);
        let command =
            command.ok_or_else(|| Failure::grader(name, "this stage has no such binary"))?;
        Ok(Launch::new(self, command.to_vec(), Ports::Announced))
    }

    /// An outside tool (`curl`), with its arguments.
    pub fn launch_tool(&self, command: &[&str]) -> Launch<'_> {
        let (tool, arguments) = command.split_at(command.len().min(1));
        // A tool must do the same for everybody: whatever its user has set up for it, and whatever
        // files the submission has in the folder in which it runs.
        let for_everybody: &[&str] = match tool {
            ["curl"] => &["-q", "--noproxy", "*"], // no .curlrc, no http_proxy
            ["python3"] => &["-I"],                // no PYTHON..., no modules of this folder
            _ => &[],
        };
        let command = [tool, for_everybody, arguments].concat();
        let command = command.iter().map(OsString::from).collect();
        Launch::new(self, command, Ports::Fixed).without_limits()
    }
}

/// A program about to be started.
#[must_use]
pub struct Launch<'t> {
    trial: &'t Trial<'t>,
    command: Vec<OsString>,
    /// How many words of the command are the program's own.
    own_words: usize,
    ports: Ports,
    roles: Vec<String>,
    /// How many listeners the options ask for, if they ask for any.
    listeners: Option<usize>,
    port: u16,
    setup: Setup,
}

impl<'t> Launch<'t> {
    pub(super) fn new(trial: &'t Trial, mut command: Vec<OsString>, ports: Ports) -> Self {
        // A program that is named by its path in the folder is run from the copy.
        let in_folder = |word: &&mut OsString| word.to_string_lossy().contains('/');
        if trial.program.folder.is_some()
            && let Some(program) = command.first_mut().filter(in_folder)
        {
            *program = trial.directory().join(&*program).into();
        }
        let setup = Setup {
            directory: trial.directory().to_owned(),
            limits: trial.limits(),
            read_only: trial.program.guarded.clone(),
            ..Setup::default()
        };
        Self {
            trial,
            own_words: command.len(),
            command,
            ports,
            roles: Vec::new(),
            listeners: None,
            port: 0,
            setup,
        }
    }

    /// For a tool of the check: the limits are for the program under test.
    pub(super) fn without_limits(mut self) -> Self {
        self.setup.limits.clear();
        self.setup.read_only = None;
        self
    }

    /// Options of this workspace's own programs; a check that adds any names them in
    /// its needs ([`crate::check::Need::Option`]).
    pub fn options<S: Into<OsString>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(options.into_iter().map(Into::into));
        self
    }

    /// Passes a proxy or a client its server's address. One with fixed ports knows it already.
    pub fn towards(self, option: &str, upstream: impl Display) -> Self {
        match self.ports {
            Ports::Announced => self.options([option.to_owned(), upstream.to_string()]),
            Ports::Fixed => self,
        }
    }

    /// Passes a client the address of this server. One with fixed ports knows it already.
    pub fn client_of(self, server: SocketAddr) -> Self {
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        match self.ports {
            Ports::Announced => {
                self.options(["--host".to_owned(), host, "--port".to_owned(), port])
            }
            Ports::Fixed => self,
        }
    }

    /// The modular server with a listener for each role, in this order.
    pub fn roles<S: AsRef<str>>(mut self, roles: &[S]) -> Self {
        self.roles = roles.iter().map(|role| role.as_ref().to_owned()).collect();
        self
    }

    /// The modular server as one of the course's stages, on the course's ports.
    pub fn preset(self, stage: u8) -> Self {
        let listeners = self.trial.fixed_ports().listeners.len();
        match self.ports {
            Ports::Announced => self
                .options(["--stage".to_owned(), stage.to_string()])
                .listeners(listeners),
            Ports::Fixed => self.listeners(listeners),
        }
    }

    /// Says how many listeners the options ask for. [`Launch::start`] then adds none.
    pub fn listeners(mut self, count: usize) -> Self {
        self.listeners = Some(count);
        self
    }

    /// Sets the working directory, instead of the program's folder. The program's own words may
    /// name files in that folder: `python3 server.py`, `java -cp . Server`.
    pub fn in_directory(mut self, directory: &Path) -> Self {
        if self.trial.program.folder.is_some() {
            for word in &mut self.command[..self.own_words] {
                let path = self.trial.directory().join(&*word);
                if !word.is_empty() && path.exists() {
                    *word = path.into();
                }
            }
        }
        self.setup.directory = directory.to_owned();
        self.setup.read_only = None;
        self
    }

    pub fn input(mut self, input: Input) -> Self {
        self.setup.input = input;
        self
    }

    pub fn stdout(mut self, sink: Sink) -> Self {
        self.setup.stdout = sink;
        self
    }

    pub fn stderr(mut self, sink: Sink) -> Self {
        self.setup.stderr = sink;
        self
    }

    /// A limit of the process (`setrlimit(2)`), soft and hard.
    pub fn limit(self, resource: Resource, limit: u64) -> Self {
        self.limits(resource, limit, limit)
    }

    /// A soft limit, which the process may raise up to the hard one.
    pub fn limits(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.setup.limits.push((resource, soft, hard));
        self
    }

    /// Starts it with this signal ignored, as a shell does after `trap '' CHLD`.
    pub fn ignoring(mut self, signal: Signal) -> Self {
        self.setup.ignored.push(signal);
        self
    }

    /// Sets the port to listen on. Without it, [`Launch::start`] takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Runs it as this user, which only root may do. It runs a copy of the program, in the
    /// check's folder, because the user may not be able to reach the original.
    pub fn user(self, id: u32) -> Verdict<Self> {
        let folder = self.trial.folder();
        let mut launch = self.in_directory(folder);
        let copy = folder.join("program");
        // Another process copies it, because a file that is open for writing cannot be run
        // (ETXTBSY). If we wrote it, a child that another thread starts at this moment could
        // inherit the open file.
        let copied = Command::new("cp")
            .arg(&launch.command[0])
            .arg(&copy)
            .status();
        let copied = copied.map_err(|error| Failure::grader("cp", error))?;
        if !copied.success() {
            return Err(Failure::grader("copy the program", copied));
        }
        for path in [folder, &copy] {
            let everybody = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, everybody)
                .map_err(|error| Failure::grader(path.display(), error))?;
        }
        launch.command[0] = copy.into();
        launch.setup.user = Some(id);
        Ok(launch)
    }

    /// Takes one of root's privileges from it, named as in `capabilities(7)`. For a user who
    /// does not have the privilege this changes nothing. Needs the tool `setpriv`.
    pub fn without_capability(self, name: &str) -> Self {
        self.through(&["setpriv", &format!("--bounding-set=-{name}")])
    }

    /// Lets a shell start it with these redirections.
    pub fn redirected(mut self, redirections: &str) -> Self {
        self.setup.read_only = None; // a file may be in the check's folder
        self.trial
            .step(format!("a shell starts the program with `{redirections}`"));
        self.in_shell(&format!("exec \"$0\" \"$@\" {redirections}"))
    }

    /// Lets it start with `ulimit -f 0`: it cannot write a byte to any file.
    pub fn without_files(self) -> Self {
        self.trial
            .step("a shell starts the program with `ulimit -f 0`");
        self.in_shell("ulimit -f 0 && exec \"$0\" \"$@\"")
    }

    fn in_shell(self, script: &str) -> Self {
        self.through(&["sh", "-c", script])
    }

    /// Lets its system calls fail as `fault` says, in the words of `strace --inject`. Needs
    /// [`Need::Strace`](crate::check::Need). With `-D`, strace runs in the background, and the
    /// program keeps its process number.
    pub fn with_failing_calls(self, fault: &str) -> Self {
        self.trial
            .step(format!("strace makes calls of the program fail: {fault}"));
        let calls = fault.split(':').next().unwrap_or_default();
        let (trace, inject) = (format!("-etrace={calls}"), format!("-einject={fault}"));
        self.through(&["strace", "-D", "-f", "-qq", "-o/dev/null", &trace, &inject])
    }

    /// Puts a program in front of it, which becomes the program.
    fn through(mut self, words: &[&str]) -> Self {
        let words = words.iter().map(OsString::from);
        self.setup.through.splice(..0, words);
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.setup
            .environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts a server and waits until it listens. If the check names no roles, the modular
    /// server reverses lines.
    pub fn start(mut self) -> Verdict<Server> {
        let modular = self.trial.stage == Stage::Phase1;
        if modular && self.roles.is_empty() && self.listeners.is_none() {
            self.roles = vec!["reverse".to_owned()];
        }
        let (trial, ports, roles) = (self.trial, self.ports, self.roles.clone());
        if ports == Ports::Announced && roles.is_empty() && self.listeners.is_none() {
            let port = self.port.to_string();
            self = self.options(["--port".to_owned(), port]);
        }
        let listeners = self.listeners.unwrap_or(roles.len()).max(1);
        if ports == Ports::Fixed {
            trial.end_server(); // the previous one has the same ports
        }
        let process = self.run()?.process;
        trial.keep_server(&process);
        let addresses = match ports {
            Ports::Announced => wait_for_announcement(trial, &process, listeners)?,
            Ports::Fixed if modular && !roles.is_empty() => {
                wait_for_listeners(trial, &process)?;
                let ports = trial.fixed_ports().listeners;
                roles
                    .iter()
                    .map(|role| course_address(&ports, role))
                    .collect()
            }
            Ports::Fixed => wait_for_listeners(trial, &process)?,
        };
        let (trace, deadline) = (trial.trace.clone(), trial.deadline);
        let most_growth = match ports {
            Ports::Announced => MOST_GROWTH,
            Ports::Fixed => MOST_GROWTH_OF_ANY_RUNTIME,
        };
        Ok(Server {
            process,
            addresses,
            trace,
            deadline,
            most_growth,
        })
    }

    /// Starts a server whose log goes elsewhere, so that it cannot say where it listens.
    pub fn start_unheard(mut self) -> Verdict<Server> {
        if self.ports == Ports::Fixed {
            return self.start();
        }
        if self.roles.is_empty() {
            self = self.options(["--port", "0"]);
        }
        self.run()?.into_server_found_by_the_kernel()
    }

    /// Starts a program that is not a server, or a server that must fail to start.
    pub fn run(mut self) -> Verdict<Running> {
        if self.ports == Ports::Announced {
            for role in std::mem::take(&mut self.roles) {
                let listener = format!("127.0.0.1:{}={role}", self.port);
                self = self.options(["--listen".to_owned(), listener]);
            }
        }
        let announced =
            |bytes: &[u8]| !announced_addresses(&String::from_utf8_lossy(bytes)).is_empty();
        let process = Arc::new(Process::start(&self.command, self.setup, announced)?);
        self.trial.step(format!(
            "the check starts `{}` (pid {})",
            process.name,
            process.pid()
        ));
        lock(&self.trial.processes).push(Arc::clone(&process));
        let (trace, deadline) = (self.trial.trace.clone(), self.trial.deadline);
        Ok(Running {
            process,
            trace,
            deadline,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::host::find_tool;
    use crate::program::Program;

    #[test]
    fn a_tool_does_not_do_what_our_user_has_set_up_for_it() {
        if find_tool("curl").is_none() {
            return;
        }
        let program = Program::announced("unused");
        let trial = Trial::new(Stage::Stage05, Duration::from_secs(30), &program).unwrap();
        std::fs::write(trial.folder().join(".curlrc"), "include\n").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            assert!(client.read(&mut [0; 1000]).unwrap() > 0);
            client.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n").unwrap();
        });
        let curl = trial.launch_tool(&["curl", "-sS", &url]);
        let curl = curl.environment("CURL_HOME", &trial.folder().to_string_lossy());
        let curl = curl.environment("http_proxy", "http://127.0.0.1:9");
        let curl = curl.run().unwrap();
        curl.expect_exit(0).unwrap();
        curl.expect_stdout(b"hello\n").unwrap();
    }
}
