//! What is graded: one program, or a folder with one sub-folder for each student.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use harness::folder::is_open_to_all;
use harness::foreign;
use harness::host::find_tool;
use harness::process::display;
use harness::stage::Stage;

use crate::arguments::Arguments;
use crate::files;
use crate::nobody::can_be_nobody;
use crate::order::Subject;
use crate::recipe::{self, Recipe};

/// One program of one student.
pub struct Submission {
    pub name: String,
    pub stage: Stage,
    /// The student's folder, which is only read.
    pub source: Option<PathBuf>,
    /// A shell command that builds the program, in a copy of the folder.
    pub build: Option<String>,
    /// The program, or why there is none.
    pub subject: Result<Subject, String>,
}

/// The program that is given on the command line.
pub fn of_command(stage: Stage, arguments: &Arguments) -> Result<Submission> {
    if let Some(folder) = &arguments.folder {
        ensure!(
            folder.is_dir(),
            "--folder {}: no such folder",
            folder.display()
        );
    }
    let mut command = arguments.program.clone();
    command[0] = find_program(&command[0], arguments.folder.as_deref())?;
    for word in &mut command[1..] {
        // It runs in another folder, where our relative paths do not work.
        if arguments.folder.is_none() && Path::new(word).exists() {
            *word = std::path::absolute(&word)?.into();
        }
    }
    Ok(Submission {
        name: display(&arguments.program),
        stage,
        source: arguments.folder.clone(),
        build: None,
        subject: Ok(Subject {
            command,
            workspace_options: arguments.workspace_options,
            ..Subject::default()
        }),
    })
}

/// A name with a `/` is a path; another is looked up on the PATH, as in a shell.
fn find_program(name: &OsStr, folder: Option<&Path>) -> Result<OsString> {
    let shown = name.to_string_lossy();
    if !shown.contains('/') {
        let found = find_on_path(&shown);
        let hint = match Path::new(name).is_file() {
            true => format!("; there is one in this folder: ./{shown}"),
            false => String::new(),
        };
        return Ok(found
            .with_context(|| format!("no program `{shown}` on the PATH{hint}"))?
            .into());
    }
    let path = match folder {
        Some(folder) => folder.join(name),
        None => PathBuf::from(name),
    };
    let metadata = fs::metadata(&path)
        .with_context(|| format!("no program to grade at {}", path.display()))?;
    ensure!(
        !metadata.is_dir(),
        "{shown} is a folder, not a program; to grade a folder of submissions: --all {shown}"
    );
    if metadata.permissions().mode() & 0o111 == 0 {
        let hint = match path.extension().and_then(OsStr::to_str) {
            Some("c") => format!(
                "; compile it first: cc -pthread -o {0} {0}.c",
                shown.trim_end_matches(".c")
            ),
            _ => format!("; if it is a program: chmod +x {shown}"),
        };
        bail!("{shown} is not executable{hint}");
    }
    ensure!(!of_windows(&path), with_carriage_return(&shown));
    match folder {
        Some(_) => Ok(name.to_owned()),
        None => Ok(std::path::absolute(&path)?.into()),
    }
}

/// The first program of this name that the user who will run it can reach.
fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let in_reach = |folder: &PathBuf| !can_be_nobody() || is_open_to_all(folder);
    let folders = std::env::split_paths(&path).filter(in_reach);
    let mut places = folders.map(|folder| folder.join(name));
    places
        .find(|place| place.is_file())
        .or_else(|| find_tool(name))
}

/// One submission for each stage of each sub-folder. A folder that names no stage is graded for
/// those that the others name.
pub fn find_all(all: &Path, arguments: &Arguments) -> Result<Vec<Submission>> {
    let what = || format!("cannot read the submissions in {}", all.display());
    let mut students = Vec::new();
    for entry in fs::read_dir(all).with_context(what)? {
        let entry = entry.with_context(what)?;
        let name = foreign::line(entry.file_name().as_encoded_bytes());
        // macOS puts a folder of its own into each archive.
        let is_hidden = name.starts_with('.') || name == "__MACOSX";
        if entry.path().is_dir() && !is_hidden {
            let source = std::path::absolute(entry.path())?;
            let recipe = recipe::read(&source);
            students.push((name, source, recipe));
        }
    }
    ensure!(
        !students.is_empty(),
        "no submissions in {}: it has no sub-folders",
        all.display()
    );
    students.sort_by(|one, other| one.1.cmp(&other.1));
    let named = |stage: &Stage| {
        let recipes = students.iter().flat_map(|(_, _, recipe)| recipe);
        let mut stages = recipes.flatten().flat_map(|recipe| &recipe.stages);
        stages.any(|(named, _)| named == stage)
    };
    let stages: Vec<Stage> = match arguments.stage {
        Some(stage) => vec![stage],
        None => Stage::ALL.into_iter().filter(named).collect(),
    };
    ensure!(
        !stages.is_empty(),
        "no grade.toml in {} names a stage; choose one, for example --stage 4",
        all.display()
    );
    let submissions = students.into_iter().flat_map(|(name, source, recipe)| {
        let stages = of_student(&source, recipe, &stages);
        stages
            .into_iter()
            .map(move |(build, stage, subject)| Submission {
                name: name.clone(),
                stage,
                source: Some(source.clone()),
                build,
                subject,
            })
    });
    Ok(submissions.collect())
}

/// How to build, and what to run, for each of these stages. A student's mistake costs that
/// student's points.
fn of_student(
    source: &Path,
    recipe: Result<Option<Recipe>, String>,
    stages: &[Stage],
) -> Vec<(Option<String>, Stage, Result<Subject, String>)> {
    let recipe = match recipe {
        Ok(Some(recipe)) => recipe,
        Ok(None) => {
            let named = stages.iter().flat_map(|&stage| {
                let recipe = recipe::by_name(source, stage);
                let build = recipe.build;
                let stages = recipe.stages.into_iter();
                stages.map(move |(stage, subject)| (build.clone(), stage, subject))
            });
            return named.collect();
        }
        Err(why) => {
            let wrong = stages.iter().map(|&stage| (None, stage, Err(why.clone())));
            return wrong.collect();
        }
    };
    let build = recipe.build;
    let wanted = recipe.stages.into_iter();
    let mut wanted: Vec<_> = wanted
        .filter(|(stage, _)| stages.contains(stage))
        .map(|(stage, subject)| (build.clone(), stage, subject))
        .collect();
    if wanted.is_empty() {
        wanted.extend(stages.iter().map(|&stage| {
            let why = format!("its grade.toml has no [stage.{}]", stage.number());
            (None, stage, Err(why))
        }));
    }
    wanted
}

/// Archives beside the folders of the students: perhaps submissions that are not unpacked.
pub fn archives(all: &Path) -> Vec<String> {
    const ENDINGS: [&str; 8] = ["zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar"];
    let paths = fs::read_dir(all).into_iter().flatten().flatten();
    let is_archive = |path: &PathBuf| {
        let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        ENDINGS.contains(&ending.to_lowercase().as_str()) && path.is_file()
    };
    let archives = paths.map(|entry| entry.path()).filter(is_archive);
    let mut names: Vec<String> = archives
        .filter_map(|path| Some(foreign::line(path.file_name()?.as_encoded_bytes())))
        .collect();
    names.sort();
    names
}

/// Why the program of a submission cannot be started, seen from the folder that was built.
pub fn why_not_runnable(folder: &Path, program: &OsStr) -> Option<String> {
    let shown = foreign::line(program.as_encoded_bytes());
    if !shown.contains('/') {
        return match find_on_path(&shown) {
            Some(_) => None,
            None if folder.join(program).is_file() => Some(format!(
                "`{shown}` is not on the PATH; for the one in the submission write `./{shown}`"
            )),
            None => Some(format!("there is no program `{shown}` on the PATH")),
        };
    }
    let path = folder.join(program);
    match path.metadata() {
        Err(error) => Some(format!("there is no program `{shown}`: {error}")),
        Ok(it) if it.is_dir() => Some(format!("`{shown}` is a folder, not a program")),
        Ok(it) if it.permissions().mode() & 0o111 == 0 => {
            Some(format!("`{shown}` is not executable: chmod +x {shown}"))
        }
        Ok(_) => of_windows(&path).then(|| with_carriage_return(&shown)),
    }
}

/// Whether a script's first line ends with a carriage return. The kernel takes it for a part of
/// the interpreter's name, and reports "No such file or directory".
fn of_windows(path: &Path) -> bool {
    let mut begin = Vec::new();
    let read = files::open(path).and_then(|file| file.take(256).read_to_end(&mut begin));
    let line = begin.split(|byte| *byte == b'\n').next();
    read.is_ok() && begin.starts_with(b"#!") && line.is_some_and(|line| line.ends_with(b"\r"))
}

fn with_carriage_return(shown: &str) -> String {
    format!(
        "the lines of `{shown}` end with a carriage return, as on Windows, so the kernel does not \
         find its interpreter: sed -i 's/\\r$//' {shown}"
    )
}
