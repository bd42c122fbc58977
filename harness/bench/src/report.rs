//! The results as a table for people, as Markdown for the book, as JSON for programs.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::contest::{Contest, Entry};
use crate::results::{Verdict, median};
use crate::workload::{Metric, Unit};

const HEADER: [&str; 9] = [
    "",
    "workload",
    "contender",
    "figure",
    "ratio",
    "CPU",
    "ratio",
    "load",
    "goal",
];

/// For a terminal.
pub fn for_terminal(contests: &[Contest]) -> String {
    table(contests, UTF8_FULL_CONDENSED)
}

/// For a page.
pub fn for_markdown(contests: &[Contest]) -> String {
    table(contests, ASCII_MARKDOWN)
}

fn table(contests: &[Contest], preset: &str) -> String {
    let mut table = Table::new();
    table.load_preset(preset).set_header(HEADER);
    for contest in contests {
        for (index, entry) in contest.entries.iter().enumerate() {
            table.add_row(row(contest, entry, index == 0));
        }
    }
    for column in 3..=7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// What a contender's row shows besides the CPU time: those of them that were measured.
const SHOWN: [Metric; 6] = [
    Metric::Rate,
    Metric::Memory,
    Metric::Opening,
    Metric::Refused,
    Metric::Retried,
    Metric::IdleCpu,
];

fn row(contest: &Contest, entry: &Entry, first: bool) -> [String; 9] {
    let workload = contest.workload;
    let only_first = |text: &str| {
        if first {
            text.to_owned()
        } else {
            String::new()
        }
    };
    let figure = |metric| Some(show(metric, entry.median(metric)?, workload.load.unit()));
    let figures: Vec<String> = SHOWN.into_iter().filter_map(figure).collect();
    let ratio = |metric| Some(format!("{:.2}", contest.ratio(entry, metric)?));
    let goals: Vec<String> = contest.verdicts(entry).iter().map(goal).collect();
    [
        only_first(workload.id),
        only_first(workload.title),
        entry.who.name(),
        figures.join(", "),
        ratio(SHOWN[0])
            .or_else(|| ratio(SHOWN[1]))
            .unwrap_or_default(),
        figure(Metric::Cpu).unwrap_or_default(),
        ratio(Metric::Cpu).unwrap_or_default(),
        figure(Metric::LoadCpu).unwrap_or_default(),
        match &entry.failure {
            Some(failure) => format!("failed: {failure}"),
            None => goals.join("; "),
        },
    ]
}

/// How much other programs disturbed the measurements.
pub fn disturbance(contests: &[Contest]) -> Option<String> {
    let entries = contests.iter().flat_map(|contest| &contest.entries);
    let shares: Vec<f64> = entries
        .filter_map(|entry| entry.median(Metric::Queued))
        .collect();
    let typical = median(&shares)?;
    let advice = match typical > 0.05 {
        true => ": the machine is busy, so trust the CPU time more than the throughput",
        false => "",
    };
    Some(format!(
        "server and load waited {:.0} % of the time for a CPU that other programs used{advice}",
        typical * 100.0
    ))
}

/// A figure with its unit.
pub fn show(metric: Metric, figure: f64, unit: Unit) -> String {
    match metric {
        Metric::Rate if figure >= 10_000.0 => format!("{:.1}k {}/s", figure / 1e3, unit.name()),
        Metric::Rate if figure >= 100.0 => format!("{figure:.0} {}/s", unit.name()),
        Metric::Rate => format!("{figure:.2} {}/s", unit.name()),
        Metric::Cpu | Metric::CpuAlone => format!("{}/{}", seconds(figure), unit.name()),
        Metric::Memory => format!("{figure:.0} B/{}", unit.name()),
        Metric::Opening => format!("open in {}", seconds(figure)),
        Metric::Refused => format!("{figure:.0} refused"),
        Metric::Retried => format!("{figure:.0} retried"),
        Metric::IdleCpu => format!("idle CPU {:.3} s", figure),
        Metric::Lost => format!("{figure:.0} lost"),
        Metric::LoadCpu => format!("{:.0} %", figure * 100.0),
        Metric::Queued => format!("disturbed {:.0} %", figure * 100.0),
    }
}

fn seconds(time: f64) -> String {
    match time {
        time if time >= 1.0 => format!("{time:.2} s"),
        time if time >= 1e-3 => format!("{:.1} ms", time * 1e3),
        time => format!("{:.2} µs", time * 1e6),
    }
}

fn goal(verdict: &Verdict) -> String {
    let sign = if verdict.metric.more_is_better() {
        '≥'
    } else {
        '≤'
    };
    let met = if verdict.met { "met" } else { "NOT MET" };
    match &verdict.reference {
        Some(reference) => format!(
            "{} {sign} {:.2} × {reference}: {:.2}, {met}",
            verdict.metric.name(),
            verdict.goal,
            verdict.reached
        ),
        None => {
            let goal = show(verdict.metric, verdict.goal, Unit::Connection);
            format!("{sign} {goal}: {met}")
        }
    }
}

/// CPU time for a unit of work: a line for each number of connections, a column for each
/// contender.
pub fn growth(contests: &[Contest]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    let Some(first) = contests.first() else {
        return String::new();
    };
    let names = first.entries.iter().map(|entry| entry.who.name());
    table.set_header(std::iter::once(first.workload.title.to_owned()).chain(names));
    for contest in contests {
        let load = contest.workload.load;
        let first = load.connections().to_string();
        let figures = contest.entries.iter().map(|entry| {
            let cpu = entry.median(Metric::Cpu);
            cpu.map_or_else(String::new, |cpu| show(Metric::Cpu, cpu, load.unit()))
        });
        table.add_row(std::iter::once(first).chain(figures));
    }
    table.to_string()
}

/// All results, with the figures of each round.
pub fn for_programs(contests: &[Contest], conditions: &str) -> Value {
    let metrics = |figures: &crate::measure::Figures| -> Value {
        let pairs = figures
            .iter()
            .map(|(metric, figure)| (metric.name().to_owned(), json!(figure)));
        Value::Object(pairs.collect())
    };
    let verdict = |verdict: &Verdict| {
        json!({
            "metric": verdict.metric.name(),
            "reached": verdict.reached,
            "goal": verdict.goal,
            "reference": verdict.reference,
            "met": verdict.met,
        })
    };
    let entry = |contest: &Contest, entry: &Entry| {
        json!({
            "contender": entry.who.name(),
            "rounds": entry.rounds.iter().map(metrics).collect::<Vec<_>>(),
            "failure": entry.failure,
            "goals": contest.verdicts(entry).iter().map(verdict).collect::<Vec<_>>(),
        })
    };
    let contest = |contest: &Contest| {
        json!({
            "workload": contest.workload.id,
            "title": contest.workload.title,
            "unit": contest.workload.load.unit().name(),
            "contenders": contest.entries.iter().map(|one| entry(contest, one)).collect::<Vec<_>>(),
        })
    };
    json!({
        "conditions": conditions,
        "workloads": contests.iter().map(contest).collect::<Vec<_>>(),
    })
}
