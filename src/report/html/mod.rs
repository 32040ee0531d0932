//! `report.html`: one file that needs nothing else. A template with escaping on puts the words into place; the charts' data
//! lie in it as JSON, drawn by the script in `page.js`.

mod context;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use super::{advice::Advice, charts::Charts};
use crate::results::{PointRecord, RunInfo};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
///
/// # Errors
/// A sentence when the template and its values do not fit: a mistake in Tacho.
pub(super) fn page(
    info: &RunInfo,
    records: &[PointRecord],
    advice: &Advice,
    charts: &Charts,
) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Names, prompts and the last lines of a log come from outside: all text is escaped, whatever its name.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    let rendered = environment.add_template("page", PAGE).and_then(|()| {
        let values = context::Page::of(info, records, advice, charts);
        environment.get_template("page")?.render(context! {
            page => values,
            charts => &charts.charts,
            style => minijinja::Value::from_safe_string(STYLE.to_owned()),
            script => minijinja::Value::from_safe_string(SCRIPT.to_owned()),
        })
    });
    rendered.map_err(|error| format!("the page's template: {error:#}"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
