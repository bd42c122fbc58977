//! The built book: `mdbook build` must succeed without warnings.

use std::path::Path;
use std::process::Command;

use harness::host::find_tool;
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::Problems;

/// Two tests, ignored where mdBook is missing, because a student does not need it.
pub fn tests(root: &Path) -> Vec<Trial> {
    let docs = root.join("docs");
    let missing = find_tool("mdbook").is_none();
    let named = |name: &str| match missing {
        true => format!("docs: {name} (needs mdbook)"),
        false => format!("docs: {name}"),
    };
    let builds = Trial::test(
        named("mdbook builds the book without a warning"),
        move || crate::verdict(problems(&docs)),
    );
    let notices = Trial::test(named("a warning of mdbook is noticed"), || {
        let found = problems(broken_book().path());
        let noticed = found.iter().any(|line| line.contains("WARN"));
        noticed.then_some(()).ok_or(format!("{found:?}").into())
    });
    let tests = [builds, notices].into_iter();
    tests.map(|test| test.with_ignored_flag(missing)).collect()
}

/// What `mdbook build` prints about the book in this folder, except its progress.
fn problems(docs: &Path) -> Problems {
    let built = TempDir::new().unwrap();
    let mut mdbook = Command::new("mdbook");
    mdbook.arg("build").arg(docs).arg("-d").arg(built.path());
    let output = mdbook.env_remove("RUST_LOG").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let (progress, mut problems): (Problems, Problems) = said
        .lines()
        .map(str::to_owned)
        .partition(|line| line.trim_start().starts_with("INFO"));
    if !output.status.success() && problems.is_empty() {
        problems.push(format!("mdbook: {}: {progress:?}", output.status));
    }
    problems
}

/// A book whose only page has a tag that is not closed.
fn broken_book() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("book.toml", "[book]\ntitle = \"Broken\"\n");
    std::fs::create_dir(folder.path().join("src")).unwrap();
    write("src/SUMMARY.md", "- [A](a.md)\n");
    write("src/a.md", "# A\n\n<div>\n\nnot closed\n");
    folder
}
