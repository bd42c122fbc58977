//! Each stage stands alone: what its lesson does not teach is a copy in `src/given/`, and it
//! depends on no crate of this workspace.

use std::collections::BTreeMap;

use super::{Files, Problems};

pub struct Stage {
    /// Of its folder: `stage01-tcp-server`.
    pub name: String,
    /// By their path below `src/`.
    pub sources: Files,
    pub manifest: String,
}

/// These belong to one stage alone.
const OWN: [&str; 2] = ["mod.rs", "cli.rs"];

impl Stage {
    /// The files below `src/given/`, by name.
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().filter_map(|(path, text)| {
            let name = path.strip_prefix("given/")?;
            Some((name, text.as_str()))
        })
    }
}

/// Files of the same name below `src/given/` that differ, and those that differ from the lesson
/// of an earlier stage: `src/lines.rs` in the stage that teaches it.
pub fn differences(stages: &[Stage]) -> Problems {
    let mut problems = Vec::new();
    let mut first: BTreeMap<&str, (String, &str)> = BTreeMap::new();
    for stage in stages {
        for (name, text) in stage.given().filter(|(name, _)| !OWN.contains(name)) {
            let here = format!("{}/src/given/{name}", stage.name);
            let (there, original) = first.entry(name).or_insert((here.clone(), text));
            if *original != text {
                let line = first_difference(original, text);
                problems.push(format!("{here}:{line} differs from {there}"));
            }
        }
        for (name, text) in &stage.sources {
            let here = format!("{}/src/{name}", stage.name);
            let is_lesson = !name.contains('/') && !["main.rs", "lib.rs"].contains(&name.as_str());
            if is_lesson && !first.contains_key(name.as_str()) {
                first.insert(name, (here, text));
            }
        }
    }
    problems
}

/// The number of the first line in which two texts differ.
fn first_difference(a: &str, b: &str) -> usize {
    let same = a.lines().zip(b.lines()).take_while(|(a, b)| a == b);
    same.count() + 1
}

/// Files below `src/given/` for which its `mod.rs` has no row, and rows without a file.
pub fn unlisted(stages: &[Stage]) -> Problems {
    let mut problems = Vec::new();
    for stage in stages {
        let place = format!("{}/src/given", stage.name);
        let Some(list) = stage.sources.get("given/mod.rs") else {
            problems.push(format!("there is no {place}/mod.rs"));
            continue;
        };
        let rows = list.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let mut listed: Vec<&str> = rows
            .filter_map(|row| Some(row.split_once('`')?.0))
            .collect();
        for (name, _) in stage.given().filter(|(name, _)| *name != "mod.rs") {
            let name = name.trim_end_matches(".rs");
            let before = listed.len();
            listed.retain(|it| *it != name);
            if listed.len() == before {
                problems.push(format!("{place}/{name}.rs has no row in {place}/mod.rs"));
            }
        }
        let gone = listed
            .iter()
            .map(|it| format!("{place}/mod.rs lists {it}, which is not there"));
        problems.extend(gone);
    }
    problems
}

/// Dependencies of a stage on a crate of the workspace, but for `harness` in its tests.
pub fn wrong_dependencies(stages: &[Stage], workspace: &str) -> Problems {
    let workspace: toml::Table = workspace.parse().unwrap();
    let shared = &workspace["workspace"]["dependencies"];
    let is_ours = |name: &str, dependency: &toml::Value| {
        let has_path = |it: &toml::Value| it.get("path").is_some();
        has_path(dependency) || shared.get(name).is_some_and(has_path)
    };
    let mut problems = Vec::new();
    for stage in stages {
        let manifest: toml::Table = stage.manifest.parse().unwrap();
        for (kind, name, dependency) in dependencies(&manifest) {
            let allowed = kind == "dev-dependencies" && name == "harness";
            if is_ours(&name, &dependency) && !allowed {
                problems.push(format!("{} has {name} in its {kind}", stage.name));
            }
        }
    }
    problems
}

/// All of a manifest: where it stands, its name, what is said about it.
fn dependencies(manifest: &toml::Table) -> Vec<(String, String, toml::Value)> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else {
            continue;
        };
        if key.ends_with("dependencies") {
            let entries = table.iter();
            found.extend(entries.map(|(name, it)| (key.clone(), name.clone(), it.clone())));
        } else if key == "target" {
            let targets = table.values().filter_map(toml::Value::as_table);
            found.extend(targets.flat_map(dependencies));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, files: &[(&str, &str)], manifest: &str) -> Stage {
        let owned = |&(name, text): &(&str, &str)| (name.to_owned(), text.to_owned());
        Stage {
            name: name.to_owned(),
            sources: files.iter().map(owned).collect(),
            manifest: manifest.to_owned(),
        }
    }

    #[test]
    fn a_copy_that_differs_is_found() {
        let one = stage(
            "one",
            &[("lines.rs", "a\nb\n"), ("given/log.rs", "l\n")],
            "",
        );
        let two = |lines: &str, log: &str| {
            let files = [
                ("given/lines.rs", lines),
                ("given/log.rs", log),
                ("given/cli.rs", "x"),
            ];
            stage("two", &files, "")
        };
        let same = [one, two("a\nb\n", "l\n")];
        assert_eq!(differences(&same), [""; 0]);
        let [one, _] = same;
        let expected = [
            "two/src/given/lines.rs:2 differs from one/src/lines.rs",
            "two/src/given/log.rs:1 differs from one/src/given/log.rs",
        ];
        assert_eq!(differences(&[one, two("a\nc\n", "m\n")]), expected);
    }

    #[test]
    fn a_file_without_a_row_and_a_row_without_a_file_are_found() {
        let list = "//! | `cli` | it |\n//! | `gone` | it |\n";
        let files = [
            ("given/mod.rs", list),
            ("given/cli.rs", ""),
            ("given/new.rs", ""),
        ];
        let expected = [
            "one/src/given/new.rs has no row in one/src/given/mod.rs",
            "one/src/given/mod.rs lists gone, which is not there",
        ];
        assert_eq!(unlisted(&[stage("one", &files, "")]), expected);
    }

    #[test]
    fn a_dependency_on_a_crate_of_ours_is_found() {
        let workspace = "[workspace.dependencies]\nlog = \"1\"\nharness = { path = \"harness\" }\n";
        let right = "[dependencies]\nlog.workspace = true\n\
                     [dev-dependencies]\nharness.workspace = true\n";
        let wrong = "[dependencies]\nharness.workspace = true\none = { path = \"../one\" }\n\
                     [target.'cfg(unix)'.dev-dependencies]\ntwo = { path = \"../two\" }\n";
        let stages = [stage("right", &[], right), stage("wrong", &[], wrong)];
        let expected = [
            "wrong has harness in its dependencies",
            "wrong has one in its dependencies",
            "wrong has two in its dev-dependencies",
        ];
        assert_eq!(wrong_dependencies(&stages, workspace), expected);
    }
}
