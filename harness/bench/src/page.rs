//! Writes tables and pictures into a page of the book.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const PAGE: &str = "docs/src/performance.md";
const IMAGES: &str = "docs/src/images";

/// Replaces the text between `<!-- bench: NAME -->` and `<!-- bench: end -->`.
pub fn write_section(name: &str, text: &str) -> Result<()> {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let page = with_section(&page, name, text)
        .with_context(|| format!("{PAGE} has no section <!-- bench: {name} -->"))?;
    fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}

fn with_section(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&format!("<!-- bench: {name} -->\n"))?;
    let (_, after) = rest.split_once("<!-- bench: end -->")?;
    Some(format!(
        "{before}<!-- bench: {name} -->\n\n{}\n\n<!-- bench: end -->{after}",
        text.trim()
    ))
}

pub fn write_image(name: &str, svg: &str) -> Result<()> {
    let path = root().join(IMAGES).join(name);
    fs::write(&path, svg).with_context(|| format!("cannot write {IMAGES}/{name}"))
}

/// The workspace that this program was built from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- bench: t -->\nold\n<!-- bench: end -->\nb\n<!-- bench: end -->\n";
        let expected =
            "a\n<!-- bench: t -->\n\nnew\n\n<!-- bench: end -->\nb\n<!-- bench: end -->\n";
        let written = with_section(page, "t", "new\n").unwrap();
        assert_eq!(written, expected);
        assert_eq!(with_section(&written, "t", "new").unwrap(), expected);
        assert_eq!(with_section(page, "u", "new"), None);
    }
}
