//! The modules of a crate, and what each file imports from the others.
//!
//! An import is any path in the code that leads to another file of the crate: in a `use`, in a
//! type, in an expression, in the arguments of a macro. It counts for the file as a whole. Left
//! out are `mod` declarations, restrictions of visibility (`pub(super)`), comments, and all that
//! stands under `#[cfg(test)]`.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree};

use super::Files;

/// `["core", "session"]`; the crate itself is `[]`.
pub type Module = Vec<String>;

pub struct Tree {
    /// The file of each module. One that is written out inside a file is of that file.
    pub files: BTreeMap<Module, String>,
    pub imports: Vec<Import>,
}

/// `file`, at `line`, names something in the file of the module `to`.
pub struct Import {
    pub from: Module,
    pub line: usize,
    /// As it is written: `crate::config::Role`.
    pub path: String,
    pub to: Module,
}

impl Tree {
    /// Of a crate whose `lib.rs` is among these files.
    pub fn read(sources: &Files) -> Result<Tree, String> {
        let mut tree = Tree {
            files: BTreeMap::new(),
            imports: Vec::new(),
        };
        let mut parsed = Vec::new();
        tree.add(sources, Vec::new(), "lib.rs".to_owned(), &mut parsed)?;
        for (module, syntax) in parsed {
            let mut imports = Imports {
                tree: &tree,
                file: module.clone(),
                module,
                found: Vec::new(),
            };
            imports.visit_file(&syntax);
            let found = imports.found;
            tree.imports.extend(found);
        }
        Ok(tree)
    }

    /// The module, and those that its file declares.
    fn add(
        &mut self,
        sources: &Files,
        module: Module,
        file: String,
        parsed: &mut Vec<(Module, syn::File)>,
    ) -> Result<(), String> {
        let text = sources.get(&file).ok_or(format!("there is no {file}"))?;
        let syntax = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
        self.files.insert(module.clone(), file);
        for item in &syntax.items {
            let Item::Mod(declared) = item else { continue };
            if is_test(&declared.attrs) {
                continue;
            }
            let child = [&module[..], &[declared.ident.to_string()]].concat();
            if declared.content.is_some() {
                continue; // in this file
            }
            let place = child.join("/");
            let candidates = [format!("{place}.rs"), format!("{place}/mod.rs")];
            let found = candidates.into_iter().find(|it| sources.contains_key(it));
            let found = found.ok_or(format!("there is no {place}.rs"))?;
            self.add(sources, child, found, parsed)?;
        }
        parsed.push((module, syntax));
        Ok(())
    }

    /// The module with a file of its own in which this path ends: the longest that there is.
    pub fn module_of(&self, path: &[String]) -> Module {
        let mut module = path.to_vec();
        while !self.files.contains_key(&module) {
            module.pop();
        }
        module
    }
}

/// `#[cfg(test)]`, alone or with others.
fn is_test(attributes: &[Attribute]) -> bool {
    let mut conditions = attributes.iter().filter(|it| it.path().is_ident("cfg"));
    conditions.any(|it| {
        let condition = it.parse_args::<TokenStream>();
        condition.is_ok_and(names_test)
    })
}

fn names_test(tokens: TokenStream) -> bool {
    let mut negated = false;
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "test" => return true,
            TokenTree::Group(group) if !negated && names_test(group.stream()) => return true,
            TokenTree::Ident(word) => negated = word == "not",
            _ => negated = false,
        }
    }
    false
}

struct Imports<'t> {
    tree: &'t Tree,
    /// The module whose file is read.
    file: Module,
    /// The module that is read: that one, or one that is written out inside it.
    module: Module,
    found: Vec<Import>,
}

impl Imports<'_> {
    /// A path as it is written, if it leads to a file of this crate.
    fn note(&mut self, path: &[Ident]) {
        let words: Vec<String> = path.iter().map(Ident::to_string).collect();
        let Some(absolute) = self.absolute(&words) else {
            return;
        };
        let to = self.tree.module_of(&absolute);
        if to != self.file {
            self.found.push(Import {
                from: self.file.clone(),
                line: path[0].span().start().line,
                path: words.join("::"),
                to,
            });
        }
    }

    fn absolute(&self, words: &[String]) -> Option<Vec<String>> {
        let mut base = self.module.clone();
        let mut rest = words;
        match words.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &words[1..];
            }
            "self" | "super" => {
                while let Some(word) = rest.first()
                    && ["self", "super"].contains(&word.as_str())
                {
                    if word == "super" {
                        base.pop();
                    }
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                if !self.tree.files.contains_key(&base) {
                    return None; // of another crate, or something that a `use` brought
                }
                rest = &words[1..];
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn note_use(&mut self, before: &[Ident], tree: &UseTree) {
        let with = |word: &Ident| [before, std::slice::from_ref(word)].concat();
        match tree {
            UseTree::Path(path) => self.note_use(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(name) => self.note(&with(&name.ident)),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(before, tree);
                }
            }
        }
    }

    /// What a macro is given is no syntax yet: its paths are words with `::` between them.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.note_path(&path);
                        path.clear();
                    }
                    path.push(word);
                    colons = 0;
                }
                TokenTree::Group(group) if group.delimiter() != Delimiter::None => {
                    self.note_path(&path);
                    path.clear();
                    colons = 0;
                    self.note_tokens(group.stream());
                }
                _ => {
                    self.note_path(&path);
                    path.clear();
                    colons = 0;
                }
            }
        }
        self.note_path(&path);
    }

    /// A path of more than one word: a single one may be anything.
    fn note_path(&mut self, path: &[Ident]) {
        if path.len() > 1 {
            self.note(path);
        }
    }
}

impl<'a> Visit<'a> for Imports<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.note_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let words: Vec<Ident> = path.segments.iter().map(|it| it.ident.clone()).collect();
        self.note_path(&words);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.note_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
