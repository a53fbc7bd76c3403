//! Normalized ranks: sizes of one scale in the order of their size, whatever they are called.

/// Where numbers begin: after all letters.
const NUMBERS: i32 = 10_000;
/// The rank of `M`.
const MEDIUM: i32 = 500;
const STEP: i32 = 100;

/// The rank that a value is read as. `None`: it is read as no size, and a rank must be given.
///
/// - `one size`, `OS`: 0
/// - letters: `M` 500, a hundred for every size up or down: `S` 400, `XS` 300, `XXS` or `2XS` 200, `L` 600, `XL` 700, `XXL` or `2XL` 800, …
/// - numbers from 0 to 9,999 with up to two decimals or a fraction, alone or first in the text (`10`, `10.5`, `10 1/2`, `32/34`, `W32 L34`,
///   `128 cm`): 10,000 and a hundred times the number; a second number adds its hundredth part
#[must_use]
pub fn normalized(value: &str) -> Option<i32> {
    let text = value.trim().to_ascii_lowercase();
    if matches!(text.as_str(), "one size" | "onesize" | "os" | "one-size") {
        return Some(0);
    }
    letters(&text).or_else(|| numbers(&text))
}

fn letters(text: &str) -> Option<i32> {
    let (steps, size) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(0) => {
            let size = text.trim_start_matches('x');
            (i32::try_from(text.len() - size.len()).ok()?, size)
        }
        Some(digits) => {
            let count: i32 = text[..digits].parse().ok()?;
            (count, text[digits..].strip_prefix('x')?)
        }
        None => return None,
    };
    if steps > 20 {
        return None;
    }
    match size {
        "m" | "medium" if steps == 0 => Some(MEDIUM),
        "s" | "small" => Some(MEDIUM - STEP * (steps + 1)),
        "l" | "large" => Some(MEDIUM + STEP * (steps + 1)),
        _ => None,
    }
}

fn numbers(text: &str) -> Option<i32> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '.' | '-'));
    let (first, rest) = hundredths(text)?;
    let second = rest
        .find(|c: char| c.is_ascii_digit())
        .and_then(|at| hundredths(&rest[at..]))
        .map_or(0, |(second, _)| second / STEP);
    Some(NUMBERS + first + second.min(STEP - 1))
}

/// A number in hundredths from the start of the text, and what follows it.
fn hundredths(text: &str) -> Option<(i32, &str)> {
    let (whole, mut rest) = digits(text, 4)?;
    let mut hundredths = whole * STEP;
    if let Some(decimals) = rest.strip_prefix(['.', ','])
        && let Some((_, after)) = digits(decimals, 2)
    {
        let places = &decimals[..decimals.len() - after.len()];
        let scale = if places.len() == 1 { 10 } else { 1 };
        hundredths += places.parse::<i32>().ok()? * scale;
        rest = after;
    } else if let Some((share, after)) = fraction(rest) {
        hundredths += share;
        rest = after;
    }
    Some((hundredths, rest))
}

/// ` 1/2` in hundredths.
fn fraction(text: &str) -> Option<(i32, &str)> {
    let (numerator, rest) = digits(text.strip_prefix([' ', '-'])?, 1)?;
    let (denominator, rest) = digits(rest.strip_prefix('/')?, 1)?;
    (denominator > numerator).then(|| (STEP * numerator / denominator, rest))
}

/// One to `most` digits and what follows; `None` if there are none or more.
fn digits(text: &str, most: usize) -> Option<(i32, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 || count > most {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn known_values() {
        for (value, rank) in [
            ("One Size", 0),
            ("XXS", 200),
            ("2XS", 200),
            ("xs", 300),
            ("S", 400),
            ("M", 500),
            ("L", 600),
            ("XL", 700),
            ("XXXL", 900),
            ("3XL", 900),
            ("7", 10_700),
            ("10.5", 11_050),
            ("10,5", 11_050),
            ("10 1/2", 11_050),
            ("37.25", 13_725),
            ("W32 L34", 13_234),
            ("32/34", 13_234),
            ("128 cm", 22_800),
            ("EU 41", 14_100),
        ] {
            assert_eq!(normalized(value), Some(rank), "{value}");
        }
        for value in ["petite", "", "12345", "XM", "mm"] {
            assert_eq!(normalized(value), None, "{value}");
        }
    }

    #[test]
    fn ranks_are_in_the_order_of_sizes() {
        let order = [
            "4XS", "XXS", "XS", "S", "M", "L", "XL", "XXL", "3XL", "6", "6.5", "7", "7 1/2", "32/30",
            "32/34", "33",
        ];
        let ranks: Vec<_> = order.iter().map(|value| normalized(value).unwrap()).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
    }
}
