//! Which words of a hit were found, marked with `<em>`; everything else is escaped for HTML.

use std::collections::{BTreeMap, HashSet};

use super::analysis::{stem, tokens};
use super::document::Listing;

/// Characters shown before and after the first find in a description.
const SNIPPET_CHARS: usize = 80;

/// The fields of a listing that hold any of the terms, with the finds marked; a description is cut around the first.
pub(super) fn highlights(listing: &Listing, terms: &HashSet<String>) -> BTreeMap<&'static str, String> {
    let fields = [
        ("name", Some(listing.name.as_str()), usize::MAX),
        ("brand", Some(listing.brand.as_str()), usize::MAX),
        ("category", Some(listing.category.as_str()), usize::MAX),
        ("description", listing.description.as_ref().map(daybook_schemas::Text::as_str), SNIPPET_CHARS),
    ];
    let found =
        fields.into_iter().filter_map(|(name, text, around)| Some((name, marked(text?, terms, around)?)));
    found.collect()
}

fn marked(text: &str, terms: &HashSet<String>, around: usize) -> Option<String> {
    let mut finds = Vec::new();
    tokens(text, |token, range| {
        let mut term = token.to_owned();
        stem(&mut term);
        if terms.contains(token) || terms.contains(&term) {
            finds.push(range);
        }
    });
    let first = finds.first()?;
    let start = back(text, first.start, around);
    let end = forth(text, first.end, around);
    let mut shown = String::with_capacity(end - start + 32);
    if start > 0 {
        shown.push('…');
    }
    let mut at = start;
    for find in finds.iter().filter(|find| find.end <= end) {
        // A character that folds to several tokens gives the same range again.
        if find.start < at {
            continue;
        }
        escape(&text[at..find.start], &mut shown);
        shown.push_str("<em>");
        escape(&text[find.clone()], &mut shown);
        shown.push_str("</em>");
        at = find.end;
    }
    escape(&text[at..end], &mut shown);
    if end < text.len() {
        shown.push('…');
    }
    Some(shown)
}

fn back(text: &str, from: usize, chars: usize) -> usize {
    let most = chars.saturating_sub(1);
    text[..from].char_indices().rev().nth(most).map_or(0, |(at, _)| at)
}

fn forth(text: &str, from: usize, chars: usize) -> usize {
    text[from..].char_indices().nth(chars).map_or(text.len(), |(at, _)| from + at)
}

fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            other => to.push(other),
        }
    }
}
