//! What is graded: one program, or a folder with one sub-folder for each student.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use harness::folder::is_open_to_all;
use harness::foreign;
use harness::host::find_tool;
use harness::process::display;
use harness::stage::Stage;
use serde::Deserialize;

use crate::arguments::Arguments;
use crate::nobody::can_be_nobody;
use crate::order::Subject;

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

/// `grade.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    build: Option<String>,
    stage: BTreeMap<String, StageRecipe>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StageRecipe {
    run: String,
    #[serde(default)]
    workspace_options: bool,
    /// The stage's other programs: `multi-client = "./multi"`.
    #[serde(default)]
    with: BTreeMap<String, String>,
}

/// The program names of the course.
fn course_names(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Stage01 | Stage::Stage04 => &["tcp_server", "server"],
        Stage::Stage02 => &["tcp_client", "client"],
        Stage::Stage03 => &["udp_server", "server"],
        Stage::Stage05 => &["tcp_proxy", "proxy", "tcp_server", "server"],
        Stage::Phase1 => &["expserver", "xps"],
    }
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

/// One submission for each stage of each sub-folder.
pub fn find_all(all: &Path, arguments: &Arguments) -> Result<Vec<Submission>> {
    let what = || format!("cannot read the submissions in {}", all.display());
    let mut students = Vec::new();
    for entry in fs::read_dir(all).with_context(what)? {
        let entry = entry.with_context(what)?;
        let name = foreign::line(entry.file_name().as_encoded_bytes());
        if entry.path().is_dir() && !name.starts_with('.') {
            students.push((name, std::path::absolute(entry.path())?));
        }
    }
    ensure!(
        !students.is_empty(),
        "no submissions in {}: it has no sub-folders",
        all.display()
    );
    students.sort();
    let mut submissions = Vec::new();
    for (name, source) in students {
        submissions.extend(of_student(&name, &source, arguments.stage)?);
    }
    Ok(submissions)
}

fn of_student(name: &str, source: &Path, wanted: Option<Stage>) -> Result<Vec<Submission>> {
    let submission = |stage, build, subject| Submission {
        name: name.to_owned(),
        stage,
        source: Some(source.to_owned()),
        build,
        subject,
    };
    let path = source.join("grade.toml");
    if !path.is_file() {
        let stage = wanted.with_context(|| {
            format!(
                "{name} has no grade.toml that names its stages; choose a stage, for example --stage 4"
            )
        })?;
        let (build, subject) = by_name(source, stage);
        return Ok(vec![submission(stage, build, subject)]);
    }
    let recipe = match read_recipe(&path) {
        Ok(recipe) => recipe,
        // A student's mistake costs that student's points.
        Err(error) => {
            let stage = wanted.with_context(|| format!("{name}: {error:#}"))?;
            return Ok(vec![submission(stage, None, Err(format!("{error:#}")))]);
        }
    };
    let mut submissions = Vec::new();
    for (stage, program) in recipe.stage {
        if wanted.is_none_or(|wanted| wanted == stage) {
            submissions.push(submission(stage, recipe.build.clone(), subject(&program)));
        }
    }
    if let Some(stage) = wanted.filter(|_| submissions.is_empty()) {
        let why = format!("its grade.toml has no [stage.{}]", stage.number());
        submissions.push(submission(stage, None, Err(why)));
    }
    Ok(submissions)
}

struct ReadRecipe {
    build: Option<String>,
    stage: Vec<(Stage, StageRecipe)>,
}

fn read_recipe(path: &Path) -> Result<ReadRecipe> {
    let text = fs::read_to_string(path).context("cannot read its grade.toml")?;
    let recipe: Recipe = toml::from_str(&text).context("its grade.toml has an error")?;
    let stages = recipe.stage.into_iter().map(|(name, program)| {
        let stage = name.parse().map_err(anyhow::Error::msg);
        Ok((
            stage.with_context(|| format!("its grade.toml has [stage.{name}]"))?,
            program,
        ))
    });
    Ok(ReadRecipe {
        build: recipe.build,
        stage: stages.collect::<Result<_>>()?,
    })
}

fn subject(program: &StageRecipe) -> Result<Subject, String> {
    let words = |line: &str| -> Result<Vec<OsString>, String> {
        let words = shell_words::split(line).map_err(|error| format!("`{line}`: {error}"))?;
        match words.is_empty() {
            true => Err("its grade.toml does not say what to run".to_owned()),
            false => Ok(words.into_iter().map(OsString::from).collect()),
        }
    };
    let companions = program.with.iter();
    let companions = companions.map(|(name, line)| Ok((name.clone(), words(line)?)));
    Ok(Subject {
        command: words(&program.run)?,
        workspace_options: program.workspace_options,
        companions: companions.collect::<Result<_, String>>()?,
        ..Subject::default()
    })
}

/// An executable with a name from the course, or the C file to build it from.
fn by_name(source: &Path, stage: Stage) -> (Option<String>, Result<Subject, String>) {
    let run = |name: &str| Subject {
        command: vec![format!("./{name}").into()],
        ..Subject::default()
    };
    for name in course_names(stage) {
        let is_file = |name: &str| source.join(name).metadata().is_ok_and(|it| it.is_file());
        if is_file(&format!("{name}.c")) {
            let build = format!("cc -O2 -Wall -pthread -o {name} {name}.c");
            return (Some(build), Ok(run(name)));
        }
        if is_file(name) {
            return (None, Ok(run(name)));
        }
    }
    let names = course_names(stage).join("` or `");
    (
        None,
        Err(format!(
            "it has no grade.toml, and no file `{names}` (with or without `.c`)"
        )),
    )
}
