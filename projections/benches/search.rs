//! Search at size: `cargo bench -p daybook-projections --bench search`.
//!
//! Generates variants, builds the index through the read model (events in, commits out), then asks mixed queries and prints
//! latencies with their conditions. Measures, asserts nothing. Settings from the environment:
//!
//! - `SEARCH_VARIANTS` (1000000): how many variants; 20000000 is the design point
//! - `SEARCH_QUERIES` (400): queries of each kind
//! - `SEARCH_FOLDER` (a temporary one): where the index is; one that is there already is used again

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use daybook_eventlog::RecordedEvent;
use daybook_eventlog::event::RecordedHeader;
use daybook_projections::model::{Projected, ReadModel};
use daybook_projections::search::{SearchModel, SearchOptions, SearchReader, SearchRequest};
use daybook_schemas::variant::{self, AttributeSnapshot, Lifecycle, Price, PriceType};
use daybook_schemas::{
    AnyEvent, Currency, Label, Money, ProductId, Sku, Text, Timestamp, Token, ValueId, VariantId, inventory,
};

const COLORS: [&str; 16] = [
    "Navy",
    "Red",
    "White",
    "Black",
    "Green",
    "Sea Green",
    "Grey",
    "Pink",
    "Purple",
    "Orange",
    "Yellow",
    "Brown",
    "Beige",
    "Ivory",
    "Teal",
    "Gold",
];
const SIZES: [&str; 8] = ["XXS", "XS", "S", "M", "L", "XL", "XXL", "XXXL"];
const MATERIALS: [&str; 12] = [
    "Cotton", "Wool", "Silk", "Linen", "Steel", "Glass", "Oak", "Pine", "Ceramic", "Leather", "Paper",
    "Bamboo",
];
const SYLLABLES: [&str; 24] = [
    "ka", "lo", "mi", "ter", "ran", "sel", "vo", "dri", "pan", "gu", "ter", "nos", "bel", "fa", "qui", "zor",
    "ma", "len", "tor", "wig", "hab", "cu", "ster", "ny",
];

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("below a usize")
    }

    /// The first few far more often than the rest, as words and brands are.
    fn skewed(&mut self, n: usize) -> usize {
        let a = self.below(n);
        let b = self.below(a + 1);
        self.below(b + 1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// The n-th word of a made-up language of 40,000 words.
fn word(n: usize) -> String {
    let mut n = n * 7 + 31;
    let mut word = String::new();
    for _ in 0..3 {
        word.push_str(SYLLABLES[n % SYLLABLES.len()]);
        n /= SYLLABLES.len();
    }
    word.push_str(if n > 0 { SYLLABLES[n % SYLLABLES.len()] } else { "" });
    word
}

const WORDS: usize = 40_000;
const BRANDS: usize = 2_000;
const CATEGORIES: usize = 400;

fn label(text: &str) -> Label {
    Label::new(text).expect("generated texts are labels")
}

fn attribute(kind: &str, value: &str) -> AttributeSnapshot {
    AttributeSnapshot {
        kind: Token::new(kind).expect("a constant"),
        value: label(value),
        value_id: ValueId::new(format!("{kind}-{}", value.replace(' ', "-")))
            .expect("generated texts are ids"),
        display: label(value),
        hex: None,
        rank: None,
    }
}

fn created(n: u64) -> variant::Created {
    let mut random = Random(n);
    let id = VariantId::new(format!("v{n:09}")).expect("a number");
    let words: Vec<String> = (0..3).map(|_| word(random.skewed(WORDS))).collect();
    let cents = 99 + random.skewed(100_000);
    let money = |cents: usize| {
        Money::parse(&format!("{}.{:02}", cents / 100, cents % 100), Currency::GBP)
            .expect("generated amounts are money")
    };
    let compare_at = (random.below(4) == 0).then(|| money(cents + cents / 3));
    let category = random.skewed(CATEGORIES);
    let description = format!("{} {}", word(random.skewed(WORDS)), word(random.skewed(WORDS)));
    variant::Created {
        variant_id: id,
        product_id: ProductId::new(format!("p{}", n / 8)).expect("a number"),
        product_group: label(&format!("p{}", n / 8)),
        sku: Sku::new(format!("SKU-{n}")).expect("a number"),
        name: label(&words.join(" ")),
        brand: label(&format!("Brand {}", word(random.skewed(BRANDS)))),
        category: label(&format!("Category {}", word(category))),
        description: Some(Text::new(description).expect("two words")),
        attributes: vec![
            attribute("color", random.pick(&COLORS)),
            attribute("material", random.pick(&MATERIALS)),
            attribute("size", random.pick(&SIZES)),
        ],
        config_hash: String::new(),
        config_signature: String::new(),
        channels: if random.below(5) == 0 {
            vec![Token::new("web").expect("a constant")]
        } else {
            Vec::new()
        },
        regions: Vec::new(),
        price: Some(Price { amount: money(cents), compare_at, price_type: PriceType::Regular }),
        created_at: Timestamp::from_secs(
            1_600_000_000 + i64::try_from(random.below(100_000_000)).expect("small"),
        ),
    }
}

fn projected(position: u64, stream: &str, revision: u64, event: AnyEvent) -> Projected {
    let header = RecordedHeader {
        position,
        revision,
        event_id: uuid::Uuid::nil(),
        version: event.version(),
        recorded_at: 0,
    };
    let recorded = RecordedEvent::from_parts(header, stream, event.wire_name(), &Bytes::new(), b"");
    Projected { recorded, event }
}

/// The events of one variant: created, submitted, activated, and in stock three times out of four.
fn life(n: u64, position: &mut u64) -> Vec<Projected> {
    let created = created(n);
    let stream = format!("variant-{}", created.variant_id);
    let stock = format!("inventory-{}", created.variant_id);
    let events: [variant::Event; 3] = [
        created.into(),
        variant::Submitted { from: Lifecycle::Draft, reason: None }.into(),
        variant::Activated { from: Lifecycle::PendingApproval, reason: None }.into(),
    ];
    let mut next = || {
        *position += 1;
        *position
    };
    let mut all: Vec<Projected> = (1..)
        .zip(events)
        .map(|(revision, event)| projected(next(), &stream, revision, event.into()))
        .collect();
    if !n.is_multiple_of(4) {
        let event = inventory::Event::from(inventory::BackInStock { available: 1 });
        all.push(projected(next(), &stock, 1, event.into()));
    }
    all
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn build(model: &mut SearchModel, variants: u64) {
    let (start, mut position, mut applying, mut events) = (Instant::now(), 0, Duration::ZERO, 0_usize);
    for n in 0..variants {
        let life = life(n, &mut position);
        events += life.len();
        let begun = Instant::now();
        for event in &life {
            model.apply(event).expect("generated events fit");
        }
        if n % 50_000 == 49_999 || n + 1 == variants {
            model.commit(position).expect("the disk takes the index");
        }
        applying += begun.elapsed();
    }
    println!(
        "build: {variants} variants, {events} events in {:.1} s ({:.0} variants/s, {:.0} events/s), with generation {:.1} s, CPU {} ms",
        applying.as_secs_f64(),
        per_second(variants, applying),
        per_second(events as u64, applying),
        start.elapsed().as_secs_f64(),
        cpu_ms(),
    );
}

#[allow(clippy::cast_precision_loss, reason = "printed with three digits")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

type Pairs = Vec<(&'static str, String)>;
/// Makes another query of a kind.
type Make = fn(&mut Random) -> Pairs;

/// Kinds of queries; each call makes another one of its kind.
fn kinds() -> Vec<(&'static str, Make)> {
    vec![
        ("category + colour, facets", |r| {
            vec![
                ("category", format!("Category {}", word(r.skewed(CATEGORIES)))),
                ("attr.color", r.pick(&COLORS).to_owned()),
            ]
        }),
        ("brand + price + in stock, by price", |r| {
            vec![
                ("brand", format!("Brand {}", word(r.skewed(BRANDS)))),
                ("price_max", (20 + r.below(200)).to_string()),
                ("in_stock", "true".to_owned()),
                ("sort", "price_asc".to_owned()),
            ]
        }),
        ("two words, facets", |r| {
            vec![("q", format!("{} {}", word(r.skewed(2_000)), word(r.skewed(2_000))))]
        }),
        ("word + category + size, facets", |r| {
            vec![
                ("q", word(r.skewed(WORDS))),
                ("category", format!("Category {}", word(r.skewed(CATEGORIES)))),
                ("attr.size", r.pick(&SIZES).to_owned()),
            ]
        }),
        ("typo, facets", |r| {
            let mut typo = word(r.skewed(WORDS));
            typo.replace_range(2..3, "x");
            vec![("q", format!("{typo} "))]
        }),
        ("beginning of a word", |r| vec![("q", word(r.skewed(WORDS))[..4].to_owned())]),
        ("colour alone, newest (broad)", |r| {
            vec![("attr.color", r.pick(&COLORS).to_owned()), ("sort", "newest".to_owned())]
        }),
        ("most frequent word (broad)", |r| vec![("q", format!("{} ", word(r.below(3))))]),
        ("nothing but facets (broadest)", |_| Vec::new()),
        ("whole category", |r| vec![("category", format!("Category {}", word(r.below(3))))]),
    ]
}

fn measure(reader: &SearchReader, name: &str, make: Make, queries: u64) {
    let mut random = Random(42);
    let (mut times, mut hits) = (Vec::new(), 0);
    let cpu = cpu_ms();
    for _ in 0..queries {
        let request = SearchRequest::parse(make(&mut random)).expect("a valid request");
        let begun = Instant::now();
        hits += reader.search(&request).expect("the index answers").total;
        times.push(begun.elapsed());
    }
    let (first, cpu) = (times[0], (cpu_ms() - cpu) / queries);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{name:<36} p50 {:>8.2} ms  p95 {:>8.2}  p99 {:>8.2}  first {:>8.2}  CPU {:>4} ms  {:>9} hits on average",
        at(50),
        at(95),
        at(99),
        first.as_secs_f64() * 1e3,
        cpu,
        hits / queries,
    );
}

/// Processor time of all threads so far: unlike latencies, hardly moved by what else the machine does. Ticks of 10 ms.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() * 10
}

/// Memory of this process that is its own, and all that is mapped in.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line =
        |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or("").replace('\t', " ");
    format!("{}; {}; {}", line("VmHWM"), line("RssAnon"), line("RssFile"))
}

fn main() {
    let (variants, queries) = (setting("SEARCH_VARIANTS", 1_000_000), setting("SEARCH_QUERIES", 400));
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = std::env::var_os("SEARCH_FOLDER").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "search bench: {variants} variants, {queries} queries a kind, {cores} cores, load {}",
        load.trim()
    );
    let options = SearchOptions { writer_heap_bytes: 256_000_000, ..SearchOptions::default() };
    let mut model = SearchModel::open(&folder, options.clone()).expect("a folder to build in");
    if model.checkpoint() == 0 {
        build(&mut model, variants);
    }
    model.close().expect("merges end well");
    let mut model = SearchModel::open(&folder, options).expect("the index that was built");
    let reader = model.reader();
    for (name, make) in kinds() {
        measure(&reader, name, make, queries);
    }
    println!("after each of 20 commits in which 100 variants sell out:");
    let mut times = Vec::new();
    for round in 0..20 {
        sell_out(&mut model, round, variants);
        let begun = Instant::now();
        reader.search(&SearchRequest::default()).expect("the index answers");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!(
        "nothing but facets, index written      p50 {:.2} ms  max {:.2} ms",
        times[10].as_secs_f64() * 1e3,
        times[19].as_secs_f64() * 1e3
    );
    println!("memory: {}", memory());
}

/// 100 variants sell out, and the index commits.
fn sell_out(model: &mut SearchModel, round: u64, variants: u64) {
    let mut random = Random(round + 1);
    let position = model.checkpoint();
    for n in 0..100 {
        let id = random.next() % variants;
        let event = inventory::Event::from(inventory::OutOfStock {});
        model
            .apply(&projected(
                position + n + 1,
                &format!("inventory-v{id:09}"),
                10 + position + n,
                event.into(),
            ))
            .expect("a later flip fits");
    }
    model.commit(position + 100).expect("the disk takes the index");
}
