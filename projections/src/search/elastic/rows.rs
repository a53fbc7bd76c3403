//! The rows as reconciliation reads them: in key order, through a point in time that later commits do not disturb.

use daybook_eventlog::Position;
use serde_json::{Value, json};

use super::super::schema::{COUNTERS, DOCUMENTS, key, prefix};
use super::mapping::row_of;
use super::server::{Method, Request, Server};
use crate::model::{RowAccess, RowKey, StoreError};

/// How long the server keeps a point in time after the last time it was read.
const KEPT: &str = "10m";
/// Rows read in one request.
const PAGE_ROWS: usize = 1_000;

pub(super) struct Rows {
    server: Server,
    point: String,
    checkpoint: Position,
}

impl Rows {
    pub(super) fn open(server: Server, alias: &str, checkpoint: Position) -> Result<Self, StoreError> {
        let request = Request::new(Method::Post, format!("{alias}/_pit")).with("keep_alive", KEPT);
        let answer = server.call(request)?;
        let point = answer["id"].as_str().map(str::to_owned);
        let point =
            point.ok_or_else(|| StoreError::Unavailable("Elasticsearch gave no point in time".to_owned()))?;
        Ok(Self { server, point, checkpoint })
    }

    fn page(&self, query: &Value, after: Option<&str>, limit: usize) -> Result<Vec<Value>, StoreError> {
        let mut body = json!({
            "size": limit, "query": query, "sort": [{"key": "asc"}], "track_total_hits": false,
            "pit": {"id": self.point, "keep_alive": KEPT},
        });
        if let Some(after) = after {
            body["search_after"] = json!([after]);
        }
        let mut answer = self.server.call(Request::new(Method::Post, "_search").json(&body))?;
        match answer["hits"]["hits"].take() {
            Value::Array(hits) if answer["_shards"]["failed"] == json!(0) => Ok(hits),
            _ => Err(StoreError::Unavailable("a part of the search index did not answer".to_owned())),
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        let request = Request::new(Method::Delete, "_pit").json(&json!({"id": self.point}));
        self.server.call_later("closing a point in time", request);
    }
}

impl RowAccess for Rows {
    fn checkpoint(&self) -> Position {
        self.checkpoint
    }

    fn tables(&self) -> Vec<&'static str> {
        vec![DOCUMENTS, COUNTERS]
    }

    fn scan(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        if !self.tables().contains(&table) {
            return Ok(Vec::new());
        }
        let query = json!({"term": {"table": prefix(table).to_string()}});
        let mut after = after.map(|after| key(table, after));
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        while found.len() < limit {
            let size = PAGE_ROWS.min(limit - found.len());
            let hits = self.page(&query, after.as_deref(), size)?;
            let complete = hits.len() < size;
            for mut hit in hits {
                // Two documents with one key stand beside each other, and look different from any row.
                let sorted = hit["sort"][0].as_str().unwrap_or_default().to_owned();
                let id = sorted.strip_prefix(prefix(table)).unwrap_or(&sorted).to_owned();
                let text = row_of(table, &id, hit["_source"].take());
                found.push((id, text.into_bytes()));
                after = Some(sorted);
            }
            if complete {
                break;
            }
        }
        Ok(found)
    }

    fn get(&self, row: &RowKey) -> Result<Option<Vec<u8>>, StoreError> {
        let of = |field: &str, value: String| json!({"term": {field: value}});
        let query = json!({"bool": {"filter": [
            of("key", key(row.table, &row.key)),
            of("table", prefix(row.table).to_string()),
        ]}});
        let mut hits = self.page(&query, None, 1)?;
        let text = hits.pop().map(|mut hit| row_of(row.table, &row.key, hit["_source"].take()));
        Ok(text.map(String::into_bytes))
    }
}
