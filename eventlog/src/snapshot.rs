//! Snapshots of aggregate state: disposable, outside the log, versioned by the code that made them.
//!
//! Nothing depends on them but speed. One that is damaged, of another stream, or of other code is as good as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::log::{Revision, StreamId};
use crate::segment::stream_hash;

/// State of an aggregate after its first `revision` events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: Revision,
    /// Version of the code that made it; other code ignores it.
    pub code_version: u32,
    pub bytes: Bytes,
}

/// A place for snapshots, at most one a stream.
pub trait SnapshotStore: Send + Sync + 'static {
    /// The stream's snapshot, if there is a good one by this version of the code.
    fn load(&self, stream: &StreamId, code_version: u32) -> Option<Snapshot>;

    /// Keeps a snapshot in place of an earlier one.
    ///
    /// # Errors
    /// It could not be kept; the log is none the worse.
    fn save(&self, stream: &StreamId, snapshot: &Snapshot) -> io::Result<()>;
}

/// Snapshots as small files in a folder, spread over 256 folders by hash of the stream's name. Two streams with one
/// hash share a file, and the later one has it.
pub struct FileSnapshots {
    folder: PathBuf,
    /// Makes temporary names of this process differ.
    saves: AtomicU64,
}

const MAGIC: [u8; 8] = *b"DAYBKSNP";
const HEAD: usize = 32;

impl FileSnapshots {
    /// Uses `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: impl AsRef<Path>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder: folder.as_ref().to_path_buf(), saves: AtomicU64::new(0) })
    }

    fn path(&self, stream: &StreamId) -> PathBuf {
        let hash = format!("{:016x}", stream_hash(stream.as_str()));
        self.folder.join(&hash[..2]).join(format!("{hash}.snapshot"))
    }
}

impl SnapshotStore for FileSnapshots {
    fn load(&self, stream: &StreamId, code_version: u32) -> Option<Snapshot> {
        let bytes = fs::read(self.path(stream)).ok()?;
        decode(bytes, stream).filter(|snapshot| snapshot.code_version == code_version)
    }

    /// Renamed into place when complete; not synced, for after a loss of power the checksum tells.
    fn save(&self, stream: &StreamId, snapshot: &Snapshot) -> io::Result<()> {
        let path = self.path(stream);
        let n = self.saves.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{n}.tmp", std::process::id()));
        let bytes = encode(stream, snapshot);
        if let Err(error) = fs::write(&temporary, &bytes) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
            fs::write(&temporary, &bytes)?;
        }
        fs::rename(&temporary, &path)
    }
}

fn encode(stream: &StreamId, snapshot: &Snapshot) -> Vec<u8> {
    let name = stream.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(HEAD + name.len() + snapshot.bytes.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&snapshot.code_version.to_le_bytes());
    bytes.extend_from_slice(&snapshot.revision.to_le_bytes());
    bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&snapshot.bytes);
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: Vec<u8>, stream: &StreamId) -> Option<Snapshot> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let small = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let good = bytes.get(0..8)? == MAGIC && small(8)? == crc32c::crc32c(bytes.get(12..)?);
    let (code_version, revision) = (small(12)?, number(16)?);
    let name_end = HEAD.checked_add(usize::try_from(number(24)?).ok()?)?;
    let same = bytes.get(HEAD..name_end)? == stream.as_str().as_bytes();
    (good && same).then(|| Snapshot { revision, code_version, bytes: Bytes::from(bytes).slice(name_end..) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_is_wrong_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path()).unwrap();
        let (stream, other) = (StreamId::new("order-1").unwrap(), StreamId::new("order-2").unwrap());
        let snapshot = Snapshot { revision: 7, code_version: 3, bytes: Bytes::from_static(b"state") };
        assert_eq!(store.load(&stream, 3), None);
        store.save(&stream, &snapshot).unwrap();
        assert_eq!(store.load(&stream, 3), Some(snapshot.clone()));
        assert_eq!((store.load(&stream, 4), store.load(&other, 3)), (None, None));
        let newer = Snapshot { revision: 9, ..snapshot };
        store.save(&stream, &newer).unwrap();
        assert_eq!(FileSnapshots::open(folder.path()).unwrap().load(&stream, 3), Some(newer));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_makes_a_snapshot_none() {
        let stream = StreamId::new("order-1").unwrap();
        let snapshot = Snapshot { revision: 7, code_version: 3, bytes: Bytes::from_static(b"state") };
        let good = encode(&stream, &snapshot);
        assert_eq!(decode(good.clone(), &stream), Some(snapshot));
        for at in 0..good.len() {
            assert_eq!(decode(good[..at].to_vec(), &stream), None);
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(decode(flipped, &stream), None, "byte {at} bit {bit}");
            }
        }
    }
}
