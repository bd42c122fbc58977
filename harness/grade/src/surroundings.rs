//! What a program finds around it: which variables of the environment it gets, and which places
//! of the machine are hidden from it.
//!
//! A submission builds with the toolchains of the instructor's shell. These may lie in the
//! instructor's home, which is hidden otherwise.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::arguments::Arguments;
use crate::nobody::can_be_nobody;
use crate::order::{Subject, Task};
use crate::view::View;

/// Variables that are passed on. Others may hold keys and tokens.
const PASSED_ON: &[&str] = &[
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "SHELL",
    "JAVA_HOME",
    "EXPSERVER_FULL_TESTS",
];

/// Where toolchains are installed: the variable that says it, and the place in the home if there
/// is no such variable.
const TOOLCHAINS: &[(&str, &str)] = &[
    ("CARGO_HOME", ".cargo"),
    ("RUSTUP_HOME", ".rustup"),
    ("NVM_DIR", ".nvm"),
    ("FNM_DIR", ".local/share/fnm"),
    ("VOLTA_HOME", ".volta"),
    ("DENO_INSTALL", ".deno"),
    ("PYENV_ROOT", ".pyenv"),
    ("SDKMAN_DIR", ".sdkman"),
    ("GOPATH", "go"),
    ("ASDF_DATA_DIR", ".asdf"),
    ("MISE_DATA_DIR", ".local/share/mise"),
];

/// Passwords and tokens in these folders, and one folder that has no variable.
const SECRETS: &[&str] = &[
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
];
const MAVEN: &str = ".m2";

/// Where people keep their files.
const PEOPLE: &[&str] = &[
    "/home", "/root", "/srv", "/mnt", "/media", "/tmp", "/var/tmp",
];

/// Sockets of services of the machine: another network does not keep a program from them.
const SERVICES: &str = "/run";

/// Our own server sends files of this folder, if nobody names another one.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../phase1-expserver/public");

pub struct Surroundings {
    pub environment: Vec<(OsString, OsString)>,
    /// A submission is graded in a copy, so all it needs is in there. A program that is named on
    /// the command line may need the files beside it.
    in_a_copy: bool,
    toolchains: Vec<PathBuf>,
    /// The other submissions, the results, the answers.
    hidden: Vec<PathBuf>,
}

impl Surroundings {
    pub fn new(arguments: &Arguments) -> Self {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let toolchains = toolchains(&home);
        let mut environment: Vec<(OsString, OsString)> = env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                PASSED_ON.contains(&&*name) || name.starts_with("LC_")
            })
            .collect();
        for name in ["USER", "LOGNAME"] {
            let value = match can_be_nobody() {
                true => Some("nobody".into()),
                false => env::var_os(name),
            };
            environment.extend(value.map(|value| (name.into(), value)));
        }
        environment.extend(
            toolchains
                .iter()
                .map(|(name, folder)| (OsString::from(name), folder.clone().into())),
        );
        // Java looks for the home in /etc/passwd, not in HOME.
        let repository = home.join(MAVEN).join("repository");
        if repository.is_dir() {
            let option = format!("-Dmaven.repo.local={}", repository.display());
            environment.push(("MAVEN_OPTS".into(), option.into()));
        }
        let mut shown: Vec<PathBuf> = toolchains.into_iter().map(|(_, folder)| folder).collect();
        shown.push(home.join(MAVEN));
        shown.extend(on_path(&home));
        for name in &arguments.env {
            let Some(value) = env::var_os(name) else {
                continue;
            };
            shown.push(PathBuf::from(&value));
            environment.push((name.into(), value));
        }
        shown.retain(|path| path.is_absolute() && path.is_dir() && path.parent().is_some());
        Self {
            environment,
            in_a_copy: in_a_copy(arguments),
            toolchains: shown,
            hidden: hidden(arguments),
        }
    }

    /// What a process for this task sees. `scratch` lies in `workplace`.
    pub fn view(&self, task: &Task, workplace: &Path, scratch: &Path) -> Vec<View> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let mut view = vec![View::Hidden(SERVICES.into())];
        if self.in_a_copy {
            let people = PEOPLE.iter().map(PathBuf::from);
            let people = people.chain(home.parent().is_some().then_some(home.clone()));
            view.extend(people.map(View::Hidden));
        }
        view.extend(self.toolchains.iter().cloned().map(View::Shown));
        let secrets = SECRETS.iter().map(|name| home.join(name));
        let hidden = secrets.chain(self.hidden.iter().cloned());
        view.extend(hidden.map(View::Hidden));
        view.extend(fs::canonicalize(SAMPLES).ok().map(View::Shown));
        view.push(View::Hidden(workplace.to_owned()));
        view.push(View::Shown(scratch.to_owned()));
        match task {
            Task::Probe => {}
            Task::Build { folder, .. } => view.push(View::Shown(folder.clone())),
            Task::Check { subject, .. } => {
                view.extend(subject.folder.iter().cloned().map(View::Shown));
                // In a copy the words are the student's, who could name any file.
                if !self.in_a_copy {
                    let files = self.files_of(subject, workplace);
                    view.extend(files.into_iter().map(View::Shown));
                }
            }
        }
        view
    }

    /// The files that a command line names and that would be hidden.
    fn files_of(&self, subject: &Subject, workplace: &Path) -> Vec<PathBuf> {
        let hides = |path: &PathBuf| {
            let mut hidden = self.hidden.iter().map(PathBuf::as_path);
            let real = fs::canonicalize(path).unwrap_or_default();
            path.starts_with(workplace)
                || real.starts_with(SERVICES)
                || hidden.any(|place| real.starts_with(place))
        };
        let companions = subject.companions.iter().flat_map(|(_, words)| words);
        let words = subject.command.iter().chain(companions).map(PathBuf::from);
        words
            .filter(|path| path.is_absolute())
            .filter(hides)
            .collect()
    }
}

/// The toolchains that are installed.
fn toolchains(home: &Path) -> Vec<(&'static str, PathBuf)> {
    let found = TOOLCHAINS.iter().map(|&(variable, usual)| {
        let place = env::var_os(variable).map(PathBuf::from);
        (variable, place.unwrap_or_else(|| home.join(usual)))
    });
    found.filter(|(_, place)| place.is_dir()).collect()
}

/// The folders of the PATH. A program in `NAME/bin` mostly needs more of `NAME`. But `~/.local`
/// and the home itself hold other things.
fn on_path(home: &Path) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = Vec::new();
    for folder in env::split_paths(&path) {
        let mut hidden = PEOPLE
            .iter()
            .chain([&SERVICES])
            .map(Path::new)
            .chain([home]);
        if !hidden.any(|place| folder.starts_with(place)) {
            continue;
        }
        let above = folder.parent().filter(|_| folder.ends_with("bin"));
        let is_one_tool = |above: &&Path| !home.starts_with(above) && !above.ends_with(".local");
        folders.push(above.filter(is_one_tool).unwrap_or(&folder).to_owned());
    }
    folders
}

fn in_a_copy(arguments: &Arguments) -> bool {
    arguments.all.is_some() || arguments.folder.is_some()
}

/// What belongs to the workspace; a student's program may lie beside it.
fn answers(workspace: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(workspace).into_iter().flatten().flatten();
    let is_ours = |folder: &PathBuf| {
        let named = ["docs", "target", ".git"]
            .iter()
            .any(|name| folder.ends_with(name));
        named || folder.join("Cargo.toml").exists()
    };
    entries.map(|entry| entry.path()).filter(is_ours)
}

/// The submissions, the results, and this workspace: its programs are right answers.
fn hidden(arguments: &Arguments) -> Vec<PathBuf> {
    let mut hidden: Vec<PathBuf> = Vec::new();
    hidden.extend(arguments.all.clone());
    hidden.extend(arguments.results_file());
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    match in_a_copy(arguments) {
        true => hidden.push(workspace.to_owned()),
        false => hidden.extend(answers(workspace)),
    }
    // `target/debug/grade`, wherever the target folder is.
    let folder = env::current_exe().ok();
    let folder = folder.as_deref().and_then(Path::parent);
    hidden.extend(
        folder
            .filter(|folder| folder.ends_with("debug") || folder.ends_with("release"))
            .and_then(Path::parent)
            .map(Path::to_owned),
    );
    // A place may be named by a link, or from where we stand now.
    hidden.iter().flat_map(fs::canonicalize).collect()
}
