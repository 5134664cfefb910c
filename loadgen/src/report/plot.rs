//! Plots as SVG text: lines over a linear or logarithmic axis, readable in light and in dark.
//!
//! Colours in the SVG are placeholders for what they mean (see [`Tone`]); the page's style sheet replaces them by those
//! of the light or the dark scheme.

use crate::report::axis::{Axis, Scale};
use plotters::prelude::*;

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// Its points from left to right; a value that is not a number makes a gap.
    pub points: Vec<(f64, f64)>,
}

/// Colours by their meaning.
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

/// The order in which lines take colours.
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

/// Colour of the text; the style sheet replaces it as those of [`Tone`].
const TEXT: RGBColor = RGBColor(0xE0, 0, 1);
/// Colour of the grid; the style sheet replaces it too.
const GRID: RGBColor = RGBColor(0xF0, 0, 1);

/// A chart. The page writes its legend.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Scale and title of the horizontal axis.
    pub x: (Scale, &'static str),
    /// Scale and title of the vertical axis.
    pub y: (Scale, &'static str),
    /// Its lines, drawn in this order.
    pub lines: Vec<Line>,
}

/// A line of at most this many points marks each of them.
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
    /// Width of the picture in its own units, about two per pixel of the page because the library draws at whole units.
    const fn units(self) -> u32 {
        match self {
            Self::Half => 1050,
            Self::Whole => 2200,
        }
    }
}

/// Height of the picture in its own units.
const HEIGHT: u32 = 500;
/// Size of the text in units of the picture.
const TEXT_UNITS: i32 = 27;

impl Chart {
    /// The greatest value of its lines; 0 without values.
    pub fn greatest(&self) -> f64 {
        self.values(|point| point.1).fold(0.0, f64::max)
    }

    /// The whole `<svg>` element. The vertical axis reaches at least to `y_to`, so that two charts can have the same
    /// scale.
    pub fn svg(&self, y_to: f64, width: Width) -> String {
        let x = Axis::over(self.x.0, self.values(|point| point.0), 0.0);
        let y = Axis::over(self.y.0, self.values(|point| point.1), y_to);
        let mut svg = String::new();
        self.draw(&mut svg, width.units(), x, y).expect("text takes every drawing");
        // Without a size of its own the picture fills the room that the style sheet gives it.
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

    /// A chart draws every line in its colour, also one of a single point, and nothing outside its axes.
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
