//! Excerpts: the comment before a block names the source of its text.
//!
//! ```text
//! <!-- source: stage04-epoll/src/client.rs#fn interest -->
//! <!-- source: stage05-proxy/src/proxy.rs#fn serve from "let Some(pair)" to "};" -->
//! <!-- diff: stage01-tcp-server/src/main.rs#fn run | stage04-epoll/src/main.rs#fn run -->
//! <!-- not from the source: an exercise -->
//! ```
//!
//! An item is named by the beginning of its first line; its comments and attributes belong
//! to it. `impl Flow > fn send` is an item inside another. `from` and `to` select a part of
//! it, by the first lines that contain these texts. Indentation that all lines have in
//! common is removed.

use std::fs;
use std::path::Path;

use crate::Problems;
use crate::page::Page;

/// Compares every excerpt with its source. With `UPDATE_DOCS=1`, copies it again instead.
pub fn check(root: &Path, page: &Page) -> Problems {
    let source = |path: &str| fs::read_to_string(root.join(path)).map_err(|e| e.to_string());
    let (refreshed, mut problems) = refresh(page, &source);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        if refreshed != page.text {
            fs::write(root.join(&page.path), refreshed).unwrap();
        }
    } else {
        problems.extend(differences(page, &refreshed));
    }
    problems
}

/// The page with all excerpts copied from their sources, and what is wrong with its markers.
pub fn refresh(page: &Page, source: &dyn Fn(&str) -> Result<String, String>) -> (String, Problems) {
    let (mut refreshed, mut problems) = (String::new(), Vec::new());
    let mut copied = 0;
    for block in page.blocks() {
        let marker = block.marker.unwrap_or_default();
        let body = if let Some(spec) = marker.strip_prefix("source: ") {
            region(spec, source)
        } else if let Some(specs) = marker.strip_prefix("diff: ") {
            let (old, new) = specs.split_once(" | ").unwrap_or((specs, specs));
            region(old, source).and_then(|old| Ok(diff(&old, &region(new, source)?)))
        } else if ["rust", "diff"].contains(&block.language) && !marker.starts_with("not from") {
            Err("has no marker that names its source: `<!-- source: FILE#ITEM -->`".to_owned())
        } else {
            continue;
        };
        match body {
            Ok(body) => {
                refreshed += &page.text[copied..block.range.start];
                refreshed += &body;
                copied = block.range.end;
            }
            Err(why) => problems.push(format!("{}:{}: {why}", page.path, block.line)),
        }
    }
    refreshed += &page.text[copied..];
    (refreshed, problems)
}

/// The first line in which the page differs from its sources.
fn differences(page: &Page, refreshed: &str) -> Option<String> {
    let lines = page.text.lines().zip(refreshed.lines());
    let (number, (is, should)) = (1..).zip(lines).find(|(_, (is, should))| is != should)?;
    Some(format!(
        "{}:{number}: differs from its source\n  here:   {is}\n  source: {should}\n\
         if you changed the source only to try something, `git checkout` it; otherwise \
         refresh the page: UPDATE_DOCS=1 cargo test -p harness-docs",
        page.path
    ))
}

/// The text that `FILE#ITEM from "…" to "…"` names.
fn region(spec: &str, source: &dyn Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let (path, item) = spec.split_once('#').unwrap_or((spec, ""));
    let text = source(path).map_err(|error| format!("{path}: {error}"))?;
    let mut lines: Vec<&str> = text.lines().collect();

    let (item, part) = match item.split_once(" from \"") {
        Some((item, part)) => (item, Some(part)),
        None => (item, None),
    };
    for name in item.split(" > ").filter(|name| !name.is_empty()) {
        lines =
            find_item(&lines, name).ok_or(format!("{path} has no item `{name}`, or several"))?;
    }
    if let Some(part) = part {
        let (from, to) = part.split_once("\" to \"").ok_or("`from` needs a `to`")?;
        let to = to.trim_end_matches('"');
        lines = find_part(&lines, from, to)
            .ok_or(format!("`{item}` has no part from `{from}` to `{to}`"))?;
    }
    Ok(unindented(&lines))
}

/// The lines of the item whose first line begins with `name`. It must be the only one.
fn find_item<'s>(lines: &[&'s str], name: &str) -> Option<Vec<&'s str>> {
    let begins = |line: &&str| {
        let line = line.trim_start();
        let public = ["pub ", "pub(super) "];
        let line = public
            .iter()
            .find_map(|public| line.strip_prefix(public))
            .unwrap_or(line);
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let first = lines.iter().position(begins)?;
    if lines[first + 1..].iter().any(begins) {
        return None;
    }
    let belongs = |line: &&&str| line.trim_start().starts_with("//") || line.contains("#[");
    let comments = lines[..first].iter().rev().take_while(belongs).count();
    let last = if lines[first].ends_with([';', '}']) {
        first
    } else {
        first
            + 1
            + lines[first + 1..]
                .iter()
                .position(|line| closes(line, lines[first]))?
    };
    Some(lines[first - comments..=last].to_vec())
}

/// Whether `line` ends the item that `first` begins: it has the same indentation.
fn closes(line: &str, first: &str) -> bool {
    indent(line) == indent(first) && (line.trim_start().starts_with('}') || line.ends_with(';'))
}

fn find_part<'s>(lines: &[&'s str], from: &str, to: &str) -> Option<Vec<&'s str>> {
    let first = lines.iter().position(|line| line.contains(from))?;
    let count = lines[first..].iter().position(|line| line.contains(to))?;
    Some(lines[first..=first + count].to_vec())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn unindented(lines: &[&str]) -> String {
    let indents = lines.iter().filter(|line| !line.is_empty());
    let common = indents.map(|line| indent(line)).min().unwrap_or(0);
    let line = |line: &&str| format!("{}\n", line.get(common..).unwrap_or_default());
    lines.iter().map(line).collect()
}

/// Both texts in one. Lines that only one of them has are marked by `-` or `+`. Of more than
/// five common lines, only the first two and the last two are shown.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // How many lines old[i..] and new[j..] have in common, in order.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut lines, mut i, mut j) = (Vec::new(), 0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(format!(" {}", old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("-{}", old[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", new[j]));
            j += 1;
        }
    }
    shortened(&lines)
}

fn shortened(lines: &[String]) -> String {
    let mut text = String::new();
    for same in lines.chunk_by(|a, b| a.starts_with(' ') == b.starts_with(' ')) {
        if same[0].starts_with(' ') && same.len() > 5 {
            let (head, tail) = (&same[..2], &same[same.len() - 2..]);
            let lines = [head, &[" …".to_owned()], tail].concat();
            text += &(lines.join("\n") + "\n");
        } else {
            text += &(same.join("\n") + "\n");
        }
    }
    text
}
