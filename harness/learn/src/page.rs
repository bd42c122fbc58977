//! The tasks of a stage as a page: in the book, and in an assignment.

use crate::ladder::{Ladder, Task};
use crate::starter;

/// The page of the book, from the top of the repository.
pub fn path(ladder: &Ladder) -> String {
    let name = match ladder.name.parse::<u32>() {
        Ok(number) => format!("stage{number:02}"),
        Err(_) => ladder.name.clone(),
    };
    format!("docs/src/learn/{name}.md")
}

/// The page of the book.
pub fn of(ladder: &Ladder) -> String {
    let chapter = ladder.chapter.trim_start_matches("docs/src/");
    let (name, title) = (&ladder.name, &ladder.title);
    let count = ladder.tasks.len();
    format!(
        "# Stage {name}, step by step\n\n\
         {title}, in {count} tasks and {}. Begin with\n\n\
         ```sh\ncargo learn start {name}\n```\n\n\
         and read on in [the chapter](../{chapter}) when a task sends you there: its walk shows \
         the finished code.\n{}",
        hours(ladder),
        tasks(ladder)
    )
}

/// All tasks, each with its checks and its first two hints. The third is nearly the code.
pub fn tasks(ladder: &Ladder) -> String {
    let numbered = ladder.tasks.iter().enumerate();
    numbered
        .map(|(at, task)| of_task(ladder, at, task))
        .collect()
}

fn of_task(ladder: &Ladder, at: usize, task: &Task) -> String {
    let mut text = format!(
        "\n## Task {}: {}\n\nAbout {} minutes.\n\n{}\n",
        ladder.number(at),
        task.title,
        task.minutes,
        task.text.trim()
    );
    if !task.items.is_empty() {
        text += "\nYou write:\n\n";
    }
    for cut in &task.items {
        let item = starter::short_name(&cut.item);
        text += &format!(
            "- `{item}` in `{}/{}`\n",
            ladder.package,
            cut.file.display()
        );
    }
    let checks: Vec<String> = task.checks.iter().map(|it| format!("`{it}`")).collect();
    text += &format!("\nThese checks turn green: {}.\n", checks.join(", "));
    for (number, hint) in (1..).zip(task.hints.iter().take(2)) {
        text += &format!("\n<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>\n");
    }
    text
}

/// `about 3 hours`
pub fn hours(ladder: &Ladder) -> String {
    let minutes: u32 = ladder.tasks.iter().map(|task| task.minutes).sum();
    match (minutes + 30) / 60 {
        0 => format!("about {minutes} minutes"),
        1 => "about an hour".to_owned(),
        hours => format!("about {hours} hours"),
    }
}
