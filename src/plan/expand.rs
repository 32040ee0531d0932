//! Combines axes into points: every combination, or values pairwise.
use super::{PlanError, draft::Setting};

/// How many combinations there are; [`usize::MAX`] when they cannot be counted.
///
/// # Errors
/// [`PlanError`] when axes to be zipped differ in length.
pub(crate) fn point_count(settings: &[&Setting], zip: bool) -> Result<usize, PlanError> {
    if !zip {
        return Ok(settings.iter().fold(1, |product: usize, setting| product.saturating_mul(setting.values.len())));
    }
    let mut axes = settings.iter().filter(|setting| setting.values.len() > 1);
    let Some(first) = axes.next() else { return Ok(1) };
    match axes.find(|axis| axis.values.len() != first.values.len()) {
        Some(other) => {
            let (a, b) = (first.parameter.name(), other.parameter.name());
            let problem = format!(
                "zip needs axes of equal length: '{b}' has {} values, '{a}' ({}) has {}",
                other.values.len(),
                first.at,
                first.values.len()
            );
            Err(PlanError::at(&other.at, problem).help("give both as many values, or use mode = \"cross\""))
        }
        None => Ok(first.values.len()),
    }
}

/// Every combination in order, the last setting varying fastest: each setting with the index of its value.
/// [`point_count`] must have agreed to it.
pub(crate) fn combinations<'a>(settings: &[&'a Setting], zip: bool) -> Vec<Vec<(&'a Setting, usize)>> {
    if zip {
        let length = settings.iter().map(|setting| setting.values.len()).max().unwrap_or(1);
        let row = |at: usize| settings.iter().map(|setting| (*setting, at.min(setting.values.len() - 1))).collect();
        return (0..length).map(row).collect();
    }
    let mut rows = vec![Vec::with_capacity(settings.len())];
    for &setting in settings {
        rows = rows
            .into_iter()
            .flat_map(|row| {
                (0..setting.values.len()).map(move |index| {
                    let mut longer = row.clone();
                    longer.push((setting, index));
                    longer
                })
            })
            .collect();
    }
    rows
}
