//! Links: a relative link must lead to a file that exists, and its `#anchor` to a heading
//! there. A link named like a man page, `accept4(2)`, must lead to that man page.

use std::path::{Component, Path, PathBuf};

use crate::Problems;
use crate::page::{Book, Page};

pub fn problems(book: &Book, page: &Page) -> Problems {
    let exists = |path: &str| book.root.join(path).exists();
    let anchors = |path: &str| {
        let page = book.pages.iter().find(|page| page.path == path)?;
        Some(anchors(page))
    };
    problems_among(page, &exists, &anchors)
}

pub fn problems_among(
    page: &Page,
    exists: &dyn Fn(&str) -> bool,
    anchors: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Problems {
    let mut problems = Vec::new();
    for (line, text, target) in links(page) {
        let problem = if target.contains("://") {
            wrong_man_page(&text, &target)
        } else {
            dead(page, &target, exists, anchors)
        };
        problems.extend(problem.map(|problem| format!("{}:{line}: {problem}", page.path)));
    }
    problems
}

/// `docs/src/SUMMARY.md` is the table of contents that mdBook builds from.
pub fn summary_problems(book: &Book) -> Problems {
    let is_page =
        |page: &&Page| page.path.starts_with("docs/") && !page.path.ends_with("SUMMARY.md");
    let summary = book
        .pages
        .iter()
        .find(|page| page.path == "docs/src/SUMMARY.md")
        .unwrap();
    let listed: Vec<String> = links(summary)
        .into_iter()
        .filter_map(|(_, _, target)| resolve(&summary.path, &target))
        .collect();
    let unlisted = book
        .pages
        .iter()
        .filter(is_page)
        .filter(|page| !listed.contains(&page.path));
    unlisted
        .map(|page| format!("{} is not in SUMMARY.md", page.path))
        .collect()
}

/// `[text](target)`, with the number of its line. Code in backticks contains no links.
fn links(page: &Page) -> Vec<(usize, String, String)> {
    let mut links = Vec::new();
    for (number, line) in page.prose() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            rest = after;
            let in_code = before.matches('`').count() % 2 == 1;
            let (Some((_, text)), Some((target, _)), false) =
                (before.rsplit_once('['), after.split_once(')'), in_code)
            else {
                continue;
            };
            links.push((number, text.to_owned(), target.to_owned()));
        }
    }
    links
}

fn wrong_man_page(text: &str, target: &str) -> Option<String> {
    let (name, section) = text.trim_matches('`').strip_suffix(')')?.split_once('(')?;
    let section: u8 = section.parse().ok()?;
    let page = format!("https://man7.org/linux/man-pages/man{section}/{name}.{section}.html");
    (target != page).then(|| format!("`{text}` should lead to {page}"))
}

fn dead(
    page: &Page,
    target: &str,
    exists: &dyn Fn(&str) -> bool,
    anchors: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => page.path.clone(),
        path => resolve(&page.path, path)?,
    };
    if !exists(&path) {
        return Some(format!("dead link to {target}"));
    }
    let known = |anchors: Vec<String>| anchors.iter().any(|known| known == anchor);
    (!anchor.is_empty() && !anchors(&path).is_some_and(known))
        .then(|| format!("no heading for the link to {target}"))
}

/// `target` as seen from the page at `from`, without `..`.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut path = PathBuf::new();
    for component in Path::new(from).parent()?.join(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            component => path.push(component),
        }
    }
    Some(path.display().to_string())
}

/// The anchors of a page's headings, as mdBook and the code hosts make them.
pub fn anchors(page: &Page) -> Vec<String> {
    let heading = |(_, line): (usize, &str)| {
        let text = line
            .strip_prefix('#')?
            .trim_start_matches('#')
            .trim()
            .to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        Some(
            text.chars()
                .filter(kept)
                .collect::<String>()
                .replace(' ', "-"),
        )
    };
    page.prose().into_iter().filter_map(heading).collect()
}
