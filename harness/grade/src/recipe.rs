//! What a submission says about itself: `grade.toml`, or else its file names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path};

use harness::foreign;
use harness::stage::Stage;
use serde::Deserialize;

use crate::files;
use crate::order::Subject;

/// The largest `grade.toml` that is read.
const LARGEST: u64 = 64 * 1024;

pub struct Recipe {
    /// A shell command.
    pub build: Option<String>,
    pub stages: Vec<(Stage, Result<Subject, String>)>,
}

/// `grade.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    build: Option<String>,
    #[serde(default)]
    stage: BTreeMap<String, StageWritten>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StageWritten {
    run: String,
    #[serde(default)]
    workspace_options: bool,
    /// The stage's other programs: `multi-client = "./multi"`.
    #[serde(default)]
    with: BTreeMap<String, String>,
}

/// Reads the `grade.toml` of a folder, if there is one. A link is refused: it may lead to a file
/// that only the grader can read, and the error would quote it.
pub fn read(folder: &Path) -> Result<Option<Recipe>, String> {
    let path = folder.join("grade.toml");
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.is_symlink() => {
            return Err("its grade.toml is a link; it must be a file".to_owned());
        }
        _ => {}
    }
    let mut text = String::new();
    let file = files::open(&path);
    file.and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read its grade.toml: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err(format!(
            "its grade.toml is larger than {} KiB",
            LARGEST >> 10
        ));
    }
    parse(&text).map(Some)
}

fn parse(text: &str) -> Result<Recipe, String> {
    let written: Written =
        toml::from_str(text).map_err(|error| format!("its grade.toml has an error: {error}"))?;
    let stages = written.stage.into_iter().map(|(name, program)| {
        let stage = name.parse::<Stage>();
        let stage = stage.map_err(|error| format!("its grade.toml has [stage.{name}]: {error}"))?;
        Ok((stage, subject(&program)))
    });
    let stages: Vec<_> = stages.collect::<Result<_, String>>()?;
    if stages.is_empty() {
        return Err("its grade.toml names no stage, as [stage.4] does".to_owned());
    }
    Ok(Recipe {
        build: written.build,
        stages,
    })
}

fn subject(program: &StageWritten) -> Result<Subject, String> {
    let companions = program.with.iter();
    let companions = companions.map(|(name, line)| Ok((name.clone(), words(line)?)));
    Ok(Subject {
        command: words(&program.run)?,
        workspace_options: program.workspace_options,
        companions: companions.collect::<Result<_, String>>()?,
        ..Subject::default()
    })
}

/// The words of a command line, which no shell reads.
fn words(line: &str) -> Result<Vec<OsString>, String> {
    let words = shell_words::split(line).map_err(|error| format!("`{line}`: {error}"))?;
    let Some(first) = words.first() else {
        return Err("its grade.toml does not say what to run".to_owned());
    };
    if is_assignment(first) {
        return Err(format!(
            "`{line}` begins with a variable, but no shell reads this line: write `env {line}`"
        ));
    }
    if is_builtin(first) || words.iter().any(|word| is_operator(word)) {
        return Err(format!(
            "`{line}` is a line for a shell, but no shell reads it: write `sh -c '…'`, with `exec` \
             before the program"
        ));
    }
    if let Some(word) = words.iter().find(|word| leads_out(word)) {
        return Err(format!(
            "`{line}`: `{word}` leads out of the submission; paths begin in its folder"
        ));
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// `PORT=1`
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    let is_letter = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty() && name.chars().all(is_letter)
}

fn is_builtin(word: &str) -> bool {
    matches!(
        word,
        "cd" | "." | "source" | "exec" | "export" | "set" | "ulimit" | "umask"
    )
}

fn is_operator(word: &str) -> bool {
    let only = |characters: &str| word.chars().all(|character| characters.contains(character));
    !word.is_empty() && (only("&|;<>") || only("&>12")) && !only("12") || word.ends_with(';')
}

/// Whether a relative path climbs above the folder in which it begins.
fn leads_out(word: &str) -> bool {
    let mut depth = 0;
    for part in Path::new(word).components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return false,
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
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

/// An executable with a name from the course, or the C file to build it from.
pub fn by_name(source: &Path, stage: Stage) -> Recipe {
    let run = |name: &str| Subject {
        command: vec![format!("./{name}").into()],
        ..Subject::default()
    };
    let recipe = |build, subject| Recipe {
        build,
        stages: vec![(stage, subject)],
    };
    for name in course_names(stage) {
        let is_file = |name: &str| source.join(name).metadata().is_ok_and(|it| it.is_file());
        if is_file(&format!("{name}.c")) {
            let build = format!("cc -O2 -Wall -pthread -o {name} {name}.c");
            return recipe(Some(build), Ok(run(name)));
        }
        if is_file(name) {
            return recipe(None, Ok(run(name)));
        }
    }
    let names = course_names(stage).join("` or `");
    let why = match fs::read_dir(source) {
        Ok(entries) => {
            let hint = match the_only_folder(entries) {
                Some(name) => format!("; is the submission in its folder `{name}`?"),
                None => String::new(),
            };
            format!("it has no grade.toml, and no file `{names}` (with or without `.c`){hint}")
        }
        Err(error) => format!("its folder cannot be read: {error}"),
    };
    recipe(None, Err(why))
}

/// The folder in which everything is, as when an archive is unpacked into a folder of its own name.
fn the_only_folder(entries: fs::ReadDir) -> Option<String> {
    let mut shown = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        !name.as_encoded_bytes().starts_with(b".") && name != "__MACOSX"
    });
    let only = shown.next().filter(|entry| entry.path().is_dir())?;
    let name = only.file_name();
    let alone = shown.next().is_none();
    alone.then(|| foreign::line(name.as_encoded_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_a_shell_is_explained() {
        for (line, hint) in [
            ("PORT=1 ./x", "env PORT=1 ./x"),
            ("cd x && ./y", "sh -c"),
            ("./y > log", "sh -c"),
            ("./y 2>&1", "sh -c"),
            ("./a; ./b", "sh -c"),
            ("../bela/server", "leads out"),
            ("python3 src/../../x.py", "leads out"),
            ("", "does not say"),
            ("'./server", "`'./server`"),
        ] {
            let why = words(line).unwrap_err();
            assert!(why.contains(hint), "{line}: {why}");
        }
        for line in [
            "./server {port}",
            "java -Dport=1 -cp build Main",
            "env PORT=1 ./x",
            "sh -c 'cd x && exec ./y'",
            "/usr/bin/python3 src/../server.py 12",
        ] {
            assert!(words(line).is_ok(), "{line}: {:?}", words(line));
        }
    }
}
