//! A word for each document of a segment, in large pages of memory where the system has them.
//!
//! Documents are looked up far apart: with pages of 4 KiB nearly every look-up would first have to look for its page.

use std::ops::Deref;

use memmap2::MmapMut;
use zerocopy::{FromBytes, IntoBytes};

/// From this many bytes on a lane has pages of its own: a large page has 2 MiB.
const LARGE_BYTES: usize = if cfg!(test) { 64 } else { 2 << 20 };

pub(super) enum Lane {
    Heap(Vec<u64>),
    Pages(MmapMut),
}

impl Lane {
    pub(super) fn of(words: Vec<u64>) -> Self {
        let bytes = words.as_bytes();
        if bytes.len() < LARGE_BYTES {
            return Self::Heap(words);
        }
        // Without pages of its own, or without large ones, a lane is slower and nothing else.
        let Ok(mut pages) = MmapMut::map_anon(bytes.len()) else { return Self::Heap(words) };
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        pages.copy_from_slice(bytes);
        Self::Pages(pages)
    }
}

impl Deref for Lane {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        match self {
            Self::Heap(words) => words,
            Self::Pages(pages) => {
                <[u64]>::ref_from_bytes(pages).expect("pages are aligned and hold whole words")
            }
        }
    }
}
