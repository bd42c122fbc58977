//! Options: when a page shows an option with a command of ours, such as `stage04-epoll -q`,
//! `cargo run -p stage04-epoll -- -q` or `cargo grade --list`, it must be in that program's
//! `--help`. In the stages' chapters and on the page about the command line, an option that
//! is shown alone, such as `--iterative`, must be in the help of some program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Problems;
use crate::page::Page;

/// The programs of the workspace by name, with their paths if they are built.
pub struct Programs(BTreeMap<String, Option<PathBuf>>);

impl Programs {
    pub fn find(root: &Path, build_folder: &Path) -> Programs {
        let mut programs = BTreeMap::new();
        let mut add = |name: String| {
            let path = build_folder.join(&name);
            programs.insert(name, path.exists().then_some(path));
        };
        for package in [entries(root), entries(&root.join("harness"))].concat() {
            if package.join("src/main.rs").exists() {
                add(name_of(&package));
            }
            for binary in entries(&package.join("src/bin")) {
                add(name_of(&binary));
            }
            let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap_or_default();
            for binary in manifest.split("[[bin]]\nname = \"").skip(1) {
                add(binary.split('"').next().unwrap_or_default().to_owned());
            }
        }
        Programs(programs)
    }

    pub fn none() -> Programs {
        Programs(BTreeMap::new())
    }

    pub fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(name)?.as_deref()
    }

    pub fn is_known(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The options in a program's help; `None` when it is not built.
    fn options(&self, name: &str) -> Option<Vec<String>> {
        let output = Command::new(self.path(name)?).arg("--help").output().ok()?;
        Some(options_in(&String::from_utf8_lossy(&output.stdout)))
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// The options that a help text lists: `  -q, --quiet`.
pub fn options_in(help: &str) -> Vec<String> {
    let listed = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'));
    let words = listed.flat_map(|line| line.trim_start().split("  ").next());
    let words = words.flat_map(|options| options.split([' ', ',', '=', '.']));
    words
        .filter(|word| word.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// A command of ours on a page, with its options.
struct Use {
    line: usize,
    program: String,
    options: Vec<String>,
}

pub fn missing_program(page: &Page, programs: &Programs) -> Option<String> {
    let is_known = |name: &str| programs.is_known(name);
    let mut names = uses(page, &is_known).into_iter().map(|used| used.program);
    names.find(|name| programs.path(name).is_none())
}

pub fn problems(page: &Page, programs: &Programs) -> Problems {
    let is_known = |name: &str| programs.is_known(name);
    let mut problems = problems_among(page, &is_known, &|name| programs.options(name));
    let all: Option<Vec<_>> = programs
        .0
        .keys()
        .map(|name| programs.options(name))
        .collect();
    if let Some(all) = all
        && (page.path.starts_with("docs/src/phase") || page.path.ends_with("/cli.md"))
    {
        problems.extend(unknown_alone(page, &all.concat()));
    }
    problems
}

pub fn problems_among(
    page: &Page,
    is_known: &dyn Fn(&str) -> bool,
    options: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Problems {
    let mut problems = Vec::new();
    for used in uses(page, is_known) {
        let known = options(&used.program).unwrap_or_default();
        for option in used
            .options
            .iter()
            .flat_map(|option| single_options(option))
        {
            if !known.contains(&option) {
                let (path, line, program) = (&page.path, used.line, &used.program);
                problems.push(format!("{path}:{line}: {program} has no option {option}"));
            }
        }
    }
    problems
}

/// Options in backticks, without a command, that no program has.
fn unknown_alone(page: &Page, known: &[String]) -> Problems {
    let alone = code_spans(page)
        .into_iter()
        .filter(|(_, code)| code.starts_with("--"));
    let options = alone.flat_map(|(line, code)| {
        let word = code.split([' ', '=']).next().map(str::to_owned);
        word.map(|word| (line, word))
    });
    let unknown = options.filter(|(_, option)| !known.contains(option));
    unknown
        .map(|(line, option)| format!("{}:{line}: no program has {option}", page.path))
        .collect()
}

fn uses(page: &Page, is_known: &dyn Fn(&str) -> bool) -> Vec<Use> {
    let commands = code_spans(page).into_iter().chain(command_lines(page));
    let mut uses = Vec::new();
    for (line, text) in commands {
        for command in text.split(['|', ';', '&', '#']) {
            uses.extend(
                used_program(command, is_known).map(|(program, options)| Use {
                    line,
                    program,
                    options,
                }),
            );
        }
    }
    uses
}

/// The program that a command runs, and its options.
fn used_program(command: &str, is_known: &dyn Fn(&str) -> bool) -> Option<(String, Vec<String>)> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let option_value = |option| {
        let at = words.iter().position(|&word| word == option)?;
        words.get(at + 1).copied()
    };
    let (program, rest) = if words.starts_with(&["cargo", "run"]) {
        let program = option_value("--bin").or_else(|| option_value("-p"))?;
        let end = words
            .iter()
            .position(|&word| word == "--")
            .unwrap_or(words.len());
        (program, &words[end..])
    } else if words.starts_with(&["cargo", "grade"]) && is_known("grade") {
        // After `--` comes the program that it grades.
        let end = words.iter().position(|&word| word == "--");
        ("grade", &words[2..end.unwrap_or(words.len())])
    } else {
        let program = words.iter().position(|word| is_known(base_name(word)))?;
        // `cargo build -p NAME` and `cd NAME` only name the program. `strace -f PATH` runs it.
        let runs = program == 0 || words[program].contains('/');
        (base_name(words[program]), runs.then(|| &words[program..])?)
    };
    let options = rest
        .iter()
        .filter(|word| word.starts_with('-') && **word != "--");
    Some((
        program.to_owned(),
        options.map(|&word| word.to_owned()).collect(),
    ))
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// `-vq` is two options, `--port=0` is one.
fn single_options(word: &str) -> Vec<String> {
    match word.strip_prefix('-') {
        Some(letters) if !letters.starts_with('-') => {
            letters.chars().map(|letter| format!("-{letter}")).collect()
        }
        _ => word.split('=').take(1).map(str::to_owned).collect(),
    }
}

/// The texts in backticks.
fn code_spans(page: &Page) -> Vec<(usize, String)> {
    let spans = |(number, line): (usize, &str)| {
        let spans = line.split('`').skip(1).step_by(2);
        spans
            .map(move |span| (number, span.to_owned()))
            .collect::<Vec<_>>()
    };
    page.prose().into_iter().flat_map(spans).collect()
}

/// The commands in blocks: all lines of `sh`, and the lines of `console` with a prompt.
fn command_lines(page: &Page) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    for block in page.blocks() {
        for (number, line) in (block.line + 1..).zip(block.body.lines()) {
            let command = match block.language {
                "sh" | "" => Some(line),
                "console" => line.strip_prefix("$ "),
                _ => None,
            };
            commands.extend(command.map(|command| (number, command.to_owned())));
        }
    }
    commands
}
