//! Type names that clients brought, kept for the life of the process: the log takes names that live for ever.

use std::collections::HashSet;
use std::sync::LazyLock;

use parking_lot::Mutex;

/// The most different type names that a process takes from clients; events of further types are refused. At 255
/// bytes a name the memory that is never given back stays under 3 MB.
pub const MAX_FOREIGN_TYPES: usize = 10_000;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(|| Mutex::new(Names::new(MAX_FOREIGN_TYPES)));

/// The same name, living for ever; `None` if too many different names have been seen.
pub(crate) fn intern(name: &str) -> Option<&'static str> {
    NAMES.lock().intern(name)
}

struct Names {
    known: HashSet<&'static str>,
    limit: usize,
}

impl Names {
    fn new(limit: usize) -> Self {
        Self { known: HashSet::new(), limit }
    }

    fn intern(&mut self, name: &str) -> Option<&'static str> {
        if let Some(known) = self.known.get(name) {
            return Some(known);
        }
        if self.known.len() >= self.limit {
            return None;
        }
        let name: &'static str = Box::leak(Box::from(name));
        self.known.insert(name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn known_names_are_found_when_new_ones_are_refused() {
        let mut names = Names::new(2);
        let first = names.intern("a").unwrap();
        assert_eq!(names.intern("b"), Some("b"));
        assert_eq!(names.intern("c"), None);
        assert!(std::ptr::eq(names.intern("a").unwrap(), first));
    }
}
