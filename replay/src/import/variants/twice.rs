//! What stands twice in one file, for a dry run: it writes nothing, so the rules of the catalogue alone would not show it.

use std::hash::{DefaultHasher, Hash, Hasher};

use daybook_aggregates::RefusalItem;
use daybook_aggregates::variant::{Create, SkuStrategy, configuration};
use hashbrown::{HashMap, HashSet};

use super::row::Row;

/// Fingerprints of 64 bits, so that 20 million rows take less than a gigabyte. That two of so many are alike by chance has a
/// probability of one in a hundred thousand.
#[derive(Default)]
pub(super) struct Twice {
    /// The content by id.
    ids: HashMap<u64, u64>,
    skus: HashSet<u64>,
    configurations: HashSet<u64>,
}

fn fingerprint(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Twice {
    /// What speaks against the row because of rows before it.
    pub(super) fn problems(&self, row: &Row) -> Vec<RefusalItem> {
        let item = |code, detail: String| RefusalItem { code, detail, subject: None };
        let Ok(create) = serde_json::from_slice::<Create>(&row.body) else { return Vec::new() };
        match self.ids.get(&fingerprint(&row.id)) {
            Some(content) if *content == fingerprint(&row.body) => return Vec::new(),
            Some(_) => {
                let detail = format!("variant {} stands in the file before, with other content", row.id);
                return vec![item("duplicate_variant", detail)];
            }
            None => {}
        }
        let mut problems = Vec::new();
        if let Ok((_, hash)) = configuration(&create)
            && self.configurations.contains(&fingerprint(&hash))
        {
            let detail = format!("the same configuration ({hash}) stands in the file before");
            problems.push(item("duplicate_configuration", detail));
        }
        if let SkuStrategy::Manual { value } = &create.sku
            && self.skus.contains(&fingerprint(value.as_str()))
        {
            let detail = format!("the SKU {value} stands in the file before");
            problems.push(item("duplicate_sku", detail));
        }
        problems
    }

    /// The row would be accepted: what it claims is taken.
    pub(super) fn take(&mut self, row: &Row) {
        let Ok(create) = serde_json::from_slice::<Create>(&row.body) else { return };
        self.ids.insert(fingerprint(&row.id), fingerprint(&row.body));
        if let Ok((_, hash)) = configuration(&create) {
            self.configurations.insert(fingerprint(&hash));
        }
        if let SkuStrategy::Manual { value } = &create.sku {
            self.skus.insert(fingerprint(value.as_str()));
        }
    }
}
