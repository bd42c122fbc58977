//! Imports point down: no file imports one that stands above it on the map, and no files import
//! each other in a circle.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Import, Module, Tree};
use super::{Files, Problems, map};

/// Of a crate, whose sources these are.
pub fn problems(sources: &Files) -> Problems {
    let tree = match Tree::read(sources) {
        Ok(tree) => tree,
        Err(error) => return vec![error],
    };
    let mut problems = BTreeSet::new();
    for import in &tree.imports {
        match map::compare(&import.from, &import.to, &tree, sources) {
            Ok(Some(Ordering::Greater)) => {
                let map = map_of(&import.from, &import.to, &tree);
                let above = format!("which stands above it on the map in {map}");
                problems.insert(format!("{}, {above}", arrow(import, &tree)));
            }
            Ok(_) => {}
            Err(forgotten) => drop(problems.insert(forgotten)),
        }
    }
    let mut problems: Problems = problems.into_iter().collect();
    problems.extend(circles(&tree));
    problems
}

/// `core/session.rs:12 imports crate::config`
fn arrow(import: &Import, tree: &Tree) -> String {
    let file = &tree.files[&import.from];
    format!("{file}:{} imports {}", import.line, import.path)
}

/// The file at whose head the two are put in order: that of the last folder that both are in.
fn map_of<'t>(a: &Module, b: &Module, tree: &'t Tree) -> &'t str {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    &tree.files[&tree.module_of(&a[..common])]
}

/// Each circle, as the imports that lead around it.
fn circles(tree: &Tree) -> Problems {
    let mut problems = Vec::new();
    let mut seen: BTreeSet<&Module> = BTreeSet::new();
    for start in tree.files.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(start, tree) {
            seen.extend(circle.iter().map(|import| &import.from));
            let arrows: Problems = circle.iter().map(|it| arrow(it, tree)).collect();
            problems.push(format!("a circle: {}", arrows.join(", ")));
        }
    }
    problems
}

/// The shortest way from a file over its imports to itself.
fn way_back<'t>(start: &Module, tree: &'t Tree) -> Option<Vec<&'t Import>> {
    let mut came_by: BTreeMap<&Module, &Import> = BTreeMap::new();
    let mut next = vec![start];
    while !next.is_empty() && !came_by.contains_key(start) {
        let imports = tree.imports.iter().filter(|it| next.contains(&&it.from));
        let new = imports.filter(|it| !came_by.contains_key(&it.to));
        let mut reached = Vec::new();
        for import in new.collect::<Vec<_>>() {
            came_by.entry(&import.to).or_insert(import);
            reached.push(&import.to);
        }
        next = reached;
    }
    let mut way = vec![*came_by.get(start)?];
    while way[way.len() - 1].from != *start {
        way.push(came_by[&way[way.len() - 1].from]);
    }
    way.reverse();
    Some(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of these files.
    fn found(files: &[(&str, &str)]) -> Problems {
        let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        problems(&files.iter().map(owned).collect())
    }

    const MAP: &str = "//! | [`top`] | it |\n//! | `base` | it |\nmod base;\nmod top;\n";

    fn two(top: &str, base: &str) -> Problems {
        found(&[("lib.rs", MAP), ("top.rs", top), ("base.rs", base)])
    }

    #[test]
    fn an_import_downwards_is_right() {
        assert_eq!(two("use crate::base::One;", "struct One;"), [""; 0]);
        assert_eq!(two("fn f() { super::base::f() }", ""), [""; 0]);
    }

    #[test]
    fn an_import_upwards_is_found_wherever_it_stands() {
        for import in [
            "use crate::top::One;",
            "use crate::{top};",
            "use super::top as other;",
            "use crate::top::*;",
            "use crate::{base::f, top::{One}};",
            "fn f(one: crate::top::One) {}",
            "fn f() { crate::top::f() }",
            "fn f() { println!(\"{}\", crate::top::f()) }",
            "impl crate::top::One {}",
            "mod inner { use super::super::top; }",
            "#[cfg(not(test))] use crate::top::One;",
        ] {
            let problems = two("", &format!("\n{import}\n"));
            assert_eq!(problems.len(), 1, "{import}: {problems:?}");
            assert!(
                problems[0].starts_with("base.rs:2 imports "),
                "{problems:?}"
            );
        }
        let expected = "base.rs:1 imports crate::top::One, \
                        which stands above it on the map in lib.rs";
        assert_eq!(two("", "use crate::top::One;"), [expected]);
    }

    #[test]
    fn tests_comments_and_visibility_import_nothing() {
        let base = "//! See [`crate::top`].\n\
                    #[cfg(test)] mod tests { use crate::top::One; }\n\
                    #[cfg(test)] use crate::top::Two;\n\
                    /// [`crate::top::f`]\n\
                    pub(in crate::top) fn f() { top::f() }";
        assert_eq!(two("", base), [""; 0]);
    }

    #[test]
    fn a_circle_is_found() {
        let problems = two("use crate::base::f;", "use crate::top::f;");
        assert_eq!(problems.len(), 2, "{problems:?}");
        let expected = "a circle: base.rs:1 imports crate::top::f, \
                        top.rs:1 imports crate::base::f";
        assert_eq!(problems[1], expected);
    }

    #[test]
    fn a_circle_of_three_in_a_folder_without_a_map_is_found() {
        let problems = found(&[
            ("lib.rs", "//! - `a`: it\nmod a;"),
            ("a/mod.rs", "mod b;\nmod c;\nmod d;"),
            ("a/b.rs", "use super::c::f;"),
            ("a/c.rs", "use super::d::f;"),
            ("a/d.rs", "use crate::a::b::f;"),
        ]);
        let expected = "a circle: a/b.rs:1 imports super::c::f, a/c.rs:1 imports super::d::f, \
                        a/d.rs:1 imports crate::a::b::f";
        assert_eq!(problems, [expected]);
    }

    #[test]
    fn a_folder_has_a_map_of_its_own_or_a_place_for_each_file_in_the_map_above() {
        let inner = "//! | `b` | it |\n//! | `c` | it |\nmod b;\nmod c;";
        let files = |b, c| {
            [
                ("lib.rs", "//! - [`a`](mod@a): it\nmod a;"),
                ("a/mod.rs", inner),
                ("a/b.rs", b),
                ("a/c.rs", c),
            ]
        };
        assert_eq!(found(&files("use super::c::f;", "")), [""; 0]);
        let upwards = found(&files("", "use super::b::f;"));
        assert!(
            upwards[0].ends_with("on the map in a/mod.rs"),
            "{upwards:?}"
        );
        // A type of the folder's own file is above the rest, if nothing else is said.
        let upwards = found(&files("use super::One;", ""));
        assert_eq!(upwards.len(), 1, "{upwards:?}");
        // Here it is said: `A` is the file of the folder.
        let map = "//! - [`a`](mod@a): it\n//!   - `a::b`: it\n//!   - [`a::A`]: it\nmod a;";
        let files = [
            ("lib.rs", map),
            ("a.rs", "mod b;"),
            ("a/b.rs", "use super::A;"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn a_module_that_the_map_forgets_is_found() {
        let files = [
            ("lib.rs", "//! - `a`: it\nmod a;\nmod b;"),
            ("a.rs", "use crate::b::f;"),
            ("b.rs", ""),
        ];
        assert_eq!(found(&files), ["b.rs is not on the map in lib.rs"]);
    }
}
