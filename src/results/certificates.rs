//! The columns that say whether a row's point may be believed.
use super::{
    cells::{CellColumn, nullable, required},
    schema::Kind,
};
use crate::validity::{Certificate, Code};

/// Verdict and codes, for a table whose rows know their point's certificate.
pub(super) fn columns<'f, R: 'f>(certificate: fn(&R) -> &Certificate) -> Vec<CellColumn<'f, R>> {
    vec![
        required("certificate", Kind::Text, "", "`valid`, or `invalid`: the point's figures are not to be believed", {
            move |r: &R| certificate(r).verdict.as_str()
        }),
        nullable("invalid_reasons", Kind::Text, "", "why it is invalid: codes of docs/validity.md, by commas", {
            move |r: &R| Code::list(&certificate(r).codes())
        }),
        nullable("not_checked", Kind::Text, "", "what could not be checked: such codes, by commas", {
            move |r: &R| Code::list(&certificate(r).unchecked())
        }),
    ]
}
