//! `report.html`: one file that needs nothing else. A template with escaping on puts the words into place; the charts' data
//! lie in it as JSON, drawn by the script in `page.js`.

mod context;
mod details;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

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
    let page = Value::from(Serde(&context::Page::of(info, records, advice, charts)));
    let data = script_json(&charts.charts).map_err(|error| format!("the charts' data: {error}"))?;
    let rendered = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().and_then(|syntax| {
        environment.set_syntax(syntax);
        environment.add_template("page", PAGE)?;
        environment.get_template("page")?.render(context! {
            page => page,
            data => Value::from_safe_string(data),
            style => Value::from_safe_string(STYLE.to_owned()),
            script => Value::from_safe_string(SCRIPT.to_owned()),
        })
    });
    rendered.map_err(|error| format!("the page's template: {error:#}"))
}

/// JSON that cannot end the script element it stands in: nothing in it is read as HTML.
fn script_json(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    // Outside of texts these characters are not JSON, so that all of them are in texts.
    Ok(json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
