//! A page of the book, parsed as far as the checks need it: fenced blocks, each with the
//! comment line before it, and the prose between them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub struct Book {
    pub root: PathBuf,
    /// The README, and every page under `docs/src`.
    pub pages: Vec<Page>,
}

#[derive(Clone)]
pub struct Page {
    /// Relative to the root of the repository: `docs/src/setup.md`.
    pub path: String,
    pub text: String,
}

/// A fenced block at the start of a line.
pub struct Block<'p> {
    /// The number of its opening line.
    pub line: usize,
    /// The comment in the line before it: `<!-- MARKER -->`.
    pub marker: Option<&'p str>,
    pub language: &'p str,
    pub body: &'p str,
    /// The position of the body in the page's text.
    pub range: Range<usize>,
}

impl Book {
    pub fn read(root: &Path) -> Book {
        let mut files = vec![root.join("README.md")];
        find_pages(&root.join("docs/src"), &mut files);
        let page = |file: &PathBuf| Page {
            path: file.strip_prefix(root).unwrap().display().to_string(),
            text: fs::read_to_string(file).unwrap(),
        };
        Book {
            root: root.to_owned(),
            pages: files.iter().map(page).collect(),
        }
    }
}

fn find_pages(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            find_pages(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "md") {
            found.push(entry);
        }
    }
}

impl Page {
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, Option<&str>, &str, usize)> = None;
        let (mut at, mut before) = (0, "");
        for (number, line) in (1..).zip(self.text.split_inclusive('\n')) {
            let start = at;
            at += line.len();
            let fence = line.strip_prefix("```").map(str::trim_end);
            match (open.take(), fence) {
                (None, Some(language)) => open = Some((number, marker(before), language, at)),
                (Some((line, marker, language, begin)), Some("")) => blocks.push(Block {
                    line,
                    marker,
                    language,
                    body: &self.text[begin..start],
                    range: begin..start,
                }),
                (still_open, _) => open = still_open,
            }
            before = line;
        }
        blocks
    }

    /// The lines outside the blocks, with their numbers.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(self.text.lines()) {
            if line.starts_with("```") {
                inside = !inside;
            } else if !inside {
                lines.push((number, line));
            }
        }
        lines
    }
}

fn marker(line: &str) -> Option<&str> {
    let comment = line.trim_end().strip_prefix("<!--")?.strip_suffix("-->")?;
    Some(comment.trim())
}
