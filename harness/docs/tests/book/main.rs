//! The book in `docs/` cannot go stale: its excerpts are compared with the source, its links
//! must lead somewhere, its options must exist, and its terminal sessions are replayed.
//!
//! `UPDATE_DOCS=1 cargo test -p harness-docs` refreshes the excerpts. The head of each file
//! here says how a page marks what that file checks.
#![allow(clippy::unwrap_used)] // a test

mod built;
mod excerpt;
mod links;
mod options;
mod page;
mod session;
mod stale;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use page::{Book, Page};

/// What is wrong with a page, one line for each problem; empty when it is right.
type Problems = Vec<String>;

fn main() -> ExitCode {
    harness::host::take_usual_umask(); // a page makes files for a server
    let here = Path::new(env!("CARGO_MANIFEST_DIR")); // harness/docs
    let root = here.ancestors().nth(2).unwrap();
    let book = Arc::new(Book::read(root));
    let programs = Arc::new(options::Programs::find(root, &build_folder()));

    let mut tests = stale::tests();
    tests.extend(built::tests(root));
    tests.push(Trial::test("docs: the summary lists every page", {
        let book = Arc::clone(&book);
        move || verdict(links::summary_problems(&book))
    }));
    for page in &book.pages {
        tests.push(page_test("excerpts", page, &book, |book, page| {
            excerpt::check(&book.root, page)
        }));
        tests.push(page_test("links", page, &book, links::problems));
        tests.push(options_test(page, &programs));
        tests.extend(session::tests(page, &programs));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// Where cargo puts the programs: `target/debug`, for instance. This test lies somewhere below a
/// folder of the same name, but perhaps in another place (`build.build-dir`).
fn build_folder() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let told = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let told: Value = serde_json::from_slice(&told.unwrap().stdout).unwrap();
    let folder = |name: &str| told[name].as_str().map(PathBuf::from);
    let programs = folder("target_directory").unwrap();
    let tests = folder("build_directory").unwrap_or_else(|| programs.clone());
    let place = this.strip_prefix(tests).unwrap();
    let mut folders = place.ancestors().map(|folder| programs.join(folder));
    folders
        .find(|folder| folder.join(".cargo-lock").exists()) // cargo holds it while it builds there
        .unwrap()
}

fn page_test(
    what: &str,
    page: &Page,
    book: &Arc<Book>,
    problems: fn(&Book, &Page) -> Problems,
) -> Trial {
    let (book, page) = (Arc::clone(book), page.clone());
    let name = format!("{}: {what}", page.path);
    Trial::test(name, move || verdict(problems(&book, &page)))
}

/// Ignored when a program that the page shows is not built. The name of the test says which.
fn options_test(page: &Page, programs: &Arc<options::Programs>) -> Trial {
    let (page, programs) = (page.clone(), Arc::clone(programs));
    let missing = options::missing_program(&page, &programs);
    let name = match &missing {
        Some(program) => format!("{}: options (needs {program}, not built)", page.path),
        None => format!("{}: options", page.path),
    };
    let test = move || verdict(options::problems(&page, &programs));
    Trial::test(name, test).with_ignored_flag(missing.is_some())
}

fn verdict(problems: Problems) -> Result<(), Failed> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n").into())
    }
}
