//! Finds an item in a Rust source by its path, and replaces it or its body.
//!
//! A path names an item as its first line does, without its visibility, its generics and its
//! arguments: `fn run`, `const MAX_LINE`, `impl Client > fn receive`, `impl Drop for Slots`.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::{Block, File, ImplItem, Item, TraitItem, Type};

/// Where an item stands in its source, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole item, with its comments for `rustdoc` and its attributes.
    pub all: Range<usize>,
    /// What a function has between its braces.
    pub body: Option<Range<usize>>,
}

/// Finds the only item with this path.
pub fn find(source: &str, path: &str) -> Result<Place> {
    let file = parse(source)?;
    let mut found = Vec::new();
    let segments: Vec<&str> = path.split(" > ").collect();
    search(&file.items, &segments, &mut found);
    let (span, block) = match found[..] {
        [only] => only,
        [] => bail!("there is no item `{path}`"),
        _ => bail!("there are {} items `{path}`", found.len()),
    };
    let lines = Lines::of(source);
    let body = block.map(|(open, close)| lines.offset(open.end())..lines.offset(close.start()));
    Ok(Place {
        all: lines.offset(span.start())..lines.offset(span.end()),
        body,
    })
}

/// The text of the item.
pub fn text<'s>(source: &'s str, path: &str) -> Result<&'s str> {
    Ok(&source[find(source, path)?.all])
}

/// The source with another text for the item.
pub fn replaced(source: &str, path: &str, with: &str) -> Result<String> {
    Ok(spliced(source, find(source, path)?.all, with))
}

/// The source with another body for the function. `body` has its own indentation.
pub fn with_body(source: &str, path: &str, body: &str) -> Result<String> {
    let place = find(source, path)?;
    let range = place
        .body
        .with_context(|| format!("`{path}` has no body"))?;
    let line = source[..place.all.start].rsplit('\n').next();
    let outer = line.unwrap_or_default();
    let inner = body.trim_end().lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{outer}    {line}\n"),
    });
    let body = format!("\n{}{outer}", inner.collect::<String>());
    Ok(spliced(source, range, &body))
}

/// Whether the source is Rust that can be parsed.
pub fn parse(source: &str) -> Result<File> {
    syn::parse_file(source).map_err(|error| {
        let LineColumn { line, column } = error.span().start();
        anyhow::anyhow!("line {line}, column {}: {error}", column + 1)
    })
}

fn spliced(source: &str, range: Range<usize>, with: &str) -> String {
    [&source[..range.start], with, &source[range.end..]].concat()
}

type Found = (Span, Option<(Span, Span)>);

fn search(items: &[Item], path: &[&str], found: &mut Vec<Found>) {
    let [first, rest @ ..] = path else { return };
    for item in items
        .iter()
        .filter(|item| name(item).as_deref() == Some(first))
    {
        match item {
            _ if rest.is_empty() => found.push((item.span(), block(item))),
            Item::Mod(module) => {
                let inner = module.content.as_ref().map(|(_, items)| &items[..]);
                search(inner.unwrap_or_default(), rest, found);
            }
            Item::Impl(block) => found.extend(block.items.iter().filter_map(|item| {
                let (name, block) = in_impl(item)?;
                (rest == [name.as_str()]).then(|| (item.span(), block))
            })),
            Item::Trait(block) => found.extend(block.items.iter().filter_map(|item| {
                let TraitItem::Fn(function) = item else {
                    return None;
                };
                let name = format!("fn {}", function.sig.ident);
                let block = function.default.as_ref().map(braces);
                (rest == [name.as_str()]).then(|| (item.span(), block))
            })),
            _ => {}
        }
    }
}

fn name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => format!("const {}", item.ident),
        Item::Enum(item) => format!("enum {}", item.ident),
        Item::Fn(item) => format!("fn {}", item.sig.ident),
        Item::Mod(item) => format!("mod {}", item.ident),
        Item::Static(item) => format!("static {}", item.ident),
        Item::Struct(item) => format!("struct {}", item.ident),
        Item::Trait(item) => format!("trait {}", item.ident),
        Item::Type(item) => format!("type {}", item.ident),
        Item::Impl(item) => {
            let of = type_name(&item.self_ty)?;
            match &item.trait_ {
                Some((path, _)) => format!("impl {} for {of}", path.segments.last()?.ident),
                None => format!("impl {of}"),
            }
        }
        _ => return None,
    })
}

fn in_impl(item: &ImplItem) -> Option<(String, Option<(Span, Span)>)> {
    match item {
        ImplItem::Fn(function) => {
            let name = format!("fn {}", function.sig.ident);
            Some((name, Some(braces(&function.block))))
        }
        ImplItem::Const(item) => Some((format!("const {}", item.ident), None)),
        _ => None,
    }
}

fn type_name(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        _ => None,
    }
}

fn block(item: &Item) -> Option<(Span, Span)> {
    match item {
        Item::Fn(function) => Some(braces(&function.block)),
        _ => None,
    }
}

fn braces(block: &Block) -> (Span, Span) {
    let braces = block.brace_token.span;
    (braces.open(), braces.close())
}

/// Turns the parser's lines and columns (in characters) into offsets in bytes.
struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    fn of(source: &'s str) -> Self {
        let after = source.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            source,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    fn offset(&self, at: LineColumn) -> usize {
        let start = self.starts[at.line - 1];
        let mut characters = self.source[start..].char_indices();
        let within = characters.nth(at.column).map(|(offset, _)| offset);
        within.map_or(self.source.len(), |offset| start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
/// The löngest.
const MAX: usize = 1;

struct Slots<T>(T);

impl<T> Slots<T> {
    /// Says é.
    pub fn say(&self) -> &str {
        \"é\" // ü
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {}
}

fn say() {}
";

    #[test]
    fn an_item_is_found_with_its_comments() {
        let found = |path| text(SOURCE, path).unwrap();
        assert_eq!(
            found("const MAX"),
            "/// The löngest.\nconst MAX: usize = 1;"
        );
        assert_eq!(found("fn say"), "fn say() {}");
        assert!(found("impl Slots > fn say").starts_with("/// Says é.\n    pub fn say"));
        assert_eq!(
            found("impl Drop for Slots > fn drop"),
            "fn drop(&mut self) {}"
        );
    }

    #[test]
    fn a_body_is_replaced_and_nothing_else() {
        let cut = with_body(SOURCE, "impl Slots > fn say", "\ntodo!(\"1\")\n").unwrap();
        let body = "&str {\n\n        todo!(\"1\")\n    }\n}\n";
        assert!(cut.contains(body), "{cut}");
        let original = text(SOURCE, "impl Slots > fn say").unwrap();
        assert_eq!(
            replaced(&cut, "impl Slots > fn say", original).unwrap(),
            SOURCE
        );
    }

    #[test]
    fn what_is_not_there_or_cannot_be_parsed_is_an_error() {
        let error = |source, path| find(source, path).unwrap_err().to_string();
        assert_eq!(error(SOURCE, "fn nothing"), "there is no item `fn nothing`");
        assert_eq!(
            error("fn a() {}\nfn a() {}\n", "fn a"),
            "there are 2 items `fn a`"
        );
        assert!(error("fn a() {\n  let;\n}\n", "fn a").starts_with("line 2, column 6"));
        assert_eq!(
            with_body(SOURCE, "const MAX", "").unwrap_err().to_string(),
            "`const MAX` has no body"
        );
    }
}
