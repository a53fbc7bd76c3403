//! A seeded catalogue with a history: creations, price changes, stock flips, orders, archivings.

use daybook_schemas::variant::{self, Lifecycle};
use daybook_schemas::{Currency, Money, Text, Timestamp, Token};

use super::{Log, attribute, created, label};

/// `SplitMix64` (Steele, Lea, Flood, 2014).
pub(in crate::search) struct Random(pub(in crate::search) u64);

impl Random {
    pub(in crate::search) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::search) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(in crate::search) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub(in crate::search) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(in crate::search) const WORDS: [&str; 14] = [
    "lantern", "candle", "holder", "red", "white", "metal", "heart", "mugs", "box", "boxes", "Café",
    "umbrella", "sofa", "couch",
];
pub(in crate::search) const BRANDS: [&str; 4] = ["Acme", "Bolt & Co", "acme", "Núñez"];
pub(in crate::search) const CATEGORIES: [&str; 4] = ["Home", "Garden", "Gifts", "Toys"];
pub(in crate::search) const COLORS: [&str; 5] = ["Navy", "Red", "White", "Sea Green", "red"];
pub(in crate::search) const SIZES: [&str; 3] = ["S", "M", "L"];
pub(in crate::search) const CHANNELS: [&str; 2] = ["web", "store"];
pub(in crate::search) const REGIONS: [&str; 2] = ["uk", "eu"];

fn some_price(random: &mut Random) -> variant::Price {
    let currency = if random.chance(20) { Currency::new("EUR").unwrap() } else { Currency::GBP };
    let money = |cents: u64| Money::parse(&format!("{}.{:02}", cents / 100, cents % 100), currency).unwrap();
    let cents = random.pick(&[99, 100, 499, 500, 500, 1_000, 1_999, 2_000, 12_345, 250_000]);
    let compare_at = random.chance(40).then(|| money(cents + random.pick(&[0, 50, 100, 1_000])));
    variant::Price { amount: money(cents), compare_at, price_type: variant::PriceType::Regular }
}

fn some_tokens(random: &mut Random, from: &[&str]) -> Vec<Token> {
    let chosen = from.iter().filter(|_| random.chance(40)).map(|token| Token::new(token).unwrap());
    chosen.collect()
}

fn creation(random: &mut Random, id: &str) -> variant::Created {
    let words: Vec<&str> = (0..=random.below(3)).map(|_| random.pick(&WORDS)).collect();
    let mut new = created(id, &words.join(" "));
    new.brand = label(random.pick(&BRANDS));
    new.category = label(random.pick(&CATEGORIES));
    new.attributes = Vec::new();
    for _ in 0..random.below(3) {
        let color = attribute("color", random.pick(&COLORS));
        if !new.attributes.contains(&color) {
            new.attributes.push(color);
        }
    }
    if random.chance(60) {
        new.attributes.push(attribute("size", random.pick(&SIZES)));
    }
    new.description =
        random.chance(30).then(|| Text::new(format!("A {} for you", random.pick(&WORDS))).unwrap());
    new.channels = some_tokens(random, &CHANNELS);
    new.regions = some_tokens(random, &REGIONS);
    new.price = random.chance(90).then(|| some_price(random));
    new.created_at = Timestamp::from_secs(1_300_000_000 + i64::try_from(random.below(50)).unwrap() * 86_400);
    new
}

/// The life of each variant is a random walk; ids are those of the variants that exist.
pub(in crate::search) fn log(seed: u64, variants: usize, steps: usize) -> Log {
    let mut random = Random(seed);
    let mut log = Log::default();
    let mut states: Vec<(String, Option<Lifecycle>)> =
        (0..variants).map(|n| (format!("{}-{n}", random.pick(&["A", "b", "85123A", "X.y"])), None)).collect();
    for step in 0..steps {
        let at = usize::try_from(random.below(variants as u64)).unwrap();
        let (id, state) = &mut states[at];
        match random.below(10) {
            0 => log.stock(id, random.chance(70)),
            1 => log.order(step, &[(id, 1 + random.below(9)), (id, 1)]),
            _ => walk(&mut random, &mut log, id, state),
        }
    }
    log
}

fn walk(random: &mut Random, log: &mut Log, id: &str, state: &mut Option<Lifecycle>) {
    use Lifecycle as L;
    let reason = None;
    let Some(from) = *state else {
        log.variant(id, creation(random, id));
        *state = Some(L::Draft);
        return;
    };
    let next = match (from, random.below(8)) {
        (L::Archived, _) => return,
        (_, 0) => {
            let price = some_price(random);
            let reason = Text::new("sale").unwrap();
            let changed = variant::PriceChanged {
                price,
                previous: None,
                effective_from: Timestamp::EPOCH,
                effective_to: None,
                reason,
                schedule_id: None,
            };
            log.variant(id, changed);
            return;
        }
        (_, 1) => {
            let (channels, regions) = (some_tokens(random, &CHANNELS), some_tokens(random, &REGIONS));
            log.variant(id, variant::SegmentationChanged { channels, regions, reason: None });
            return;
        }
        (_, 2) => {
            let name = Some(label(random.pick(&WORDS)));
            log.variant(id, variant::DetailsChanged { name, ..variant::DetailsChanged::default() });
            return;
        }
        (L::Draft, _) => {
            log.variant(id, variant::Submitted { from, reason });
            L::PendingApproval
        }
        (L::PendingApproval, _) => {
            log.variant(id, variant::Activated { from, reason });
            L::Active
        }
        (L::Active, 3) => {
            log.variant(id, variant::Matured { from, reason });
            L::Mature
        }
        (L::Active | L::Mature, 4) => {
            log.variant(id, variant::Cleared { from, reason });
            L::Clearance
        }
        (L::Clearance, 5) => {
            log.variant(id, variant::Discontinued { from, reason });
            L::Discontinued
        }
        (L::Discontinued, 6) => {
            log.variant(id, variant::Reactivated { from, reason });
            L::Active
        }
        (L::Discontinued, _) => {
            log.variant(id, variant::Archived { from, reason });
            L::Archived
        }
        (L::Active | L::Mature | L::Clearance, _) => {
            log.variant(id, variant::Unlocked { reason: Text::new("done").unwrap() });
            from
        }
    };
    *state = Some(next);
}
