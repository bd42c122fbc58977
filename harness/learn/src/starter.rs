//! Cuts a starter out of the reference: all files of a package, with the bodies of the tasks
//! that are not solved taken out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::item;
use crate::ladder::{Cut, Ladder};

/// Files by their paths within the package.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A starter has unused parts until it is finished.
const ALLOW: &str = "#![allow(unused)] // Take this line out when you have written everything.\n";

/// The package of the ladder, with the first `solved` tasks as in the reference.
pub fn cut(root: &Path, ladder: &Ladder, solved: usize) -> Result<Files> {
    let mut files = reference(root, &ladder.package)?;
    cut_items(&mut files, ladder, solved)?;
    for (path, bytes) in &mut files {
        if is_crate_root(path) {
            *bytes = with_allow(&String::from_utf8_lossy(bytes)).into_bytes();
        }
    }
    Ok(files)
}

/// Takes the items of all tasks after `solved` out of these files. Two tasks may be about the
/// same item: then what the later one starts with is what the earlier one should come to.
fn cut_items(files: &mut Files, ladder: &Ladder, solved: usize) -> Result<()> {
    for (path, bytes) in files {
        if ladder
            .tasks
            .iter()
            .any(|task| task.items.iter().any(|cut| cut.file == *path))
        {
            let source = String::from_utf8_lossy(bytes);
            *bytes = source_at(&source, ladder, path, solved)?.into_bytes();
        }
    }
    Ok(())
}

/// A file of the reference as it is when the first `solved` tasks are solved.
pub fn source_at(reference: &str, ladder: &Ladder, file: &Path, solved: usize) -> Result<String> {
    let mut source = reference.to_owned();
    // The earlier tasks come last, and win.
    for number in (solved..ladder.tasks.len()).rev() {
        for cut in ladder.tasks[number]
            .items
            .iter()
            .filter(|cut| cut.file == file)
        {
            source = cut_item(&source, &ladder.number(number), cut)
                .with_context(|| format!("in {}", file.display()))?;
        }
    }
    Ok(source)
}

/// The source with one item as a task starts with it.
fn cut_item(source: &str, number: &str, cut: &Cut) -> Result<String> {
    match (&cut.becomes, &cut.body) {
        (Some(text), _) => item::replaced(source, &cut.item, text.trim_end()),
        (None, Some(body)) => item::with_body(source, &cut.item, body),
        (None, None) => {
            let todo = format!("todo!(\"{number}: {}\")", short_name(&cut.item));
            item::with_body(source, &cut.item, &todo)
        }
    }
}

/// `Client::receive` for `impl Client > fn receive`
pub fn short_name(path: &str) -> String {
    let words = [
        "impl ", "fn ", "struct ", "enum ", "const ", "static ", "type ", "trait ", "mod ",
    ];
    let segment = |segment: &str| {
        let name = words.iter().find_map(|word| segment.strip_prefix(word));
        let name = name.unwrap_or(segment);
        name.rsplit(" for ").next().unwrap_or(name).to_owned()
    };
    let segments: Vec<String> = path.split(" > ").map(segment).collect();
    segments.join("::")
}

/// All files of a package, but not what was built from it.
pub fn reference(root: &Path, package: &str) -> Result<Files> {
    let top = root.join(package);
    let mut files = Files::new();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot read the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.strip_prefix(&top)?.to_owned();
            if path.is_dir() {
                if name != Path::new("target") {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_none_or(|it| it != "proptest-regressions")
            {
                let bytes =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(name, bytes);
            }
        }
    }
    Ok(files)
}

/// `src/main.rs`, `src/lib.rs`, `src/bin/*.rs`
fn is_crate_root(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    path == Path::new("src/main.rs")
        || path == Path::new("src/lib.rs")
        || (parent == Path::new("src/bin") && path.extension().is_some_and(|it| it == "rs"))
}

/// The source with the line behind its opening comment.
fn with_allow(source: &str) -> String {
    let comment = |line: &&str| line.starts_with("//!") || line.starts_with("#![");
    let head: usize = source
        .split_inclusive('\n')
        .take_while(comment)
        .map(str::len)
        .sum();
    let (head, rest) = source.split_at(head);
    [head, ALLOW, rest].concat()
}

/// The files without the line that only starters have.
pub fn without_allow(source: &str) -> String {
    source.replacen(ALLOW, "", 1)
}
