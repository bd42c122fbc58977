//! The ladders: for each stage its tasks in order, as `ladders/NAME.toml` tells them.
//!
//! ```toml
//! name = "4"                              # as it is given on the command line
//! package = "stage04-epoll"
//! title = "Many clients, one thread"
//! chapter = "docs/src/phase0/stage04.md"
//! checks = "stage04"                      # the stage in the ids of the checks
//! tests = ["--bins"]                      # where cargo finds the unit tests
//! rest = "Make it withstand"              # the title of the last task: all other checks
//!
//! [[task]]
//! title = "Ask who is ready"
//! text = "What to do: the contract, the errors, the man page."
//! section = "the-walk"                    # in the chapter
//! minutes = 30
//! hints = ["A question", "The man page, or the shape", "Nearly the code"]
//! checks = ["reverses-a-line"]
//! units = ["lines::tests::"]
//!
//! [[task.item]]
//! file = "src/server.rs"
//! item = "impl Server > fn run"
//! body = "…"                              # instead of todo!
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use harness::check::Check;
use harness::checks;
use harness::stage::Stage;
use serde::Deserialize;

/// The names of the ladders, in the order of the course.
pub const NAMES: [&str; 14] = [
    "1", "2", "3", "4", "5", "vec", "6", "7", "8", "9", "10", "11", "12", "13",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    pub name: String,
    /// The package whose source is cut.
    pub package: String,
    pub title: String,
    /// From the top of the repository.
    pub chapter: String,
    /// The stage to which the checks belong: `stage04`.
    #[serde(rename = "checks")]
    check_folder: String,
    /// The server, and the other binaries that the checks start.
    pub binary: String,
    #[serde(default)]
    pub companions: Vec<String>,
    /// The arguments for `cargo test` that choose the unit tests.
    #[serde(default)]
    pub tests: Vec<String>,
    /// The title of a last task that has all checks of the stage that no other task has.
    pub rest: Option<String>,
    #[serde(rename = "task")]
    pub tasks: Vec<Task>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    pub title: String,
    pub text: String,
    /// The section of the chapter, by its anchor.
    #[serde(default)]
    pub section: String,
    pub minutes: u32,
    #[serde(default)]
    pub hints: Vec<String>,
    /// The behaviours of the checks: `half-close`.
    #[serde(default)]
    pub checks: Vec<String>,
    /// The names of the unit tests, or what they begin with.
    #[serde(default)]
    pub units: Vec<String>,
    #[serde(default, rename = "item")]
    pub items: Vec<Cut>,
}

/// An item that the student writes, and what the starter has in its place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Within the package.
    pub file: PathBuf,
    pub item: String,
    /// The body of the function in the starter, instead of a `todo!`.
    pub body: Option<String>,
    /// The whole item in the starter.
    pub becomes: Option<String>,
}

impl Ladder {
    /// Reads the ladder with this name.
    pub fn read(root: &Path, name: &str) -> Result<Ladder> {
        let file = file_of(root, name)?;
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut ladder =
            Self::parse(&text).with_context(|| format!("cannot read {}", file.display()))?;
        if let Some(title) = ladder.rest.clone() {
            let checks = ladder.checks_without_task(root)?;
            ladder.tasks.push(Task::rest(title, checks));
        }
        Ok(ladder)
    }

    /// The ladders that are there, in order.
    pub fn all(root: &Path) -> Result<Vec<Ladder>> {
        let there = NAMES
            .into_iter()
            .filter(|name| file_of(root, name).is_ok_and(|it| it.is_file()));
        there.map(|name| Ladder::read(root, name)).collect()
    }

    /// The tasks as the file tells them, without the last one.
    fn parse(text: &str) -> Result<Ladder> {
        let ladder: Ladder = toml::from_str(text)?;
        ladder.stage()?;
        Ok(ladder)
    }

    /// The stage to which the checks belong.
    pub fn stage(&self) -> Result<Stage> {
        let found = Stage::ALL
            .into_iter()
            .find(|it| it.folder() == self.check_folder);
        found.with_context(|| format!("there are no checks of `{}`", self.check_folder))
    }

    /// The id of a check: `stage04/half-close`.
    pub fn id(&self, check: &str) -> String {
        format!("{}/{check}", self.check_folder)
    }

    /// The checks of a task, in the order in which they are run.
    pub fn checks(&self, task: &Task) -> Result<Vec<&'static Check>> {
        let ids = task.checks.iter().map(|check| self.id(check));
        ids.map(|id| checks::find(&id).with_context(|| format!("there is no check {id}")))
            .collect()
    }

    /// The checks of the stage that no task has. Several ladders share those of phase 1.
    fn checks_without_task(&self, root: &Path) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        for name in NAMES {
            let Ok(text) = fs::read_to_string(file_of(root, name)?) else {
                continue;
            };
            let other = Self::parse(&text)?;
            let checks = other.tasks.iter().flat_map(|task| &task.checks);
            taken.extend(checks.map(|check| other.id(check)));
        }
        let ids = checks::of(self.stage()?).map(Check::id);
        let free = ids.filter(|id| !taken.contains(id));
        let behaviour = |id: String| id.split_once('/').map(|(_, name)| name.to_owned());
        Ok(free.filter_map(behaviour).collect())
    }

    /// `4.2`
    pub fn number(&self, task: usize) -> String {
        format!("{}.{}", self.name, task + 1)
    }

    /// What is wrong with the ladder, apart from what only a run can show.
    pub fn problems(&self, root: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        let mut seen: Vec<&String> = Vec::new();
        let chapter = fs::read_to_string(root.join(&self.chapter)).unwrap_or_default();
        if chapter.is_empty() {
            problems.push(format!("there is no chapter {}", self.chapter));
        }
        for (number, task) in self.tasks.iter().enumerate() {
            let mut problem =
                |what: String| problems.push(format!("{}: {what}", self.number(number)));
            let is_rest = task.items.is_empty();
            if task.title.trim().is_empty() || task.text.trim().is_empty() {
                problem("it has no title or no text".to_owned());
            }
            if !is_rest
                && (task.hints.len() != 3 || task.hints.iter().any(|it| it.trim().is_empty()))
            {
                problem("it needs three hints, none of them empty".to_owned());
            }
            if task.checks.is_empty() && task.units.is_empty() {
                problem("it has neither a check nor a unit test".to_owned());
            }
            if !task.section.is_empty() && !anchors(&chapter).contains(&task.section) {
                problem(format!("the chapter has no section `{}`", task.section));
            }
            for check in &task.checks {
                if checks::find(&self.id(check)).is_none() {
                    problem(format!("there is no check {}", self.id(check)));
                }
                if seen.contains(&check) {
                    problem(format!("another task has the check {check}"));
                }
                seen.push(check);
            }
            for cut in &task.items {
                let path = root.join(&self.package).join(&cut.file);
                let found = fs::read_to_string(&path)
                    .map_err(anyhow::Error::from)
                    .and_then(|source| crate::item::find(&source, &cut.item));
                if let Err(error) = found {
                    problem(format!("{}: {error:#}", cut.file.display()));
                }
            }
        }
        problems
    }
}

impl Task {
    fn rest(title: String, checks: Vec<String>) -> Task {
        Task {
            title,
            text: "All that is left to write is done. The other checks of the stage ask what \
                   a real server must withstand. Most of them are green already: find out what \
                   the others want."
                .to_owned(),
            section: String::new(),
            minutes: 30,
            hints: Vec::new(),
            checks,
            units: Vec::new(),
            items: Vec::new(),
        }
    }
}

/// The file of the ladder with this name: `ladders/stage04.toml`, `ladders/vec.toml`.
fn file_of(root: &Path, name: &str) -> Result<PathBuf> {
    if !NAMES.contains(&name) {
        bail!(
            "there is no stage `{name}`: use one of {}",
            NAMES.join(", ")
        );
    }
    let file = match name.parse::<u32>() {
        Ok(number) => format!("stage{number:02}.toml"),
        Err(_) => format!("{name}.toml"),
    };
    Ok(root.join("harness/learn/ladders").join(file))
}

/// The anchors of a page's headings, as mdBook makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}
