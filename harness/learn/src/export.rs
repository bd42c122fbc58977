//! Writes an assignment that can be handed out: the starter, the tasks, and the checks. The
//! solution is nowhere in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::ladder::Ladder;
use crate::mine;
use crate::page;
use crate::starter::{self, Files};

/// What an assignment takes from the harness: the driver and the checks, and the grader.
const TOOLS: [(&str, &str); 2] = [("harness", "src"), ("harness/grade", "src")];

const SERVED: &str = "phase1-expserver/public";

/// Writes the assignment into a new folder.
pub fn export(root: &Path, ladder: &Ladder, to: &Path) -> Result<()> {
    ensure!(
        !to.exists(),
        "{} exists already: name a folder that does not",
        to.display()
    );
    mine::add_folder(to, &assignment(root, ladder)?)?;
    println!(
        "The assignment for stage {} is in {}.",
        ladder.name,
        to.display()
    );
    println!(
        "Students read README.md first. Try it: cd {} && cargo test",
        to.display()
    );
    Ok(())
}

/// All files of the assignment.
pub fn assignment(root: &Path, ladder: &Ladder) -> Result<Files> {
    let mut files = Files::new();
    let mut add = |folder: &str, inner: Files| {
        for (name, bytes) in inner {
            files.insert(Path::new(folder).join(name), bytes);
        }
    };
    add(&ladder.package, starter::cut(root, ladder, 0)?);
    for (tool, source) in TOOLS {
        let all = starter::reference(root, &format!("{tool}/{source}"))?;
        add(&format!("{tool}/{source}"), all);
        add(
            tool,
            Files::from([("Cargo.toml".into(), manifest(root, tool)?)]),
        );
    }
    // The checks of phase 1 know the files that it serves.
    add(SERVED, starter::reference(root, SERVED)?);
    let top = Files::from([
        ("Cargo.toml".into(), workspace(root, ladder)?),
        ("Cargo.lock".into(), fs::read(root.join("Cargo.lock"))?),
        ("LICENSE".into(), fs::read(root.join("LICENSE"))?),
        (".gitignore".into(), b"/target\n".to_vec()),
        (
            ".cargo/config.toml".into(),
            b"[alias]\ngrade = \"run -p harness-grade --\"\n".to_vec(),
        ),
        ("README.md".into(), readme(ladder).into_bytes()),
    ]);
    add("", top);
    Ok(files)
}

/// The manifest of a tool, without its tests: they hold servers that work.
fn manifest(root: &Path, tool: &str) -> Result<Vec<u8>> {
    let mut table = read_toml(&root.join(tool).join("Cargo.toml"))?;
    table.remove("test");
    table.remove("dev-dependencies");
    Ok(toml::to_string(&table)?.into_bytes())
}

/// The workspace with only what is handed out.
fn workspace(root: &Path, ladder: &Ladder) -> Result<Vec<u8>> {
    let mut table = read_toml(&root.join("Cargo.toml"))?;
    let workspace = table
        .get_mut("workspace")
        .and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("Cargo.toml has no [workspace]")?;
    let members = [ladder.package.as_str(), "harness", "harness/grade"];
    let members = members.map(|member| toml::Value::String(member.to_owned()));
    workspace.insert("members".to_owned(), members.to_vec().into());
    Ok(toml::to_string(&table)?.into_bytes())
}

fn read_toml(path: &Path) -> Result<toml::Table> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.parse()?)
}

/// The tasks, each with its checks and its first two hints. The third is nearly the code.
fn readme(ladder: &Ladder) -> String {
    let (name, package) = (&ladder.name, &ladder.package);
    let mut text = format!(
        "# {}\n\nThis is an assignment. `{package}/` is a program with parts that are not \
         written yet: you\nwrite them, task by task. It needs Rust and nothing else.\n\n\
         ```\ncargo run -p {package}         # your server\n\
         cargo test -p {package}        # all checks; most are red in the beginning\n\
         cargo test -p {package} -- half-close    # one of them\n```\n\n\
         A part that is not written yet ends the program with `not yet implemented`, and the \
         number of\nits task.\n",
        ladder.title
    );
    text += &page::tasks(ladder);
    text += &format!("\n---\nStage {name} of the course.\n");
    text
}
