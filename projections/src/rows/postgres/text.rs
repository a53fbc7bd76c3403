//! Text in keys and columns. PostgreSQL takes no zero byte, and data from outside may hold one: 0 is written as 1 1 and 1 as
//! 1 2. That keeps the order of bytes, prefixes included, so that every query means the same.

use std::borrow::Cow;

const ESCAPE: char = '\u{1}';

/// A text as it is stored.
pub(super) fn to_stored(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => stored.extend([ESCAPE, '\u{1}']),
            ESCAPE => stored.extend([ESCAPE, '\u{2}']),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that was stored. What no writer of ours stores is given as it is.
pub(super) fn from_stored(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut rest = stored.chars();
    while let Some(c) = rest.next() {
        if c != ESCAPE {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('\u{1}') => text.push('\0'),
            Some('\u{2}') | None => text.push(ESCAPE),
            Some(other) => text.extend([ESCAPE, other]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_and_the_order_stays(a in "[\u{0}-\u{3}a-c]{0,6}", b in "[\u{0}-\u{3}a-c]{0,6}") {
            prop_assert_eq!(from_stored(to_stored(&a).into_owned()), a.clone());
            prop_assert!(!to_stored(&a).contains('\0'));
            prop_assert_eq!(to_stored(&a).as_bytes().cmp(to_stored(&b).as_bytes()), a.as_bytes().cmp(b.as_bytes()));
            prop_assert_eq!(to_stored(&b).starts_with(&*to_stored(&a)), b.starts_with(&a));
        }
    }
}
