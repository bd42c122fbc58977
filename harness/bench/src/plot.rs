//! Draws how a cost grows with the number of connections, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::contest::Contest;
use crate::workload::Metric;

/// As narrow as the other pictures of the book, so that its text can be read on a phone.
const SIZE: (u32, u32) = (480, 420);
const MARGIN: u32 = 12;

/// The legend below the plot: how many names in a row, and the height of a row.
const NAMES_IN_A_ROW: u32 = 3;
const ROW: u32 = 26;

/// The picture has its own background, so that it looks the same on light and dark pages.
const CARD: RGBColor = RGBColor(0xf4, 0xf5, 0xf2);
const INK: RGBColor = RGBColor(0x1c, 0x26, 0x2b);
const GRID: RGBColor = RGBColor(0xd5, 0xd9, 0xd6);
/// The font of all text. plotters divides the size by 1.24, so the SVG has the size 15 of the
/// other pictures.
const FONT: (&str, u32) = ("system-ui, sans-serif", 19);

const COLOURS: [RGBColor; 6] = [
    RGBColor(0xb3, 0x26, 0x1e),
    RGBColor(0x1b, 0x5e, 0x9e),
    RGBColor(0x2e, 0x7d, 0x32),
    RGBColor(0x8e, 0x5a, 0x00),
    RGBColor(0x6a, 0x3d, 0x9a),
    RGBColor(0x37, 0x47, 0x4f),
];

/// One line of a plot.
struct Series {
    name: String,
    /// Numbers of connections, with the CPU time for a unit of work.
    points: Vec<(f64, f64)>,
}

/// The texts and scales of a plot.
pub struct Labels<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// The factor by which the figures, in seconds, are multiplied.
    pub scale: f64,
    /// The base of the logarithm along x.
    pub base: f64,
}

/// CPU time for a unit of work by number of connections, with a line for each contender.
pub fn cost(contests: &[Contest], labels: &Labels) -> Result<String> {
    let series = series(contests, labels.scale);
    let mut svg = String::new();
    draw(&series, labels, SVGBackend::with_string(&mut svg, SIZE))
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(accessible(&svg, labels.title))
}

fn series(contests: &[Contest], scale: f64) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for contest in contests {
        let connections = contest.workload.load.connections() as f64;
        for entry in &contest.entries {
            let Some(cpu) = entry.median(Metric::Cpu) else {
                continue;
            };
            let (name, point) = (entry.who.name(), (connections, cpu * scale));
            match all.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => all.push(Series {
                    name,
                    points: vec![point],
                }),
            }
        }
    }
    all
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(series: &[Series], labels: &Labels, backend: SVGBackend) -> Drawn {
    let root = backend.into_drawing_area();
    root.fill(&CARD)?;
    let points = || series.iter().flat_map(|series| &series.points);
    let widest = points().map(|point| point.0).fold(2.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let lowest = points().map(|point| point.1).fold(highest, f64::min);
    // Both are logarithmic: twice the cost is the same distance at the bottom and at the top.
    let xs = (1.0..widest).log_scale().base(labels.base);
    let ys = (lowest * 0.8..highest * 1.2).log_scale().base(2.0);
    let text = FONT.into_font().color(&INK);
    let rows = (series.len() as u32).div_ceil(NAMES_IN_A_ROW);
    let legend = SIZE.1 - rows * ROW;
    let mut chart = ChartBuilder::on(&root)
        .caption(labels.title, text.clone())
        .margin(MARGIN)
        .margin_right(2 * MARGIN)
        .margin_bottom(rows * ROW + MARGIN)
        .x_label_area_size(52)
        .y_label_area_size(70)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (index, series) in series.iter().enumerate() {
        let style = COLOURS[index % COLOURS.len()].stroke_width(2);
        let size = 3 + index as u32 % 3; // the lines also differ without colours
        let line = LineSeries::new(series.points.iter().copied(), style).point_size(size);
        chart.draw_series(line)?;
        let (row, column) = (index as u32 / NAMES_IN_A_ROW, index as u32 % NAMES_IN_A_ROW);
        let x = (MARGIN + column * (SIZE.0 - 2 * MARGIN) / NAMES_IN_A_ROW) as i32;
        let y = (legend + row * ROW + 8) as i32;
        root.draw(&PathElement::new([(x, y), (x + 24, y)], style))?;
        root.draw(&Circle::new((x + 12, y), size, style))?;
        let name = Text::new(series.name.as_str(), (x + 30, y - 8), text.clone());
        root.draw(&name)?;
    }
    root.present()?;
    Ok(())
}

/// Adds the title for screen readers.
fn accessible(svg: &str, title: &str) -> String {
    let head = format!("<svg role=\"img\" aria-label=\"{title}\" ");
    let mut text = svg.replacen("<svg ", &head, 1);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Who;
    use crate::contest::Entry;
    use crate::measure::Figures;
    use crate::workload;

    #[test]
    fn a_plot_names_its_lines_and_axes() {
        let entry = |who| Entry {
            who,
            rounds: vec![Figures::from([(Metric::Cpu, 3e-6)])],
            failure: None,
        };
        let contest = |workload| Contest {
            workload,
            entries: vec![entry(Who::Floor), entry(Who::Stage04)],
        };
        let contests: Vec<Contest> = workload::more_clients().into_iter().map(contest).collect();
        let labels = Labels {
            title: "a title",
            x: "clients",
            y: "microseconds",
            scale: 1e6,
            base: 10.0,
        };
        let svg = cost(&contests, &labels).unwrap();
        for text in [
            "a title",
            "clients",
            "microseconds",
            "floor",
            "stage04",
            "1000",
        ] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }
}
