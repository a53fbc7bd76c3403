//! The catalogue as rows: what `import` takes.

use std::io::Write;

use daybook_projections::amounts::PriceView;
use daybook_projections::catalogue::{VariantView, query};
use daybook_projections::model::StoreError;
use daybook_projections::rows::RowReader;
use daybook_schemas::variant::{AttributeSnapshot, Lifecycle};
use daybook_schemas::{Label, ProductId, Sku, Text, Timestamp, Token, VariantId};
use serde::Serialize;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub rows: u64,
    /// Archived variants, which nothing can bring back.
    pub archived: u64,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the rows could not be written")]
    Write(#[from] std::io::Error),
}

/// Writes every variant that is not archived as a line of NDJSON, in the order of ids: its fields, price and state as they are now.
/// What a row does not say: past and scheduled prices, locks, and that the value of an attribute was registered.
pub fn export(
    rows: &dyn RowReader,
    out: &mut dyn Write,
    mut progress: impl FnMut(u64),
) -> Result<Exported, ExportError> {
    let transaction = rows.begin()?;
    let mut exported = Exported::default();
    let mut after: Option<String> = None;
    loop {
        let page = query::list(&*transaction, after.as_deref(), query::MAX_PAGE)?;
        for variant in &page.variants {
            if variant.lifecycle == Lifecycle::Archived {
                exported.archived += 1;
                continue;
            }
            serde_json::to_writer(&mut *out, &line(variant)).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
            exported.rows += 1;
        }
        progress(exported.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(exported),
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    aggregate: &'static str,
    id: &'a VariantId,
    command: &'static str,
    data: Data<'a>,
}

/// The body of `variant/create`.
#[derive(Serialize)]
struct Data<'a> {
    product_id: &'a ProductId,
    product_group: &'a Label,
    name: &'a Label,
    brand: &'a Label,
    category: &'a Label,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a Text>,
    attributes: &'a [AttributeSnapshot],
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<&'a PriceView>,
    sku: Manual<'a>,
    channels: &'a [Token],
    regions: &'a [Token],
    lifecycle: Lifecycle,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct Manual<'a> {
    strategy: &'static str,
    value: &'a Sku,
}

fn line(variant: &VariantView) -> Row<'_> {
    let data = Data {
        product_id: &variant.product_id,
        product_group: &variant.product_group,
        name: &variant.name,
        brand: &variant.brand,
        category: &variant.category,
        description: variant.description.as_ref(),
        attributes: &variant.attributes,
        price: variant.price.as_ref(),
        sku: Manual { strategy: "manual", value: &variant.sku },
        channels: &variant.channels,
        regions: &variant.regions,
        lifecycle: variant.lifecycle,
        created_at: variant.created_at,
    };
    Row { aggregate: "variant", id: &variant.variant_id, command: "create", data }
}
