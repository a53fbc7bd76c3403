//! Made-up variants for load tests: the same seed gives the same rows, and row `n` is the same however many there are.
//!
//! A product is a garment of a brand with a matrix of colours and sizes, so that variants have neighbours, prices repeat within a product,
//! and brands, categories and colours are as unevenly spread as in a shop.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Colours of a product, and sizes of a product.
const COLORS: u64 = 4;
const SIZES: u64 = 6;
const MATRIX: u64 = COLORS * SIZES;

const BRANDS: [&str; 40] = [
    "Acre & Loom",
    "Alder",
    "Arbour",
    "Ashdown",
    "Bellwether",
    "Birchline",
    "Blackfriars",
    "Calder",
    "Cobalt Row",
    "Copperfield",
    "Dovecote",
    "Eastmoor",
    "Elmstead",
    "Fallow",
    "Fenwright",
    "Gable",
    "Greyling",
    "Harrow Lane",
    "Heathcote",
    "Ironmill",
    "Juniper",
    "Kestrel",
    "Larkspur",
    "Linden",
    "Marlow",
    "Meridian",
    "Northgate",
    "Oakhaven",
    "Orchard Mill",
    "Pemberley",
    "Quarry",
    "Ravenscroft",
    "Rook & Reed",
    "Saltmarsh",
    "Sorrel",
    "Tamarind",
    "Thistledown",
    "Underhill",
    "Wexford",
    "Yarrow",
];

/// A garment: its category, and the range of its prices in whole pounds.
const GARMENTS: [(&str, &str, u64, u64); 24] = [
    ("Tee", "T-Shirts", 9, 35),
    ("Henley", "T-Shirts", 15, 45),
    ("Oxford Shirt", "Shirts", 29, 95),
    ("Linen Shirt", "Shirts", 35, 110),
    ("Blouse", "Shirts", 25, 90),
    ("Polo", "Polos", 19, 70),
    ("Hoodie", "Sweats", 29, 99),
    ("Sweatshirt", "Sweats", 25, 85),
    ("Cardigan", "Knitwear", 39, 150),
    ("Crewneck", "Knitwear", 35, 140),
    ("Rollneck", "Knitwear", 45, 160),
    ("Chinos", "Trousers", 35, 110),
    ("Cords", "Trousers", 39, 120),
    ("Jeans", "Denim", 39, 180),
    ("Denim Jacket", "Denim", 59, 210),
    ("Shorts", "Shorts", 19, 70),
    ("Skirt", "Skirts", 25, 110),
    ("Midi Dress", "Dresses", 45, 190),
    ("Shirt Dress", "Dresses", 49, 170),
    ("Parka", "Coats", 99, 420),
    ("Trench", "Coats", 120, 480),
    ("Gilet", "Coats", 49, 180),
    ("Pyjamas", "Nightwear", 25, 90),
    ("Beanie", "Accessories", 9, 40),
];

const STYLES: [&str; 20] = [
    "Classic",
    "Relaxed",
    "Slim",
    "Boxy",
    "Everyday",
    "Heritage",
    "Weekend",
    "Harbour",
    "Studio",
    "Meadow",
    "Coastal",
    "Alpine",
    "Utility",
    "Quilted",
    "Ribbed",
    "Brushed",
    "Garment-Dyed",
    "Striped",
    "Textured",
    "Lightweight",
];

const MATERIALS: [&str; 10] = [
    "Cotton",
    "Organic Cotton",
    "Linen",
    "Merino",
    "Lambswool",
    "Cashmere Blend",
    "Denim",
    "Tencel",
    "Recycled Polyester",
    "Hemp",
];

const PALETTE: [(&str, &str); 24] = [
    ("Black", "#000000"),
    ("White", "#ffffff"),
    ("Navy", "#000080"),
    ("Charcoal", "#36454f"),
    ("Stone", "#928e85"),
    ("Ecru", "#c2b280"),
    ("Olive", "#808000"),
    ("Forest", "#228b22"),
    ("Sage", "#9caf88"),
    ("Teal", "#008080"),
    ("Sky", "#87ceeb"),
    ("Cobalt", "#0047ab"),
    ("Lilac", "#c8a2c8"),
    ("Plum", "#8e4585"),
    ("Burgundy", "#800020"),
    ("Brick", "#cb4154"),
    ("Coral", "#ff7f50"),
    ("Rust", "#b7410e"),
    ("Mustard", "#ffdb58"),
    ("Lemon", "#fff44f"),
    ("Camel", "#c19a6b"),
    ("Chocolate", "#7b3f00"),
    ("Blush", "#de5d83"),
    ("Silver", "#c0c0c0"),
];

const SCALE: [(&str, u32); 8] =
    [("XXS", 10), ("XS", 20), ("S", 30), ("M", 40), ("L", 50), ("XL", 60), ("XXL", 70), ("3XL", 80)];

const REGIONS: [&[&str]; 4] = [&[], &["GB"], &["GB", "IE"], &["EU"]];

/// Mixes seed and place into 64 bits that look random: splitmix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
const fn mix(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add(at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Numbers for one product, one after the other.
struct Dice(u64);

impl Dice {
    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0, 0);
        self.0 % bound
    }

    fn pick<T: Copy>(&mut self, table: &[T]) -> T {
        let at = usize::try_from(self.below(table.len() as u64)).expect("below the length of a table");
        table[at]
    }

    /// The first entries more often than the last.
    fn pick_uneven<T: Copy>(&mut self, table: &[T]) -> T {
        let length = table.len() as u64;
        let at = self.below(length).min(self.below(length));
        table[usize::try_from(at).expect("below the length of a table")]
    }
}

/// Writes rows `0..count` as lines of NDJSON. `progress` gets how many are written.
pub fn generate(count: u64, seed: u64, out: &mut dyn Write, mut progress: impl FnMut(u64)) -> io::Result<()> {
    let mut line = String::with_capacity(1_024);
    let mut product = Product::new(seed, 0);
    for number in 0..count {
        if number / MATRIX != product.number {
            product = Product::new(seed, number / MATRIX);
        }
        line.clear();
        product.line(number % MATRIX, &mut line).expect("a string takes what is written to it");
        out.write_all(line.as_bytes())?;
        if (number + 1) % 65_536 == 0 {
            progress(number + 1);
        }
    }
    progress(count);
    out.flush()
}

struct Product {
    seed: u64,
    number: u64,
    brand: &'static str,
    style: &'static str,
    garment: &'static str,
    category: &'static str,
    material: &'static str,
    pounds: u64,
    reduced: bool,
    regions: &'static [&'static str],
    first_color: usize,
    first_size: usize,
}

impl Product {
    fn new(seed: u64, number: u64) -> Self {
        let mut dice = Dice(mix(seed, number));
        let (garment, category, least, most) = dice.pick_uneven(&GARMENTS);
        Self {
            seed,
            number,
            brand: dice.pick_uneven(&BRANDS),
            style: dice.pick(&STYLES),
            garment,
            category,
            material: dice.pick(&MATERIALS),
            pounds: least + dice.below(most - least + 1),
            reduced: dice.below(5) == 0,
            regions: dice.pick_uneven(&REGIONS),
            first_color: usize::try_from(dice.below(PALETTE.len() as u64)).expect("a small number"),
            first_size: usize::try_from(dice.below(SCALE.len() as u64 - SIZES + 1)).expect("a small number"),
        }
    }

    /// The variant at this place of the matrix.
    fn line(&self, at: u64, out: &mut String) -> std::fmt::Result {
        let at = usize::try_from(at).expect("a place of a small matrix");
        let (sizes, colors) = (usize::try_from(SIZES).expect("small"), PALETTE.len());
        // Steps of 5 through 24 colours: neighbours in a product look different, and none comes twice.
        let (color, hex) = PALETTE[(self.first_color + at / sizes * 5) % colors];
        let (size, rank) = SCALE[self.first_size + at % sizes];
        let Self { seed, number, brand, style, garment, category, material, pounds, .. } = self;
        write!(
            out,
            r#"{{"aggregate":"variant","id":"g{seed:x}-{number}-{at}","command":"create","data":{{"product_id":"g{seed:x}-{number}","name":"{style} {material} {garment}","brand":"{brand}","category":"{category}","attributes":[{{"type":"color","value":"{color}","hex":"{hex}"}},{{"type":"size","value":"{size}","rank":{rank}}},{{"type":"material","value":"{material}"}}],"price":{{"amount":"{pounds}.{pence}","currency":"GBP""#,
            pence = if pounds % 2 == 0 { "00" } else { "95" },
        )?;
        if self.reduced {
            write!(out, r#","compare_at":"{}.00""#, pounds + pounds / 4 + 1)?;
        }
        write!(out, r#"}},"sku":{{"strategy":"manual","value":"G{seed:X}-{number}-{at:02}"}}"#)?;
        if !self.regions.is_empty() {
            write!(out, r#","regions":["{}"]"#, self.regions.join("\",\""))?;
        }
        if number % 2 == 0 {
            let (garment, material, brand) = (garment.to_lowercase(), material.to_lowercase(), brand);
            write!(
                out,
                r#","description":"A {garment} of {material} by {brand}, made to be worn for years.""#
            )?;
        }
        out.push_str(match number % 50 {
            48 => ",\"lifecycle\":\"draft\"}}\n",
            49 => ",\"lifecycle\":\"pending_approval\"}}\n",
            _ => ",\"lifecycle\":\"active\"}}\n",
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use daybook_aggregates::variant::{Create, SkuStrategy, configuration};

    use super::super::row::Row;
    use super::*;

    fn lines(count: u64, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        generate(count, seed, &mut out, |_| {}).unwrap();
        out
    }

    #[test]
    fn the_same_seed_gives_the_same_rows_and_another_one_others() {
        let (few, many) = (lines(100, 7), lines(200, 7));
        assert_eq!(many[..few.len()], few[..]);
        assert_ne!(lines(100, 8), few);
    }

    #[test]
    fn every_row_is_a_variant_of_its_own() {
        let out = lines(5_000, 1);
        let (mut ids, mut hashes, mut skus) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            let row = Row::of_line(line).unwrap();
            let create: Create = serde_json::from_slice(&row.body).unwrap();
            hashes.insert(configuration(&create).unwrap().1);
            let SkuStrategy::Manual { value } = create.sku else { panic!("a given SKU") };
            skus.insert(value.to_string());
            ids.insert(row.id);
        }
        assert_eq!((ids.len(), hashes.len(), skus.len()), (5_000, 5_000, 5_000));
    }
}
