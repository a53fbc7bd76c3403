//! Which generation of each projection is live: `projections.json` beside the stores.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::GenerationError;

/// The layout of the file.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "projections.json";

/// The generations of one projection. Numbers only grow and are never used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generations {
    /// The one that queries read.
    pub live: u64,
    /// The one that was live before, kept for a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The one that a rebuild is filling, or was when the process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<u64>,
    /// The highest number given out so far.
    pub last: u64,
    /// An operator wants the projection to stand still, whichever generation is live and whichever process runs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

impl Generations {
    /// The first generation, live from the start.
    #[must_use]
    pub const fn first() -> Self {
        Self { live: 1, previous: None, building: None, last: 1, paused: false }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    projections: BTreeMap<String, Generations>,
}

/// The manifest of a folder of projections. Every change is on disk, whole, before it counts.
#[derive(Debug)]
pub struct Manifest {
    path: PathBuf,
    contents: Contents,
}

impl Manifest {
    /// Reads the manifest of the folder; a folder without one has an empty one.
    pub fn load(folder: &Path) -> Result<Self, GenerationError> {
        let path = folder.join(FILE_NAME);
        let unreadable = |reason: String| GenerationError::Manifest { path: path.clone(), reason };
        let contents = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Contents { format: FORMAT, projections: BTreeMap::new() }
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if contents.format != FORMAT {
            return Err(unreadable(format!("its format is {}, this build reads {FORMAT}", contents.format)));
        }
        Ok(Self { path, contents })
    }

    /// The generations of a projection.
    #[must_use]
    pub fn get(&self, projection: &str) -> Option<&Generations> {
        self.contents.projections.get(projection)
    }

    /// Changes the generations of a projection. When writing fails, nothing has changed.
    pub fn set(&mut self, projection: &str, generations: Generations) -> Result<(), GenerationError> {
        let before = self.contents.projections.insert(projection.to_owned(), generations);
        self.write().map_err(|error| {
            match before {
                Some(before) => self.contents.projections.insert(projection.to_owned(), before),
                None => self.contents.projections.remove(projection),
            };
            GenerationError::Manifest { path: self.path.clone(), reason: error.to_string() }
        })
    }

    fn write(&self) -> std::io::Result<()> {
        let folder = self.path.parent().expect("the manifest lies in a folder");
        let temporary = self.path.with_extension("json.new");
        let mut bytes = serde_json::to_vec_pretty(&self.contents).expect("string keys and plain values");
        bytes.push(b'\n');
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()
    }
}
