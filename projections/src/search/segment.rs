//! What queries need of one immutable segment, opened once: columns, dictionaries as process-wide numbers, deleted documents.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::RwLock;
use tantivy::columnar::Column;
use tantivy::directory::OwnedBytes;
use tantivy::index::SegmentComponent;
use tantivy::{DocId, Index, Searcher, SegmentReader};

use super::analysis::fold_value;
use super::check::{Check, Tally};
use super::filter::Filter;
use super::packed::{Packed, Property};
use super::schema::SEPARATOR;

/// The columns that hold words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Dimension {
    Category,
    Brand,
    Attribute,
    Lifecycle,
    Channel,
    Region,
    Currency,
}

impl Dimension {
    pub(super) const ALL: [Self; 7] = [
        Self::Category,
        Self::Brand,
        Self::Attribute,
        Self::Lifecycle,
        Self::Channel,
        Self::Region,
        Self::Currency,
    ];

    /// Name of the column.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Brand => "brand",
            Self::Attribute => "attribute",
            Self::Lifecycle => "lifecycle",
            Self::Channel => "channel",
            Self::Region => "region",
            Self::Currency => "currency",
        }
    }
}

/// Every value that a column was ever seen to hold, numbered in order of appearance, so that counts of several segments add
/// up without comparing texts. Grows with the number of *different* values only.
#[derive(Default)]
pub(super) struct Vocabulary {
    values: RwLock<Values>,
}

#[derive(Default)]
struct Values {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// By the form that filters compare in.
    folded: HashMap<String, Vec<u32>>,
}

impl Vocabulary {
    pub(super) fn intern(&self, text: &str) -> u32 {
        if let Some(&id) = self.values.read().ids.get(text) {
            return id;
        }
        let mut values = self.values.write();
        if let Some(&id) = values.ids.get(text) {
            return id;
        }
        let id = u32::try_from(values.texts.len())
            .expect("far fewer than 4 billion different values fit in memory");
        let shared: Arc<str> = Arc::from(text);
        values.texts.push(Arc::clone(&shared));
        values.ids.insert(shared, id);
        values.folded.entry(fold_value(text)).or_default().push(id);
        id
    }

    /// The values that a filter value means, whatever their case; in order.
    pub(super) fn matching(&self, folded: &str) -> Vec<u32> {
        self.values.read().folded.get(folded).cloned().unwrap_or_default()
    }

    pub(super) fn text(&self, id: u32) -> Arc<str> {
        Arc::clone(&self.values.read().texts[id as usize])
    }

    pub(super) fn len(&self) -> usize {
        self.values.read().texts.len()
    }
}

/// The vocabularies of all columns.
#[derive(Default)]
pub(super) struct Vocabularies([Vocabulary; Dimension::ALL.len()]);

impl Vocabularies {
    pub(super) fn of(&self, dimension: Dimension) -> &Vocabulary {
        &self.0[dimension as usize]
    }
}

/// A column of words as ordinals of the segment's sorted dictionary.
pub(super) struct Ordinals {
    pub(super) column: Column<u64>,
    /// Number in the vocabulary by ordinal.
    pub(super) global: Vec<u32>,
    /// (number in the vocabulary, ordinal), sorted.
    by_global: Vec<(u32, u32)>,
    /// Attribute types and the ordinals of their values.
    types: Vec<(Arc<str>, Range<u32>)>,
}

impl Ordinals {
    fn open(reader: &SegmentReader, dimension: Dimension, vocabulary: &Vocabulary) -> tantivy::Result<Self> {
        let Some(strings) = reader.fast_fields().str(dimension.name())? else {
            let column = Column::build_empty_column(reader.max_doc());
            return Ok(Self { column, global: Vec::new(), by_global: Vec::new(), types: Vec::new() });
        };
        let mut global = Vec::with_capacity(strings.num_terms());
        let mut types: Vec<(Arc<str>, Range<u32>)> = Vec::new();
        let mut stream = strings.dictionary().stream()?;
        while stream.advance() {
            let text = String::from_utf8_lossy(stream.key());
            let ordinal = u32::try_from(global.len()).expect("ordinals of a segment are 32 bits wide");
            if dimension == Dimension::Attribute {
                let kind = text.split(SEPARATOR).next().unwrap_or_default();
                match types.last_mut() {
                    Some((last, range)) if **last == *kind => range.end = ordinal + 1,
                    _ => types.push((Arc::from(kind), ordinal..ordinal + 1)),
                }
            }
            global.push(vocabulary.intern(&text));
        }
        let mut by_global: Vec<(u32, u32)> = (0..).zip(&global).map(|(ordinal, &id)| (id, ordinal)).collect();
        by_global.sort_unstable();
        Ok(Self { column: strings.ords().clone(), global, by_global, types })
    }

    /// The ordinals of values given by their numbers, sorted; those that the segment does not hold are left out.
    pub(super) fn ordinals(&self, globals: &[u32]) -> Vec<u32> {
        let find = |id: &u32| self.by_global.binary_search_by_key(id, |&(global, _)| global).ok();
        let mut found: Vec<u32> = globals.iter().filter_map(find).map(|at| self.by_global[at].1).collect();
        found.sort_unstable();
        found
    }

    /// The ordinals of the values of an attribute type.
    pub(super) fn of_type(&self, kind: &str) -> Range<usize> {
        let at = self.types.binary_search_by(|(name, _)| (**name).cmp(kind));
        at.map_or(0..0, |at| self.types[at].1.start as usize..self.types[at].1.end as usize)
    }
}

/// The columns of a segment.
pub(super) struct SegmentColumns {
    ordinals: [Ordinals; Dimension::ALL.len()],
    pub(super) packed: Packed,
    pub(super) price: Column<u64>,
    pub(super) discount: Column<u64>,
    pub(super) popularity: Column<u64>,
    pub(super) created: Column<u64>,
    pub(super) in_stock: Column<u64>,
    pub(super) tie: Column<u64>,
}

impl SegmentColumns {
    pub(super) fn open(reader: &SegmentReader, vocabularies: &Vocabularies) -> tantivy::Result<Self> {
        let fast = reader.fast_fields();
        let opened: tantivy::Result<Vec<Ordinals>> = Dimension::ALL
            .into_iter()
            .map(|dimension| Ordinals::open(reader, dimension, vocabularies.of(dimension)))
            .collect();
        let Ok(ordinals) = opened?.try_into() else { unreachable!("one for each dimension") };
        let (price, in_stock) = (fast.u64("price")?, fast.u64("in_stock")?);
        Ok(Self {
            packed: Packed::new(&ordinals, &price, &in_stock, reader.max_doc()),
            ordinals,
            price,
            discount: fast.u64("discount")?,
            popularity: fast.u64("popularity")?,
            created: fast.u64("created")?,
            in_stock,
            tie: fast.u64("tie")?,
        })
    }

    pub(super) fn ordinals(&self, dimension: Dimension) -> &Ordinals {
        &self.ordinals[dimension as usize]
    }

    /// A counter of packed documents by one property.
    pub(super) fn tally(&self, property: Property) -> Tally<'_> {
        let values = match property {
            Property::Words(dimension) => self.ordinals(dimension).global.len(),
            Property::Price | Property::InStock => 0,
        };
        Tally::new(property, &self.packed, values)
    }

    /// A filter over the packed documents.
    pub(super) fn check(&self, filter: &Filter) -> Check<'_> {
        Check::compile(filter, &self.packed, &self.ordinals)
    }
}

/// Which documents of a segment are not deleted: the bytes of the engine's own bit set (a count, then words of 64 bits).
#[derive(Clone)]
pub(super) struct Alive {
    words: OwnedBytes,
}

impl Alive {
    fn open(index: &Index, searcher: &Searcher) -> tantivy::Result<HashMap<tantivy::index::SegmentId, Self>> {
        let mut all = HashMap::new();
        let held = searcher.generation().segments();
        for segment in index.searchable_segments()? {
            let meta = segment.meta();
            if !meta.has_deletes() || held.get(&meta.id()) != Some(&meta.delete_opstamp()) {
                continue;
            }
            let bytes = segment.open_read(SegmentComponent::Delete)?.read_bytes()?;
            all.insert(meta.id(), Self { words: bytes.slice(4..bytes.len()) });
        }
        Ok(all)
    }

    /// From the reader itself: slower, right even if the file is not to be had.
    fn from_reader(reader: &SegmentReader) -> Option<Self> {
        let alive = reader.alive_bitset()?;
        let mut words = vec![0_u8; (reader.max_doc() as usize).div_ceil(64) * 8];
        for doc in alive.iter_alive() {
            words[(doc / 8) as usize] |= 1 << (doc % 8);
        }
        Some(Self { words: OwnedBytes::new(words) })
    }

    fn word(&self, at: usize) -> u64 {
        let bytes = self.words.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    }

    #[inline]
    pub(super) fn contains(&self, doc: DocId) -> bool {
        self.words.get((doc / 8) as usize).is_some_and(|byte| byte & (1 << (doc % 8)) != 0)
    }

    /// Documents that were alive before and are not any more, ascending. `None` before: all were.
    pub(super) fn lost_since(&self, before: Option<&Self>, max_doc: DocId) -> Vec<DocId> {
        let mut lost = Vec::new();
        for at in 0..(max_doc as usize).div_ceil(64) {
            let was = before.map_or(u64::MAX, |before| before.word(at));
            let mut gone = was & !self.word(at);
            while gone != 0 {
                let doc = u32::try_from(at).expect("documents are numbered with 32 bits") * 64
                    + gone.trailing_zeros();
                if doc < max_doc {
                    lost.push(doc);
                }
                gone &= gone - 1;
            }
        }
        lost
    }
}

/// A segment as one searcher sees it.
pub(super) struct SegmentView {
    /// Place in the searcher.
    pub(super) ordinal: u32,
    pub(super) columns: Arc<SegmentColumns>,
    pub(super) alive: Option<Alive>,
    pub(super) max_doc: DocId,
}

/// A searcher with all its segments opened.
pub(super) struct View {
    pub(super) searcher: Searcher,
    pub(super) segments: Vec<SegmentView>,
    /// Documents that are not deleted, hidden ones included.
    pub(super) documents: u64,
}

impl View {
    /// Opens what the view before did not have open.
    pub(super) fn open(
        searcher: Searcher,
        vocabularies: &Vocabularies,
        before: Option<&Self>,
    ) -> tantivy::Result<Self> {
        let mut known = HashMap::new();
        for (segment, reader) in
            before.iter().flat_map(|view| view.segments.iter().zip(view.searcher.segment_readers()))
        {
            known.insert(reader.segment_id(), Arc::clone(&segment.columns));
        }
        let mut alive = Alive::open(searcher.index(), &searcher)?;
        let mut segments = Vec::new();
        for (ordinal, reader) in (0..).zip(searcher.segment_readers()) {
            let columns = match known.get(&reader.segment_id()) {
                Some(columns) => Arc::clone(columns),
                None => Arc::new(SegmentColumns::open(reader, vocabularies)?),
            };
            let alive = match alive.remove(&reader.segment_id()) {
                Some(alive) => Some(alive),
                None => Alive::from_reader(reader),
            };
            segments.push(SegmentView { ordinal, columns, alive, max_doc: reader.max_doc() });
        }
        let documents = searcher.num_docs();
        Ok(Self { searcher, segments, documents })
    }

    pub(super) fn reader(&self, segment: &SegmentView) -> &SegmentReader {
        self.searcher.segment_reader(segment.ordinal)
    }
}
