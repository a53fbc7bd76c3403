//! A tone from its hexadecimal form: red, green and blue are its bytes; hue, saturation and lightness follow by the usual formulas of
//! the HSL model (CSS Color Module Level 4, section 7), in whole numbers, rounded half up.

use daybook_schemas::Invalid;
use daybook_schemas::color::{Hsl, Rgb, Tone};
use daybook_schemas::variant::HexColor;

/// The tone of `#rrggbb`, in either case.
pub fn of_hex(text: &str) -> Result<Tone, Invalid> {
    let hex = HexColor::new(text.to_ascii_lowercase())?;
    let rgb = rgb(&hex);
    Ok(Tone { hsl: hsl(rgb), rgb, hex })
}

fn rgb(hex: &HexColor) -> Rgb {
    let byte = |at: usize| {
        u8::from_str_radix(&hex.as_str()[at..at + 2], 16).expect("six hexadecimal digits follow the #")
    };
    Rgb { r: byte(1), g: byte(3), b: byte(5) }
}

/// Hue 0 to 359, saturation and lightness 0 to 100. Grey has hue 0 and saturation 0.
#[must_use]
pub fn hsl(rgb: Rgb) -> Hsl {
    let (r, g, b) = (i32::from(rgb.r), i32::from(rgb.g), i32::from(rgb.b));
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let (sum, delta) = (max + min, max - min);
    let l = rounded(sum * 100, 510);
    if delta == 0 {
        return Hsl { h: 0, s: 0, l: small(l) };
    }
    let s = rounded(delta * 100, if sum <= 255 { sum } else { 510 - sum });
    let (turn, distance) = if max == r {
        (0, g - b)
    } else if max == g {
        (120, b - r)
    } else {
        (240, r - g)
    };
    let h = rounded(60 * distance + (360 + turn) * delta, delta) % 360;
    Hsl { h: u16::try_from(h).expect("0 to 359"), s: small(s), l: small(l) }
}

/// The quotient of two numbers that are not negative, rounded half up.
const fn rounded(dividend: i32, divisor: i32) -> i32 {
    (2 * dividend + divisor) / (2 * divisor)
}

fn small(percent: i32) -> u8 {
    u8::try_from(percent).expect("0 to 100")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values() {
        for (hex, h, s, l) in [
            ("#000000", 0, 0, 0),
            ("#FFFFFF", 0, 0, 100),
            ("#808080", 0, 0, 50),
            ("#ff0000", 0, 100, 50),
            ("#00ff00", 120, 100, 50),
            ("#0000FF", 240, 100, 50),
            ("#000080", 240, 100, 25),
            ("#808000", 60, 100, 25),
            ("#ff6347", 9, 100, 64),
            ("#4682b4", 207, 44, 49),
            ("#d2691e", 25, 75, 47),
            ("#fa8072", 6, 93, 71),
            ("#663399", 270, 50, 40),
            ("#40e0d0", 174, 72, 56),
            ("#ff00ff", 300, 100, 50),
            ("#ff0001", 0, 100, 50),
        ] {
            let tone = of_hex(hex).unwrap();
            assert_eq!(tone.hsl, Hsl { h, s, l }, "{hex}");
            assert_eq!(tone.hex.as_str(), hex.to_ascii_lowercase());
        }
        assert_eq!(of_hex("#0a80ff").unwrap().rgb, Rgb { r: 10, g: 128, b: 255 });
        for bad in ["000080", "#00008", "#00008g", "navy"] {
            assert!(of_hex(bad).is_err(), "{bad}");
        }
    }

    /// The way back by the inverse formulas, within what rounding to whole numbers loses.
    fn back(hsl: Hsl) -> [f64; 3] {
        let (h, s, l) = (f64::from(hsl.h), f64::from(hsl.s) / 100.0, f64::from(hsl.l) / 100.0);
        [0.0, 8.0, 4.0].map(|n: f64| {
            let k = (n + h / 30.0) % 12.0;
            let a = s * l.min(1.0 - l);
            255.0 * (l - a * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0))
        })
    }

    proptest! {
        #[test]
        fn the_way_back_leads_near(r in any::<u8>(), g in any::<u8>(), b in any::<u8>()) {
            let hsl = hsl(Rgb { r, g, b });
            prop_assert!(hsl.h < 360 && hsl.s <= 100 && hsl.l <= 100);
            for (byte, again) in [r, g, b].into_iter().zip(back(hsl)) {
                prop_assert!((f64::from(byte) - again).abs() <= 5.0, "{r} {g} {b} {hsl:?} {again}");
            }
        }
    }
}
