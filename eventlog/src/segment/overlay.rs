//! A folder that is looked at and stays as it is, byte by byte: its files are opened for reading alone, and what opening a log
//! writes, wipes or removes lies in memory, over them.
//!
//! So a log at rest is read exactly as it would be after an opening, on a medium that can't be written to as well.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{FlockOperation, flock};

use super::codec::index;
use super::storage::{DirStorage, Storage, StorageFile};

/// What is copied to memory when a byte of it is written.
const PAGE: u64 = 16 << 10;

/// A folder of the file system with changes in memory.
pub(crate) struct Overlay {
    root: PathBuf,
    below: DirStorage,
    /// Files that were opened or changed, by name; `None`: removed.
    known: Mutex<HashMap<String, Option<Known>>>,
}

#[derive(Clone)]
struct Known {
    /// The file's name in the folder, if it is there.
    below: Option<String>,
    changes: Arc<RwLock<Changes>>,
}

#[derive(Default)]
struct Changes {
    pages: HashMap<u64, Box<[u8]>>,
    /// Length that writes have given it.
    size: u64,
}

impl Overlay {
    /// Over a folder that is there.
    pub(crate) fn over(root: &Path) -> Self {
        Self { root: root.to_path_buf(), below: DirStorage::at(root), known: Mutex::default() }
    }

    fn file(&self, known: &Known) -> io::Result<Arc<dyn StorageFile>> {
        let below = known.below.as_ref().map(|name| File::open(self.root.join(name))).transpose()?;
        Ok(Arc::new(OverlayFile { below, changes: Arc::clone(&known.changes) }))
    }
}

impl Storage for Overlay {
    fn list(&self) -> io::Result<Vec<String>> {
        let known = self.known.lock();
        let mut names = self.below.list()?;
        names.retain(|name| !known.contains_key(name));
        names.extend(known.iter().filter(|(_, known)| known.is_some()).map(|(name, _)| name.clone()));
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let known = Known { below: None, changes: Arc::default() };
        let file = self.file(&known)?;
        self.known.lock().insert(name.to_owned(), Some(known));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut all = self.known.lock();
        match all.get(name) {
            Some(Some(known)) => self.file(known),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => {
                let known = Known { below: Some(name.to_owned()), changes: Arc::default() };
                let file = self.file(&known)?;
                all.insert(name.to_owned(), Some(known));
                Ok(file)
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        let mut known = self.known.lock();
        let moved = known.insert(from.to_owned(), None).flatten();
        known.insert(to.to_owned(), moved);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open(name)?;
        self.known.lock().insert(name.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    /// Others may look at the same time; nobody may write. A folder without lock file was never opened where it is.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        match File::open(self.root.join(name)) {
            Ok(file) => {
                flock(&file, FlockOperation::NonBlockingLockShared)?;
                Ok(Box::new(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Box::new(())),
            Err(error) => Err(error),
        }
    }

    fn describe(&self) -> String {
        self.below.describe()
    }
}

struct OverlayFile {
    below: Option<File>,
    changes: Arc<RwLock<Changes>>,
}

impl OverlayFile {
    /// As many bytes of the folder's file as there are; what is left of the buffer stays as it was.
    fn read_below(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let Some(file) = &self.below else { return Ok(0) };
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(length) => done += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl StorageFile for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let changes = self.changes.read();
        let size = self.size_with(&changes)?;
        let length =
            usize::try_from(size.saturating_sub(offset)).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..length];
        let read = self.read_below(buffer, offset)?;
        buffer[read..].fill(0);
        let end = offset + length as u64;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let Some(bytes) = changes.pages.get(&page) else { continue };
            let (from, to) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
            buffer[index(from - offset)..index(to - offset)]
                .copy_from_slice(&bytes[index(from - page * PAGE)..index(to - page * PAGE)]);
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut changes = self.changes.write();
        let end = offset + bytes.len() as u64;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if !changes.pages.contains_key(&page) {
                let mut copy = vec![0; index(PAGE)].into_boxed_slice();
                self.read_below(&mut copy, page * PAGE)?;
                changes.pages.insert(page, copy);
            }
            let copy = changes.pages.get_mut(&page).expect("it was put there");
            let (from, to) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
            copy[index(from - page * PAGE)..index(to - page * PAGE)]
                .copy_from_slice(&bytes[index(from - offset)..index(to - offset)]);
        }
        changes.size = changes.size.max(end);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.size_with(&self.changes.read())
    }
}

impl OverlayFile {
    fn size_with(&self, changes: &Changes) -> io::Result<u64> {
        let below = self.below.as_ref().map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
        Ok(below.max(changes.size))
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::{read_full_at, write_all_at};
    use super::*;

    fn contents(storage: &dyn Storage, name: &str) -> Vec<u8> {
        let file = storage.open(name).unwrap();
        let mut bytes = vec![7; index(file.size().unwrap()) + 9];
        let length = read_full_at(&*file, &mut bytes, 0).unwrap();
        bytes.truncate(length);
        bytes
    }

    /// The same steps on files and on files under an overlay give the same; and under the overlay nothing changes.
    #[test]
    fn it_behaves_like_the_folder_that_it_leaves_alone() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old: Vec<u8> = (0..3 * PAGE + 5).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for root in [folder.path(), copy.path()] {
            std::fs::write(root.join("a"), &old).unwrap();
            std::fs::write(root.join("b"), "untouched").unwrap();
        }
        let storages: [&dyn Storage; 2] = [&DirStorage::at(copy.path()), &Overlay::over(folder.path())];
        let seen = storages.map(|storage| {
            let file = storage.open("a").unwrap();
            for (offset, length) in
                [(3, 5), (PAGE - 1, 2), (2 * PAGE + 7, index(2 * PAGE)), (5 * PAGE + 1, 1)]
            {
                write_all_at(&*file, &vec![255; length], offset).unwrap();
            }
            write_all_at(&*storage.create("new.tmp").unwrap(), b"new", 2).unwrap();
            storage.rename("new.tmp", "new").unwrap();
            storage.rename("b", "c").unwrap();
            let mut names = storage.list().unwrap();
            names.sort();
            let all: Vec<_> = names.iter().map(|name| contents(storage, name)).collect();
            storage.remove("c").unwrap();
            (
                names,
                all,
                storage.open("c").is_err(),
                storage.open("b").is_err(),
                storage.remove("none").is_err(),
            )
        });
        assert_eq!(seen[0].0, ["a", "c", "new"]);
        assert!(seen[0] == seen[1]);
        assert!(std::fs::read(folder.path().join("a")).unwrap() == old);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"untouched");
    }
}
