//! A blocked Bloom filter over stream hashes: an absent stream costs one cache line a run and no read.

use super::codec::{index, u64_at};

/// Bits a stream; with 6 probes within 512 bits about 1.5 % of absent streams get through.
const BITS_PER_KEY: u64 = 10;
const WORDS: usize = 8;
const PROBES: u32 = 6;

pub(crate) struct StreamFilter {
    words: Vec<u64>,
}

impl StreamFilter {
    /// An empty filter with room for `keys` streams.
    pub(crate) fn new(keys: u64) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(512).max(1);
        Self { words: vec![0; index(blocks) * WORDS] }
    }

    pub(crate) fn insert(&mut self, hash: u64) {
        let block = self.block_of(hash);
        for (word, bit) in probes(hash) {
            self.words[block + word] |= bit;
        }
    }

    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let block = self.block_of(hash);
        probes(hash).all(|(word, bit)| self.words[block + word] & bit != 0)
    }

    /// Index of the first word of the block: the high half of the hash, scaled to the number of blocks.
    fn block_of(&self, hash: u64) -> usize {
        let blocks = (self.words.len() / WORDS) as u64;
        index(((hash >> 32) * blocks) >> 32) * WORDS
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `None` if the length fits no filter.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fits = !bytes.is_empty() && bytes.len().is_multiple_of(WORDS * 8);
        fits.then(|| Self { words: (0..bytes.len()).step_by(8).map(|at| u64_at(bytes, at)).collect() })
    }
}

/// Word and bit of each probe: 9 bits each of the remixed hash.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |i| {
        let nine = (mixed >> (i * 9 + 10)) & 511;
        (index(nine >> 6), 1 << (nine & 63))
    })
}

/// The hash of a stream's name as it stands in files: FNV-1a over the bytes, finished with the mixer of MurmurHash3.
#[must_use]
pub fn stream_hash(name: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_and_little_else() {
        let mut filter = StreamFilter::new(10_000);
        let name = |n| stream_hash(&format!("inventory-{n}"));
        (0..10_000).for_each(|n| filter.insert(name(n)));
        let filter = StreamFilter::from_bytes(&filter.to_bytes()).unwrap();
        assert!((0..10_000).all(|n| filter.may_contain(name(n))));
        let wrong = (10_000..110_000).filter(|n| filter.may_contain(name(*n))).count();
        assert!(wrong < 3_000, "{wrong} of 100,000 absent streams get through");
    }

    #[test]
    fn the_hash_is_what_the_format_says() {
        assert_eq!(stream_hash(""), {
            let mut h: u64 = 0xcbf2_9ce4_8422_2325;
            h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
            h ^ (h >> 33)
        });
        assert_ne!(stream_hash("a-1"), stream_hash("a-2"));
    }
}
