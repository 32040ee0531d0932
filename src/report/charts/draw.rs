//! Draws a chart as SVG.
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    model::{Chart, Dot, Mark, Series},
    scale::{Scale, TICKS},
};
use crate::report::text::{one_line, shorten};

/// In the SVG; the PNG is rendered with the first.
pub(super) const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
const WIDTH: u32 = 900;
const PLOT_HEIGHT: u32 = 500;
const LEGEND_LINE: u32 = 22;
/// More lines would be a picture of its own.
const LEGEND_MOST: usize = 20;
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
/// Half the width of a bar, in units of the axis.
const HALF_BAR: f64 = 0.36;

/// The chart.
///
/// # Errors
/// A sentence when the drawing library refuses.
pub(super) fn svg(chart: &Chart) -> Result<String, String> {
    let mut svg = String::new();
    let notes = notes(chart);
    let legend = (chart.series.len().min(LEGEND_MOST + 1) as u32) * LEGEND_LINE + notes.len() as u32 * 17 + 18;
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, PLOT_HEIGHT + legend)).into_drawing_area();
        draw(&root, chart, &notes).map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn font(size: i32, colour: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour)
}

fn draw(root: &Area<'_>, chart: &Chart, notes: &[String]) -> Drawn {
    root.fill(&WHITE)?;
    root.draw(&Text::new(
        shorten(&one_line(&chart.title), 80),
        (20, 14),
        (FONT, 20).into_font().style(FontStyle::Bold).color(&INK),
    ))?;
    root.draw(&Text::new(shorten(&one_line(&chart.subtitle), 130), (20, 42), font(13, &FAINT)))?;
    let (plot, legend) = root.split_vertically(PLOT_HEIGHT);
    let ends = || chart.dots().flat_map(|dot| dot.interval.map_or([dot.y, dot.y], |(low, high)| [low, high]));
    let lowest = ends().fold(f64::MAX, f64::min);
    let highest = chart.stacked_top().unwrap_or_else(|| ends().fold(f64::MIN, f64::max));
    let mut context = ChartBuilder::on(&plot)
        .margin_left(12)
        .margin_right(24)
        .margin_top(70)
        .x_label_area_size(48)
        .y_label_area_size(84)
        .build_cartesian_2d(
            Scale::measured(&chart.x, chart.dots().map(|dot| dot.x)),
            Scale::values(&chart.y, lowest, highest),
        )?;
    context
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .x_desc(shorten(&one_line(&chart.x.label), 90))
        .y_desc(shorten(&one_line(&chart.y.label), 60))
        .x_labels(TICKS)
        .y_labels(8)
        .label_style(font(13, &INK))
        .axis_desc_style(font(14, &INK))
        .draw()?;
    let mut stacked: Vec<(f64, f64)> = Vec::new();
    for (index, series) in chart.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line = || series.dots.iter().filter(|dot| dot.is_joined()).map(|dot| (dot.x, dot.y));
        match series.mark {
            // A curve of an invalid point is all there is of it: in dots, unlike any other.
            Mark::Line if series.is_invalid() => {
                let all = series.dots.iter().map(|dot| (dot.x, dot.y));
                context.draw_series(DashedLineSeries::new(all, 2, 5, colour.stroke_width(2)))?;
            }
            Mark::Joined | Mark::Line => {
                context.draw_series(LineSeries::new(line(), colour.stroke_width(2)))?;
            }
            Mark::Limit => {
                context.draw_series(DashedLineSeries::new(line(), 7, 4, colour.stroke_width(2)))?;
            }
            Mark::Band => {
                let (lows, highs): (Vec<_>, Vec<_>) = series
                    .dots
                    .iter()
                    .map(|dot| (dot.x, dot.interval.unwrap_or((dot.y, dot.y))))
                    .map(|(x, (low, high))| ((x, low), (x, high)))
                    .unzip();
                let outline: Vec<(f64, f64)> = highs.into_iter().chain(lows.into_iter().rev()).collect();
                context.draw_series([Polygon::new(outline, colour.mix(0.18).filled())])?;
                context.draw_series(LineSeries::new(line(), colour.stroke_width(1)))?;
            }
            Mark::Stacked => {
                for dot in &series.dots {
                    let below = stacked.iter().filter(|(x, _)| *x == dot.x).map(|(_, y)| y).sum::<f64>();
                    let corners = [(dot.x - HALF_BAR, below), (dot.x + HALF_BAR, below + dot.y)];
                    let fill = if dot.invalid { colour.mix(0.25) } else { colour.mix(1.0) };
                    context.draw_series([Rectangle::new(corners, fill.filled())])?;
                    stacked.push((dot.x, dot.y));
                }
            }
            Mark::Dots => {}
        }
        if matches!(series.mark, Mark::Joined | Mark::Dots) {
            // In pixels, so that caps and marks have one size whatever the axes.
            let at = |dot: &Dot, y: f64| context.backend_coord(&(dot.x, y));
            for dot in &series.dots {
                whisker(root, dot, |y| at(dot, y), colour)?;
                if dot.invalid {
                    crossed(root, index, at(dot, dot.y), colour)?;
                    continue;
                }
                mark(root, index, at(dot, dot.y), colour)?;
                if dot.unusable {
                    root.draw(&Circle::new(at(dot, dot.y), 3, WHITE.filled()))?;
                }
            }
        }
    }
    // Once a bar, over all of its layers.
    for (x, top) in chart.stacked_invalid() {
        for (from, to) in [(0.0, top), (top, 0.0)] {
            let ends = [(x - HALF_BAR, from), (x + HALF_BAR, to)].map(|place| context.backend_coord(&place));
            root.draw(&PathElement::new(ends, INK.stroke_width(1)))?;
        }
    }
    draw_legend(&legend, chart, notes)
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

/// The same shape hollow, and a cross through it: a point that is not to be believed, told apart without colour.
fn crossed(root: &Area<'_>, index: usize, (x, y): (i32, i32), colour: RGBColor) -> Drawn {
    mark(root, index, (x, y), colour)?;
    match index % 4 {
        0 => root.draw(&Circle::new((x, y), 3, WHITE.filled()))?,
        1 => root.draw(&Rectangle::new([(x - 3, y - 3), (x + 3, y + 3)], WHITE.filled()))?,
        2 => root.draw(&TriangleMarker::new((x, y), 4, WHITE.filled()))?,
        _ => root.draw(&Polygon::new([(x - 4, y), (x, y - 4), (x + 4, y), (x, y + 4)], WHITE.filled()))?,
    }
    for ends in [[(x - 8, y - 8), (x + 8, y + 8)], [(x - 8, y + 8), (x + 8, y - 8)]] {
        root.draw(&PathElement::new(ends, INK.stroke_width(1)))?;
    }
    Ok(())
}

/// What stands below the legend.
fn notes(chart: &Chart) -> Vec<String> {
    chart.notes.iter().map(|note| shorten(&one_line(note), 130)).collect()
}

fn draw_legend(area: &Area<'_>, chart: &Chart, notes: &[String]) -> Drawn {
    let middle = || font(13, &INK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = 14;
    for (index, series) in chart.series.iter().take(LEGEND_MOST).enumerate() {
        sample(area, series, index, y)?;
        area.draw(&Text::new(shorten(&one_line(&series.name()), 90), (138, y), middle()))?;
        y += LEGEND_LINE as i32;
    }
    if chart.series.len() > LEGEND_MOST {
        let more = format!("and {} more", chart.series.len() - LEGEND_MOST);
        area.draw(&Text::new(more, (138, y), middle()))?;
        y += LEGEND_LINE as i32;
    }
    y -= 4;
    for note in notes {
        area.draw(&Text::new(note.clone(), (96, y), font(12, &FAINT)))?;
        y += 17;
    }
    Ok(())
}

/// A series' look, beside its name.
fn sample(area: &Area<'_>, series: &Series, index: usize, y: i32) -> Drawn {
    let colour = COLOURS[index % COLOURS.len()];
    if series.mark == Mark::Stacked {
        return Ok(area.draw(&Rectangle::new([(104, y - 6), (120, y + 6)], colour.filled()))?);
    }
    if series.mark == Mark::Limit {
        for x in [96, 108, 120] {
            area.draw(&PathElement::new([(x, y), (x + 8, y)], colour.stroke_width(2)))?;
        }
        return Ok(());
    }
    if series.mark == Mark::Line && series.is_invalid() {
        for x in (96..128).step_by(7) {
            area.draw(&PathElement::new([(x, y), (x + 2, y)], colour.stroke_width(2)))?;
        }
        return Ok(());
    }
    if series.is_invalid() {
        return crossed(area, index, (112, y), colour);
    }
    if series.mark != Mark::Dots {
        area.draw(&PathElement::new([(96, y), (128, y)], colour.stroke_width(2)))?;
    }
    if matches!(series.mark, Mark::Joined | Mark::Dots) { mark(area, index, (112, y), colour) } else { Ok(()) }
}
