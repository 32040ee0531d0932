//! Draws the throughput chart as SVG.
use plotters::{
    coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::series::{Dot, Figure, Line};
use crate::report::text::number;

/// In the SVG; the PNG is rendered with the first.
pub(super) const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
const WIDTH: u32 = 900;
const PLOT_HEIGHT: u32 = 500;
const LEGEND_LINE: u32 = 22;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Okabe and Ito's palette, told apart by most colour-blind people; without its yellow, too pale on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x00, 0x00),
];
/// At most so many ticks on the x axis.
const TICKS: usize = 14;

/// The x axis: where a value lies, and which values are labelled.
#[derive(Clone)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(figure: &Figure) -> Self {
        let place = |x: f64| if figure.log_x { x.ln() } else { x };
        let mut values: Vec<f64> = figure.lines.iter().flat_map(|line| &line.dots).map(|dot| dot.x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let (first, last) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(1.0));
        let margin = match place(last) - place(first) {
            0.0 => 1.0,
            span => span * 0.05,
        };
        let (low, high) = (place(first) - margin, place(last) + margin);
        // Ticks stand at the values that were measured; of those too close together, the earlier.
        let mut ticks: Vec<f64> = Vec::new();
        for value in values {
            let apart = |last: &f64| place(value) - place(*last) >= (high - low) / TICKS as f64;
            if ticks.last().is_none_or(apart) {
                ticks.push(value);
            }
        }
        Self { low, high, log: figure.log_x, ticks }
    }

    fn place(&self, x: f64) -> f64 {
        if self.log { x.ln() } else { x }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let share = (self.place(*value) - self.low) / (self.high - self.low);
        left + (f64::from(right - left) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        if self.log { self.low.exp()..self.high.exp() } else { self.low..self.high }
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        tick(*value)
    }
}

/// A tick's label: whole numbers without a fraction.
fn tick(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { number(value) }
}

/// The chart.
///
/// # Errors
/// A sentence when the drawing library refuses.
pub(super) fn svg(figure: &Figure) -> Result<String, String> {
    let mut svg = String::new();
    let legend = figure.lines.len() as u32 * LEGEND_LINE + 34;
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, PLOT_HEIGHT + legend)).into_drawing_area();
        draw(&root, figure).map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn font(size: i32, colour: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour)
}

fn draw(root: &Area<'_>, figure: &Figure) -> Drawn {
    root.fill(&WHITE)?;
    root.draw(&Text::new(
        "Output token throughput",
        (20, 14),
        (FONT, 20).into_font().style(FontStyle::Bold).color(&INK),
    ))?;
    root.draw(&Text::new(figure.subtitle.clone(), (20, 42), font(13, &FAINT)))?;
    let (plot, legend) = root.split_vertically(PLOT_HEIGHT);
    let dots = || figure.lines.iter().flat_map(|line| &line.dots);
    // From 0: a cut axis makes small differences look large.
    let top = dots().map(|dot| dot.interval.map_or(dot.median, |(_, high)| high)).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    let mut chart = ChartBuilder::on(&plot)
        .margin_left(12)
        .margin_right(24)
        .margin_top(70)
        .x_label_area_size(48)
        .y_label_area_size(84)
        .build_cartesian_2d(Axis::of(figure), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .x_desc(figure.x_label.clone())
        .y_desc("output tokens/s (median of trials)")
        .x_labels(TICKS)
        .y_labels(8)
        .y_label_formatter(&|value| tick(*value))
        .label_style(font(13, &INK))
        .axis_desc_style(font(14, &INK))
        .draw()?;
    for (index, line) in figure.lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        // A line through a figure that says nothing would draw a shape that nobody measured.
        let joined = line.dots.iter().filter(|dot| !dot.unusable).map(|dot| (dot.x, dot.median));
        chart.draw_series(LineSeries::new(joined, colour.stroke_width(2)))?;
        // In pixels, so that caps and marks have one size whatever the axes.
        for dot in &line.dots {
            let at = |y: f64| chart.backend_coord(&(dot.x, y));
            whisker(root, dot, at, colour)?;
            mark(root, index, at(dot.median), colour)?;
            if dot.unusable {
                root.draw(&Circle::new(at(dot.median), 3, WHITE.filled()))?;
            }
        }
    }
    draw_legend(&legend, &figure.lines)
}

fn whisker(root: &Area<'_>, dot: &Dot, at: impl Fn(f64) -> (i32, i32), colour: RGBColor) -> Drawn {
    let Some((low, high)) = dot.interval else { return Ok(()) };
    let ((x, bottom), (_, top)) = (at(low), at(high));
    let style = colour.stroke_width(1);
    root.draw(&PathElement::new([(x, bottom), (x, top)], style))?;
    for y in [bottom, top] {
        root.draw(&PathElement::new([(x - 6, y), (x + 6, y)], style))?;
    }
    Ok(())
}

/// A mark of the line's own shape, for those who cannot tell its colour.
fn mark(root: &Area<'_>, index: usize, (x, y): (i32, i32), colour: RGBColor) -> Drawn {
    let fill = colour.filled();
    match index % 4 {
        0 => root.draw(&Circle::new((x, y), 5, fill))?,
        1 => root.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], fill))?,
        2 => root.draw(&TriangleMarker::new((x, y), 7, fill))?,
        _ => root.draw(&Polygon::new([(x - 7, y), (x, y - 7), (x + 7, y), (x, y + 7)], fill))?,
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, lines: &[Line]) -> Drawn {
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let y = (index as u32 * LEGEND_LINE) as i32 + 14;
        area.draw(&PathElement::new([(96, y), (128, y)], colour.stroke_width(2)))?;
        mark(area, index, (112, y), colour)?;
        let middle = font(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(line.label.clone(), (138, y), middle))?;
    }
    let mut note =
        "Whiskers: 95 % interval of the median over trials; none where there were too few trials.".to_owned();
    if lines.iter().flat_map(|line| &line.dots).any(|dot| dot.unusable) {
        note.push_str(" White centre: too wide to be of use, not joined.");
    }
    let y = (lines.len() as u32 * LEGEND_LINE) as i32 + 10;
    area.draw(&Text::new(note, (96, y), font(12, &FAINT)))?;
    Ok(())
}
