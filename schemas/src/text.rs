//! Human-readable texts with a length limit and no control characters.

use std::borrow::Cow;

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

fn line_feeds(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) }
}

fn slug_rule(text: &str) -> Result<(), String> {
    let words = text
        .split('-')
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    if words && text.len() <= 64 {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(format!("a slug is words of a-z 0-9 joined by single hyphens, at most 64 characters, got {shown:?}"))
}

text_newtypes! {
    /// A name, brand, category, country: 1 to 200 characters on one line, not blank.
    Label: label_rule, schemars::json_schema!({"type": "string", "minLength": 1, "maxLength": 200});
    /// A description or reason: at most 10,000 characters. Lines end with a line feed; a carriage return before one is taken away.
    Text: long_text_rule, schemars::json_schema!({"type": "string", "maxLength": 10000}), line_feeds;
    /// A stock keeping unit: the identifier alphabet, 1 to 64 characters. Unique over all variants, for ever.
    Sku: id_rule, id_schema();
    /// The name of master data in addresses: `navy-blue`.
    Slug: slug_rule, schemars::json_schema!({"type": "string", "maxLength": 64, "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"});
}

impl Slug {
    /// The slug that a name is read as: words of its ASCII letters and digits in lower case. Fails where it has none, or too many.
    pub fn of_name(name: &str) -> Result<Self, crate::Invalid> {
        let lower = name.to_ascii_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        Self::new(words.collect::<Vec<_>>().join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Label, Slug, Text};

    #[test]
    fn lines_end_with_a_line_feed() {
        assert_eq!(Text::new("one\r\ntwo\n\r\n\tthree").unwrap().as_str(), "one\ntwo\n\n\tthree");
        let read: Text = serde_json::from_str(r#""a\r\nb""#).unwrap();
        assert_eq!(read.as_str(), "a\nb");
        let full = format!("{}\r\n", "x".repeat(9_999));
        assert_eq!(Text::new(full).unwrap().as_str().len(), 10_000);
        for bad in ["a\rb", "a\r", "\r\r\n"] {
            assert!(Text::new(bad).is_err(), "{bad:?}");
        }
        assert!(Label::new("a\r\nb").is_err(), "one line");
    }

    #[test]
    fn a_slug_is_words_and_hyphens() {
        for good in ["a", "navy-blue", "90s-jeans-2"] {
            assert_eq!(Slug::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a--b", "Navy", "a b", "a/b", "é", long.as_str()] {
            assert!(Slug::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Slug::of_name(" Navy & Sky  Blue ").unwrap().as_str(), "navy-sky-blue");
        assert!(Slug::of_name("红").is_err());
    }
}
