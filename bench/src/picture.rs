//! The report as a picture: for each group a bar for each contestant, as long as its median is of the reference's, with
//! its interval.

use std::{fs, path::Path};

use plotters::prelude::*;

use crate::report::{Outcome, Report};

const WIDTH: u32 = 900;
const BAR: i32 = 22;
const HEAD: i32 = 34;
/// Where the bars begin and how long the longest may be.
const LEFT: i32 = 260;
const LONGEST: f64 = 520.0;

/// Writes it to this file.
pub(crate) fn draw(report: &Report, file: &Path) -> Result<(), String> {
    let lines: usize = report.groups.iter().map(|group| group.contestants.len()).sum();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let height = count(lines) * BAR + count(report.groups.len()) * HEAD + 20;
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    let size = (WIDTH, u32::try_from(height).unwrap_or(u32::MAX));
    let area = SVGBackend::new(file, size).into_drawing_area();
    fill(report, &area).map_err(|error| format!("{}: {error}", file.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn fill(report: &Report, area: &Area) -> Drawn {
    area.fill(&WHITE)?;
    let (title, text) = (("sans-serif", 15).into_font(), ("sans-serif", 13).into_font());
    let mut y = 10;
    for group in &report.groups {
        let head = format!("{}: of {}'s", group.name, group.reference);
        area.draw(&Text::new(head, (10, y + 10), title.clone()))?;
        y += HEAD;
        let measured = |outcome: &Outcome| match outcome {
            Outcome::Measured { ratio, .. } => Some((ratio.value, ratio.low, ratio.high)),
            Outcome::NotCounted { .. } | Outcome::NotHere { .. } => None,
        };
        let most =
            group.contestants.iter().filter_map(|line| measured(&line.result)).map(|(value, ..)| value);
        let unit = LONGEST / most.fold(1.0, f64::max);
        #[expect(clippy::cast_possible_truncation, reason = "at most as long as the longest, and cut to it")]
        let place = |ratio: f64| LEFT + (ratio * unit).min(LONGEST + 40.0) as i32;
        for line in &group.contestants {
            area.draw(&Text::new(line.name.clone(), (20, y + 4), text.clone()))?;
            let shown = match measured(&line.result) {
                Some((value, low, high)) => {
                    let color = if line.name == group.reference {
                        RGBColor(150, 150, 150)
                    } else {
                        RGBColor(70, 120, 180)
                    };
                    area.draw(&Rectangle::new([(LEFT, y + 2), (place(value), y + BAR - 4)], color.filled()))?;
                    let middle = y + BAR / 2 - 1;
                    area.draw(&PathElement::new(vec![(place(low), middle), (place(high), middle)], BLACK))?;
                    (place(high.max(value)), format!("{value:.3}"))
                }
                None => (LEFT, "not measured".into()),
            };
            area.draw(&Text::new(shown.1, (shown.0 + 8, y + 4), text.clone()))?;
            y += BAR;
        }
    }
    area.present()?;
    Ok(())
}
