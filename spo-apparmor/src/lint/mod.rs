//! What is legal but probably not meant.

use spo_model::Diagnostic;

use crate::Unit;

/// Judges a unit.
pub fn lint(_unit: &Unit, _text: &str) -> Vec<Diagnostic> {
    Vec::new()
}
