//! SKUs by strategy: automatic, from a template, or given.

use daybook_schemas::{Sku, Token};

use super::create::{configuration, parse_sku};
use super::{Create, Rejection, SkuStrategy};

/// Longest SKU.
pub const MAX_LENGTH: usize = 64;
/// Characters of an automatic SKU after its prefix, 5 bits each. 60 bits: at 20 million variants a collision of two has a
/// chance of about 1 in 6,000 (birthday bound), and is resolved by [`longer`].
pub const AUTO_CHARACTERS: usize = 12;
/// Stands for the number in the name of a template's sequence; no SKU has it.
const NUMBER: &str = "~";
/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a strategy comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkuPlan {
    /// The SKU.
    Fixed(Sku),
    /// A number of the sequence with this name is needed: see [`with_number`].
    NeedsSequence(Token),
}

/// What the strategy of the command comes to.
pub fn plan(create: &Create) -> Result<SkuPlan, Rejection> {
    match &create.sku {
        SkuStrategy::Manual { value } => Ok(SkuPlan::Fixed(value.clone())),
        SkuStrategy::Auto {} => {
            let (_, hash) = configuration(create)?;
            Ok(SkuPlan::Fixed(automatic(&hash, AUTO_CHARACTERS)?))
        }
        SkuStrategy::Template { template, max_length } => {
            let rendered = render(template, create, None)?;
            if rendered.contains(NUMBER) {
                let name: String = rendered.chars().take(MAX_LENGTH).collect();
                let name = Token::new(name)?;
                return Ok(SkuPlan::NeedsSequence(name));
            }
            within(&rendered, *max_length).map(SkuPlan::Fixed)
        }
    }
}

/// The SKU of a template with a number from its sequence. Other strategies need none and give what they give.
pub fn with_number(create: &Create, number: u64) -> Result<Sku, Rejection> {
    if let SkuStrategy::Template { template, max_length } = &create.sku {
        return within(&render(template, create, Some(number))?, *max_length);
    }
    match plan(create)? {
        SkuPlan::Fixed(sku) => Ok(sku),
        SkuPlan::NeedsSequence(name) => Err(Rejection::SkuNeedsSequence(name.to_string())),
    }
}

/// The next automatic SKU to try where one was taken: four characters more of the same hash. `None`: the strategy is
/// another one, or there is nothing longer.
#[must_use]
pub fn longer(create: &Create, taken: &Sku) -> Option<Sku> {
    let (SkuStrategy::Auto {}, Ok((_, hash))) = (&create.sku, configuration(create)) else { return None };
    let characters = taken.as_str().len().checked_sub(PREFIX.len())? + 4;
    automatic(&hash, characters).ok().filter(|sku| sku.as_str().len() > taken.as_str().len())
}

const PREFIX: &str = "V-";

fn automatic(hash: &str, characters: usize) -> Result<Sku, Rejection> {
    let mut text = String::from(PREFIX);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for nibble in hash.chars().filter_map(|digit| digit.to_digit(16)) {
        bits = (bits << 4 | nibble) & 0xFFFF;
        count += 4;
        if count >= 5 && text.len() < PREFIX.len() + characters {
            count -= 5;
            let index = usize::try_from(bits >> count & 31).expect("five bits fit");
            text.push(char::from(ALPHABET[index]));
        }
    }
    parse_sku(&text)
}

fn within(text: &str, max_length: Option<u8>) -> Result<Sku, Rejection> {
    let most = max_length.map_or(MAX_LENGTH, usize::from);
    if text.len() > most {
        return Err(Rejection::SkuTemplate(format!(
            "the template gives the SKU {text:?}, longer than {most} characters: shorten it, as in {{brand:3}}"
        )));
    }
    parse_sku(text)
}

/// Fills the template; without a number, [`NUMBER`] stands in its place.
fn render(template: &str, create: &Create, number: Option<u64>) -> Result<String, Rejection> {
    if template.len() > 200 {
        return Err(Rejection::SkuTemplate("a template has at most 200 characters".to_owned()));
    }
    let mut sku = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        literal(before, &mut sku)?;
        let Some((placeholder, after)) = after.split_once('}') else {
            return Err(Rejection::SkuTemplate("the template has a { without a }".to_owned()));
        };
        fill(placeholder, create, number, &mut sku)?;
        rest = after;
    }
    literal(rest, &mut sku)?;
    Ok(sku)
}

fn literal(text: &str, sku: &mut String) -> Result<(), Rejection> {
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(Rejection::SkuTemplate(format!("{c:?} can't stand in a SKU: A-Z a-z 0-9 . _ - can"))),
        None => {
            sku.push_str(text);
            Ok(())
        }
    }
}

fn fill(placeholder: &str, create: &Create, number: Option<u64>, sku: &mut String) -> Result<(), Rejection> {
    let (name, width) = match placeholder.split_once(':') {
        None => (placeholder, None),
        Some((name, width)) => match width.parse::<usize>() {
            Ok(width) if (1..=MAX_LENGTH).contains(&width) => (name, Some(width)),
            _ => {
                return Err(Rejection::SkuTemplate(format!(
                    "{{{placeholder}}}: a width is 1 to {MAX_LENGTH}"
                )));
            }
        },
    };
    if name == "seq" {
        let width = width.unwrap_or(0);
        match number {
            Some(number) => sku.push_str(&format!("{number:0width$}")),
            None => sku.push_str(NUMBER),
        }
        return Ok(());
    }
    let text = match name {
        "brand" => create.brand.as_str(),
        "category" => create.category.as_str(),
        "product" => create.product_id.as_str(),
        "name" => create.name.as_str(),
        kind => match create.attributes.iter().find(|attribute| attribute.kind.as_str() == kind) {
            Some(attribute) => attribute.value.as_str(),
            None => {
                return Err(Rejection::SkuTemplate(format!(
                    "{{{name}}} is not brand, category, product, name, seq or the type of an attribute given"
                )));
            }
        },
    };
    let part = upper_case(text, width.unwrap_or(MAX_LENGTH));
    if part.is_empty() {
        return Err(Rejection::SkuTemplate(format!(
            "{text:?} has no letter or digit that can stand in a SKU"
        )));
    }
    sku.push_str(&part);
    Ok(())
}

/// Letters and digits in upper case, with a hyphen for every run of other characters between them.
fn upper_case(text: &str, most: usize) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join("-").to_ascii_uppercase();
    let cut: String = joined.chars().take(most).collect();
    cut.trim_end_matches('-').to_owned()
}
