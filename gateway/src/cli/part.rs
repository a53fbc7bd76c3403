//! Files that get their names only when they are whole: a part of one is never taken for all of it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use crate::usage::{cannot_open, mistake};

const BUFFER: usize = 1 << 18;

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Refused,
    /// It stays until the new one is whole.
    Replaced,
}

/// A file being written beside its place, as `FILE.part`. Dropped before [`PartFile::finish`], it goes.
pub(super) struct PartFile {
    path: PathBuf,
    part: PathBuf,
    existing: Existing,
    out: BufWriter<File>,
    finished: bool,
}

impl PartFile {
    /// Begins a file. One writer at a time: of two, the second is refused.
    pub(super) fn create(path: &Path, existing: Existing) -> anyhow::Result<Self> {
        if existing == Existing::Refused && path.symlink_metadata().is_ok() {
            mistake!("{} exists; name a new file", path.display());
        }
        let part = part_of(path);
        let cannot = || format!("cannot write {}", part.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&part).map_err(|error| cannot_open(&part, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => bail!("another process is writing {}", path.display()),
            Err(error) => return Err(error).with_context(cannot),
        }
        // Whoever had it before may have given it its name meanwhile: then it is no longer ours to empty.
        let ours = identity(&file.metadata().with_context(cannot)?);
        if std::fs::metadata(&part).ok().as_ref().map(identity) != Some(ours) {
            bail!("another process has just written {}; look again", path.display());
        }
        file.set_len(0).with_context(cannot)?;
        let out = BufWriter::with_capacity(BUFFER, file);
        Ok(Self { path: path.to_owned(), part, existing, out, finished: false })
    }

    /// What was written until now, from its beginning.
    pub(super) fn written(&mut self) -> io::Result<&File> {
        self.out.flush()?;
        let file = self.out.get_mut();
        file.rewind()?;
        Ok(file)
    }

    /// Makes the contents durable, and then gives them their name.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let path = self.path.clone();
        let cannot = || format!("cannot write {}", path.display());
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| self.rename())
            .with_context(cannot)?;
        self.finished = true;
        // The name must last as surely as the contents.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).with_context(cannot)
    }

    fn rename(&self) -> io::Result<()> {
        match self.existing {
            Existing::Replaced => std::fs::rename(&self.part, &self.path),
            Existing::Refused => {
                match renameat_with(CWD, &self.part, CWD, &self.path, RenameFlags::NOREPLACE) {
                    // Not on every file system: then looking first has to do.
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                        match self.path.symlink_metadata() {
                            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                            Err(_) => std::fs::rename(&self.part, &self.path),
                        }
                    }
                    renamed => Ok(renamed?),
                }
            }
        }
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody else's: it is locked. What can't be removed is at least no file of the wanted name.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

fn identity(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(".part");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_is_given_to_what_is_whole_and_to_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let mut given_up = PartFile::create(&path, Existing::Refused).unwrap();
        given_up.write_all(b"half").unwrap();
        let second = PartFile::create(&path, Existing::Refused).err().unwrap();
        assert!(second.to_string().contains("another process"), "{second:#}");
        drop(given_up);
        assert!(names(folder.path()).is_empty());

        // What a killed process left is written over.
        std::fs::write(folder.path().join("copy.part"), "much longer than what follows").unwrap();
        let mut file = PartFile::create(&path, Existing::Refused).unwrap();
        file.write_all(b"whole").unwrap();
        let mut text = String::new();
        file.written().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "whole");
        file.finish().unwrap();
        assert_eq!(names(folder.path()), ["copy"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
    }

    #[test]
    fn what_has_the_name_is_kept_or_replaced_as_asked_also_if_it_came_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let late = PartFile::create(&path, Existing::Refused).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        late.finish().unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(names(folder.path()), ["copy"]);
        assert!(crate::usage::Usage::is(&PartFile::create(&path, Existing::Refused).err().unwrap()));

        let mut next = PartFile::create(&path, Existing::Replaced).unwrap();
        next.write_all(b"ours").unwrap();
        next.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs", "until the new one is whole");
        next.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ours");
    }
}
