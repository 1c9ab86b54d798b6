//! The picture: every trial's gap as a point, on a logarithmic scale.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::stats::Summary;
use super::trial::{Fault, System, Trial};

const SIZE: (u32, u32) = (920, 460);
/// Nothing is drawn below a twentieth of a second.
const FLOOR_S: f64 = 0.05;

fn colour(system: System) -> RGBColor {
    match system {
        System::Ours => RGBColor(0, 114, 178),
        System::PatroniDefault => RGBColor(213, 94, 0),
        System::PatroniFast => RGBColor(230, 159, 0),
    }
}

/// The picture as SVG.
///
/// # Errors
/// When it can't be drawn.
pub fn gaps(trials: &[Trial]) -> Result<String> {
    let mut svg = String::new();
    draw(trials, SVGBackend::with_string(&mut svg, SIZE))
        .map_err(|error| anyhow!("draw the gaps: {error}"))?;
    Ok(svg)
}

fn draw<'a>(
    trials: &[Trial],
    backend: SVGBackend<'a>,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let faults: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| trials.iter().any(|trial| trial.fault == *fault)).collect();
    let systems: Vec<System> =
        System::ALL.into_iter().filter(|system| trials.iter().any(|trial| trial.system == *system)).collect();
    let longest = trials.iter().map(|trial| trial.gap_s).fold(1.0, f64::max);
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_top(40)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..faults.len().max(1) as f64, (FLOOR_S..longest * 1.6).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(12)
        .light_line_style(RGBColor(240, 240, 240))
        .y_desc("longest time without an acknowledged commit, seconds (log)")
        .y_label_formatter(&|seconds| format!("{seconds}"))
        .draw()?;
    for (at, fault) in faults.iter().enumerate() {
        let left = at as f64;
        let target = fault.target_s();
        chart.draw_series([PathElement::new(
            vec![(left + 0.06, target), (left + 0.94, target)],
            RGBColor(0, 158, 115).stroke_width(2),
        )])?;
        for (place, system) in systems.iter().enumerate() {
            let x = left + (place as f64 + 1.0) / (systems.len() as f64 + 1.0);
            let of = || {
                trials.iter().filter(|trial| {
                    trial.system == *system && trial.fault == *fault && trial.failed.is_none()
                })
            };
            chart.draw_series(of().map(|trial| {
                Circle::new((x, trial.gap_s.max(FLOOR_S)), 3, colour(*system).mix(0.6).filled())
            }))?;
            if let Some(all) = Summary::of(of().map(|trial| trial.gap_s.max(FLOOR_S))) {
                chart.draw_series([PathElement::new(
                    vec![(x - 0.09, all.median), (x + 0.09, all.median)],
                    colour(*system).stroke_width(3),
                )])?;
            }
        }
        let style = ("sans-serif", 12).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        for (row, words) in two_rows(fault.title()).iter().enumerate() {
            let (x, y) = chart.backend_coord(&(left + 0.5, FLOOR_S));
            area.draw_text(words, &style, (x, y + 6 + 14 * row as i32))?;
        }
    }
    legend(&area, &systems)
}

/// Names of the colours, in a row at the top.
fn legend<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    systems: &[System],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let style = ("sans-serif", 13).into_font().color(&BLACK);
    let mut x = 80;
    for system in systems {
        area.draw(&Circle::new((x, 22), 5, colour(*system).filled()))?;
        area.draw_text(system.title(), &style, (x + 10, 16))?;
        x += 150;
    }
    area.draw(&PathElement::new(vec![(x, 22), (x + 24, 22)], RGBColor(0, 158, 115).stroke_width(2)))?;
    area.draw_text("target for our median", &style, (x + 30, 16))
}

/// A long name in two rows.
fn two_rows(name: &str) -> Vec<String> {
    let middle = name.len() / 2;
    let cut = name.match_indices(' ').map(|(at, _)| at).min_by_key(|at| at.abs_diff(middle));
    match cut.filter(|_| name.len() > 12) {
        Some(at) => vec![name[..at].to_owned(), name[at + 1..].to_owned()],
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::trial;

    #[test]
    fn the_picture_has_a_point_for_each_trial_and_names_what_it_shows() {
        let trials = [
            trial(System::Ours, Fault::Switchover, 1, 0.4),
            trial(System::Ours, Fault::Switchover, 2, 0.0),
            trial(System::PatroniFast, Fault::Switchover, 1, 2.2),
        ];
        let svg = gaps(&trials).unwrap();
        let points = svg.matches("<circle").count();
        assert_eq!(points, trials.len() + 2, "three trials and two names of colours");
        for text in ["switchover", "ours", "Patroni, fast", "target"] {
            assert!(svg.contains(text), "{text} is not in the picture");
        }
        assert!(!svg.contains("Patroni, default"));
    }

    #[test]
    fn long_names_take_two_rows() {
        assert_eq!(two_rows("switchover"), ["switchover"]);
        assert_eq!(two_rows("pod deleted, graceful"), ["pod deleted,", "graceful"]);
    }
}
