//! Plots as SVG text: lines over a linear or logarithmic axis, readable in light and in dark.
//!
//! Every colour stands in the SVG once for what it means (see [`Tone`]); the page's style sheet says
//! what it looks like in which scheme.

use crate::axis::{Axis, Scale};
use plotters::prelude::*;

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// From left to right; a gap where a value is not a number.
    pub points: Vec<(f64, f64)>,
}

/// Colours by what they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The first server, reads, or the only line.
    A,
    /// The second server, or writes.
    B,
    /// A third line.
    C,
    /// A fourth line.
    D,
}

/// In the order in which lines take them.
pub const TONES: [Tone; 4] = [Tone::A, Tone::B, Tone::C, Tone::D];

impl Tone {
    /// The name of its class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
        }
    }

    fn color(self) -> RGBColor {
        match self {
            Self::A => RGBColor(0xA0, 0, 1),
            Self::B => RGBColor(0xB0, 0, 1),
            Self::C => RGBColor(0xC0, 0, 1),
            Self::D => RGBColor(0xD0, 0, 1),
        }
    }
}

/// The style sheet knows these by their values, as it knows those of [`Tone`].
const TEXT: RGBColor = RGBColor(0xE0, 0, 1);
const GRID: RGBColor = RGBColor(0xF0, 0, 1);

/// A chart without its legend, which the page writes beside it.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What stands below.
    pub x: (Scale, &'static str),
    /// What stands at the left.
    pub y: (Scale, &'static str),
    /// Drawn in this order.
    pub lines: Vec<Line>,
}

/// A line of so few points shows where they are.
const DOTS_MAX: usize = 12;

/// How much of the page's width a chart takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Half of it: another one stands beside it.
    Half,
    /// All of it.
    Whole,
}

impl Width {
    /// Units of the picture; about twice what the page shows, as the library draws at whole ones.
    const fn units(self) -> u32 {
        match self {
            Self::Half => 1050,
            Self::Whole => 2200,
        }
    }
}

/// Likewise.
const HEIGHT: u32 = 500;
const TEXT_UNITS: i32 = 27;

impl Chart {
    /// The greatest value of its lines; 0 without any.
    pub fn greatest(&self) -> f64 {
        self.values(|point| point.1).fold(0.0, f64::max)
    }

    /// The whole `<svg>` element; `y_to` is at least shown, so that two charts can have one scale.
    pub fn svg(&self, y_to: f64, width: Width) -> String {
        let x = Axis::over(self.x.0, self.values(|point| point.0), 0.0);
        let y = Axis::over(self.y.0, self.values(|point| point.1), y_to);
        let mut svg = String::new();
        self.draw(&mut svg, width.units(), x, y).expect("text takes every drawing");
        // The style sheet gives it the room there is.
        svg.replacen(&format!("width=\"{}\" height=\"{HEIGHT}\" ", width.units()), "", 1)
    }

    fn values(&self, of: impl Fn(&(f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        self.lines.iter().flat_map(|line| &line.points).map(of).filter(|value| value.is_finite())
    }

    fn draw(&self, svg: &mut String, width: u32, x: Axis, y: Axis) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(svg, (width, HEIGHT)).into_drawing_area();
        let text = ("sans-serif", TEXT_UNITS).into_font().color(&TEXT);
        let (x_from, y_from) = (x.from, y.from);
        let mut chart = ChartBuilder::on(&area)
            .margin_top(16)
            .margin_right(48)
            .x_label_area_size(88)
            .y_label_area_size(150)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .max_light_lines(0)
            .axis_style(GRID.stroke_width(2))
            .set_all_tick_mark_size(8)
            .label_style(text.clone())
            .axis_desc_style(text)
            .x_desc(self.x.1)
            .y_desc(self.y.1)
            .draw()?;
        for line in &self.lines {
            let style = line.tone.color().stroke_width(4);
            let clamped = |point: &(f64, f64)| (point.0.max(x_from), point.1.max(y_from));
            for part in line.points.split(|point| !point.1.is_finite()) {
                if part.len() > 1 {
                    chart.draw_series(LineSeries::new(part.iter().map(clamped), style))?;
                }
                if part.len() == 1 || self.x.0 == Scale::Whole && part.len() <= DOTS_MAX {
                    let dot = |point| Circle::new(clamped(point), 8, line.tone.color().filled());
                    chart.draw_series(part.iter().map(dot))?;
                }
            }
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chart draws every line in its colour, also one of a single point, and none outside of it.
    #[test]
    fn lines_are_drawn() {
        let line = |tone, points: &[(f64, f64)]| Line { name: "x".into(), tone, points: points.to_vec() };
        let chart = Chart {
            x: (Scale::Seconds, "seconds"),
            y: (Scale::Latency, "latency"),
            lines: vec![
                line(Tone::A, &[(0.0, 100.0), (1.0, 0.0), (2.0, 300.0)]),
                line(Tone::B, &[(1.0, 900.0), (2.0, f64::NAN)]),
            ],
        };
        let svg = chart.svg(0.0, Width::Half);
        assert!(svg.starts_with("<svg viewBox=\"0 0 1050 500\""), "{svg}");
        assert!(svg.contains("<polyline fill=\"none\" opacity=\"1\" stroke=\"#A00001\""), "{svg}");
        assert!(
            svg.contains("fill=\"#B00001\"") && svg.contains("seconds") && svg.contains("latency"),
            "{svg}"
        );
        assert_eq!(chart.greatest(), 900.0);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
