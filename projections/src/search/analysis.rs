//! Text analysis, independent of the engine: what is indexed is the tokens made here, joined by spaces, so that any
//! engine with a whitespace tokenizer finds the same.
//!
//! Folding: compatibility decomposition without marks (`É` → `e`, `ﬁ` → `fi`), lower case, `ß` → `ss` and the like. Tokens
//! are runs of letters and digits; apostrophes vanish (`men's` → `mens`); ideographs and kana stand alone. English plurals
//! lose their ending, the same way in texts and queries. No stop words: `the who` is a band.

use std::ops::Range;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

use super::document::Listing;

/// Moves whenever tokens come out differently: an index of another version is rebuilt.
pub const ANALYSIS_VERSION: u32 = 1;

/// Most characters of a token; the rest of a longer run is dropped.
const MAX_TOKEN_CHARS: usize = 64;
/// Most tokens that are taken from a description.
const MAX_DESCRIPTION_TOKENS: usize = 512;

const NAME_WEIGHT: usize = 5;
const BRAND_WEIGHT: usize = 3;
const CATEGORY_WEIGHT: usize = 3;
const ATTRIBUTE_WEIGHT: usize = 2;
const DESCRIPTION_WEIGHT: usize = 1;

/// Calls `emit` with every folded token (not stemmed) and where it stands in the text.
pub fn tokens(text: &str, mut emit: impl FnMut(&str, Range<usize>)) {
    let mut token = String::new();
    let (mut start, mut end, mut chars) = (0, 0, 0);
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if matches!(c, '\'' | '\u{2019}' | '\u{02bc}') {
            continue;
        }
        fold_char(c, |folded| {
            let part_of_word = folded.is_alphanumeric();
            if (!part_of_word || broken_between(&token, folded)) && !token.is_empty() {
                emit(&token, start..end);
                token.clear();
            }
            if !part_of_word {
                return;
            }
            if token.is_empty() {
                (start, chars) = (at, 0);
            }
            end = next;
            if chars < MAX_TOKEN_CHARS {
                token.push(folded);
                chars += 1;
            }
        });
    }
    if !token.is_empty() {
        emit(&token, start..end);
    }
}

/// An ideograph ends the token before it, and the one that begins with it.
fn broken_between(token: &str, next: char) -> bool {
    is_ideograph(next) || token.chars().next_back().is_some_and(is_ideograph)
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3134f}')
}

fn fold_char(c: char, mut emit: impl FnMut(char)) {
    if c.is_ascii() {
        emit(c.to_ascii_lowercase());
        return;
    }
    decompose_compatible(c, |part| {
        if is_combining_mark(part) {
            return;
        }
        for lower in part.to_lowercase() {
            let plain = match lower {
                'ß' => "ss",
                'æ' => "ae",
                'œ' => "oe",
                'ø' => "o",
                'ł' => "l",
                'đ' | 'ð' => "d",
                'þ' => "th",
                'ı' => "i",
                other => {
                    if !is_combining_mark(other) {
                        emit(other);
                    }
                    continue;
                }
            };
            plain.chars().for_each(&mut emit);
        }
    });
}

/// Takes the ending off an English plural: `lights` → `light`, `berries` → `berry`, `boxes` → `box`; `glass` stays.
pub fn stem(token: &mut String) {
    if token.len() <= 3 || !token.bytes().all(|b| b.is_ascii_lowercase()) {
        return;
    }
    if token.len() > 4 && token.ends_with("ies") {
        token.truncate(token.len() - 3);
        token.push('y');
    } else if ["sses", "shes", "ches", "xes"].iter().any(|ending| token.ends_with(ending)) {
        token.truncate(token.len() - 2);
    } else if token.ends_with('s') && !["ss", "us", "is"].iter().any(|ending| token.ends_with(ending)) {
        token.pop();
    }
}

/// The form that filter values are compared in: trimmed, lower case.
#[must_use]
pub fn fold_value(value: &str) -> String {
    value.trim().to_lowercase()
}

/// The stemmed tokens of a text.
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    tokens(text, |token, _| {
        let mut term = token.to_owned();
        stem(&mut term);
        all.push(term);
    });
    all
}

/// A listing's words joined by spaces, each repeated by the weight of its field: the term frequency that ranking sees is
/// then the weighted sum over fields (BM25F: Robertson, Zaragoza and Taylor, "Simple BM25 extension to multiple weighted
/// fields", 2004), in one posting list a word.
#[must_use]
pub fn indexed_text(listing: &Listing) -> String {
    let mut text = String::with_capacity(512);
    let mut add = |source: &str, weight: usize, most: usize| {
        let mut count = 0;
        tokens(source, |token, _| {
            count += 1;
            if count > most {
                return;
            }
            let mut term = token.to_owned();
            stem(&mut term);
            for _ in 0..weight {
                text.push_str(&term);
                text.push(' ');
            }
            if let Some(digits) = code_part(token) {
                text.push_str(digits);
                text.push(' ');
            }
        });
    };
    add(listing.name.as_str(), NAME_WEIGHT, usize::MAX);
    add(listing.brand.as_str(), BRAND_WEIGHT, usize::MAX);
    add(listing.category.as_str(), CATEGORY_WEIGHT, usize::MAX);
    for attribute in &listing.attributes {
        add(attribute.display.as_str(), ATTRIBUTE_WEIGHT, usize::MAX);
        if attribute.display != attribute.value {
            add(attribute.value.as_str(), ATTRIBUTE_WEIGHT, usize::MAX);
        }
    }
    if let Some(description) = &listing.description {
        add(description.as_str(), DESCRIPTION_WEIGHT, MAX_DESCRIPTION_TOKENS);
    }
    text
}

/// The number within a code: `85123` of `85123a`; none if it is not the longer part.
fn code_part(token: &str) -> Option<&str> {
    let digits = token.bytes().take_while(u8::is_ascii_digit).count();
    (digits >= 3 && digits < token.len()).then(|| &token[..digits])
}

/// A SKU's searchable forms joined by spaces: whole in lower case, its parts, the number in front.
#[must_use]
pub fn indexed_code(sku: &str) -> String {
    let whole = sku.to_ascii_lowercase();
    let mut forms = vec![whole.clone()];
    tokens(sku, |part, _| {
        forms.push(part.to_owned());
        forms.extend(code_part(part).map(str::to_owned));
    });
    forms.retain(|form| form.len() > 1 || *form == whole);
    forms.sort_unstable();
    forms.dedup();
    forms.join(" ")
}

/// Words that mean the same. Applied to queries, so that changing them asks for no new index.
#[derive(Debug, Clone)]
pub struct Synonyms {
    groups: Vec<Vec<Vec<String>>>,
}

impl Synonyms {
    /// Groups of words or phrases that stand for each other.
    #[must_use]
    pub fn new<G, W>(groups: G) -> Self
    where
        G: IntoIterator,
        G::Item: IntoIterator<Item = W>,
        W: AsRef<str>,
    {
        let analysed = |words: G::Item| -> Vec<Vec<String>> {
            words.into_iter().map(|word| terms(word.as_ref())).filter(|terms| !terms.is_empty()).collect()
        };
        Self { groups: groups.into_iter().map(analysed).filter(|group| group.len() > 1).collect() }
    }

    /// What else a (stemmed) word may be called: each a sequence of words that must all be there.
    pub(super) fn of<'a>(&'a self, term: &'a str) -> impl Iterator<Item = &'a [String]> + 'a {
        let is_it = move |phrase: &Vec<String>| phrase.len() == 1 && phrase[0] == term;
        self.groups
            .iter()
            .filter(move |group| group.iter().any(is_it))
            .flatten()
            .filter(move |phrase| !is_it(phrase))
            .map(Vec::as_slice)
    }
}

impl Default for Synonyms {
    /// Spellings and names that differ between British and American shops.
    fn default() -> Self {
        Self::new([
            &["colour", "color"][..],
            &["grey", "gray"],
            &["jewellery", "jewelry"],
            &["sofa", "couch", "settee"],
            &["trousers", "pants"],
            &["trainers", "sneakers"],
            &["jumper", "sweater", "pullover"],
            &["tshirt", "tee", "t shirt"],
            &["mug", "cup"],
            &["rucksack", "backpack"],
            &["torch", "flashlight"],
            &["nappy", "diaper"],
        ])
    }
}
