//! Human-readable texts with a length limit and no control characters.

use crate::id::{id_rule, id_schema};
use crate::macros::text_newtypes;

fn label_rule(text: &str) -> Result<(), String> {
    text_rule(text, 1, 200, "a label", false)
}

fn long_text_rule(text: &str) -> Result<(), String> {
    text_rule(text, 0, 10_000, "a text", true)
}

fn text_rule(text: &str, min: usize, max: usize, what: &str, lines: bool) -> Result<(), String> {
    let length = text.chars().take(max + 1).count();
    if length < min || length > max {
        return Err(format!("{what} is {min} to {max} characters long"));
    }
    if text.chars().any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\t'))) {
        return Err(format!("{what} has no control characters"));
    }
    if min > 0 && text.trim().is_empty() {
        return Err(format!("{what} is not blank"));
    }
    Ok(())
}

text_newtypes! {
    /// A name, brand, category, country: 1 to 200 characters on one line, not blank.
    Label: label_rule, schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 200});
    /// A description or reason: at most 10,000 characters.
    Text: long_text_rule, schemars::json_schema!({"type": "string", "maxLength": 10000});
    /// A stock keeping unit: the identifier alphabet, 1 to 64 characters. Unique over all variants, for ever.
    Sku: id_rule, id_schema();
}
