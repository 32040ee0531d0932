//! Charts, as SVG and, from that SVG, as PNG.

mod draw;
mod png;
mod series;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::results::{PointRecord, ResultsError, files::replace};

/// Where the throughput chart lies in the run directory.
pub(super) const THROUGHPUT_SVG: &str = "charts/throughput.svg";

/// Whether any point has a figure to draw.
pub(super) fn has_figures(records: &[PointRecord]) -> bool {
    series::Figure::of(records).is_some()
}

/// Draws `charts/throughput.svg` and `.png`; nothing when no point has a figure.
///
/// # Errors
/// [`ResultsError::Io`] when a file cannot be written, [`ResultsError::Chart`] when the drawing fails.
pub fn write(dir: &Path, records: &[PointRecord]) -> Result<Vec<PathBuf>, ResultsError> {
    let Some(figure) = series::Figure::of(records) else { return Ok(Vec::new()) };
    let svg_path = dir.join(THROUGHPUT_SVG);
    let png_path = svg_path.with_extension("png");
    let folder = dir.join("charts");
    fs::create_dir_all(&folder).map_err(ResultsError::io(&folder, "create"))?;
    let svg = draw::svg(&figure).map_err(|why| ResultsError::Chart { path: svg_path.clone(), why })?;
    let png = png::render(&svg).map_err(|why| ResultsError::Chart { path: png_path.clone(), why })?;
    replace(&svg_path, svg.as_bytes())?;
    replace(&png_path, &png)?;
    Ok(vec![svg_path, png_path])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn a_chart_has_its_words_and_its_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let paths = write(dir.path(), &testing::sweep()).unwrap();
        let svg = fs::read_to_string(&paths[0]).unwrap();
        for word in ["Output token throughput", "tokens/s", "batch size", "sim (SIMULATED)", "95 %"] {
            assert!(svg.contains(word), "no '{word}'");
        }
        let png = fs::read(&paths[1]).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        if let Some(keep) = std::env::var_os("TACHO_KEEP_CHARTS") {
            fs::copy(&paths[1], PathBuf::from(&keep).join("throughput.png")).unwrap();
            fs::copy(&paths[0], PathBuf::from(keep).join("throughput.svg")).unwrap();
        }
    }

    #[test]
    fn text_is_in_the_pixels() {
        let page = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\"><rect width=\"200\" height=\"40\" \
                 fill=\"white\"/><text x=\"5\" y=\"30\" font-family=\"{}\" font-size=\"20\">{text}</text></svg>",
                draw::FONT
            )
        };
        assert_ne!(png::render(&page("Tokens")).unwrap(), png::render(&page("")).unwrap());
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), &[]).unwrap(), Vec::<PathBuf>::new());
        let failed: Vec<_> = testing::records().into_iter().filter(|record| record.trials.is_empty()).collect();
        assert!(!failed.is_empty() && write(dir.path(), &failed).unwrap().is_empty());
    }

    #[test]
    fn a_name_from_outside_cannot_break_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = testing::sweep();
        for record in &mut records {
            record.point.engine.id = "</text><script>x</script>\u{1}&".to_owned();
        }
        let paths = write(dir.path(), &records).unwrap();
        assert!(!fs::read_to_string(&paths[0]).unwrap().contains("<script>"));
    }
}
