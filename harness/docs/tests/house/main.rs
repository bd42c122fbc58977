//! What the house promises of its own order: imports point down, and copies are copies.
#![allow(clippy::unwrap_used)] // a test

mod arrows;
mod copies;
mod map;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is wrong, one line each.
type Problems = Vec<String>;

/// Files by their path below some folder, with their text.
type Files = BTreeMap<String, String>;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")); // harness/docs
    here.ancestors().nth(2).unwrap().to_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The files below `folder` that end like this.
fn files_below(folder: &Path, ending: &str) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in entries(&next) {
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(ending) {
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

fn expect_none(problems: Problems) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The crates whose `lib.rs` is a map.
fn mapped_crates() -> Vec<PathBuf> {
    let below_root = entries(&root()).into_iter().filter(|folder| {
        let name = folder.file_name().unwrap().to_string_lossy();
        name.starts_with("phase") || name == "harness"
    });
    let all = below_root.chain(entries(&root().join("harness")));
    all.filter(|folder| folder.join("src/lib.rs").is_file())
        .collect()
}

#[test]
fn imports_point_down_and_there_is_no_circle() {
    let crates = mapped_crates();
    let expected = [
        "harness",
        "harness/bench",
        "harness/grade",
        "harness/learn",
        "phase1-expserver",
    ];
    for folder in expected {
        assert!(crates.contains(&root().join(folder)), "{folder}");
    }
    let problems = crates.iter().flat_map(|folder| {
        let name = folder.strip_prefix(root()).unwrap().display().to_string();
        let problems = arrows::problems(&files_below(&folder.join("src"), ".rs"));
        problems
            .into_iter()
            .map(move |it| format!("{name}/src: {it}"))
    });
    expect_none(problems.collect());
}

/// `stage01-tcp-server` and the others, in their order.
fn stages() -> Vec<copies::Stage> {
    let all = entries(&root()).into_iter().filter_map(|folder| {
        let name = folder.file_name()?.to_str()?.to_owned();
        name.starts_with("stage").then(|| copies::Stage {
            name,
            sources: files_below(&folder.join("src"), ".rs"),
            manifest: fs::read_to_string(folder.join("Cargo.toml")).unwrap(),
        })
    });
    all.collect()
}

#[test]
fn what_is_given_is_the_same_in_all_stages() {
    assert!(stages().len() >= 5);
    expect_none(copies::differences(&stages()));
}

#[test]
fn what_is_given_is_listed_with_its_promise() {
    expect_none(copies::unlisted(&stages()));
}

#[test]
fn a_stage_depends_on_no_crate_of_ours() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    expect_none(copies::wrong_dependencies(&stages(), &workspace));
}

/// On Windows git is usually told to check files out with CRLF, and bash cannot run such a script.
#[test]
fn a_clone_has_no_crlf() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::copy(root().join(name), folder.path().join(name)).unwrap();
    fs::create_dir(folder.path().join(".ci")).unwrap();
    copy(".gitattributes");
    copy(".ci/run");
    fs::write(folder.path().join("lines.txt"), "one\ntwo\n").unwrap();
    let git = |words: &str| {
        let mut git = Command::new("git");
        git.args(["-c", "core.autocrlf=true"])
            .args(words.split(' '));
        git.current_dir(folder.path()).output()
    };
    if git("init -q").is_err() {
        return; // no git here
    }
    git("add .").unwrap();
    fs::remove_file(folder.path().join(".ci/run")).unwrap();
    fs::remove_file(folder.path().join("lines.txt")).unwrap();
    git("checkout -q -- .").unwrap();
    for name in [".ci/run", "lines.txt"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.contains('\n') && !text.contains('\r'), "{name}");
    }
}
