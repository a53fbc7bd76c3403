//! Reading: streams by primary key, the log by position, each page from one snapshot.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{Error, PgConnection, Postgres, Row};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::Failure;
use super::layout::{split, stream_name, unwrap_own, unwrap_stock, version_number};
use super::recent::Recent;
use super::statements::{to_i64, to_u64};
use crate::event::{RecordedEvent, RecordedHeader};
use crate::log::{Filter, Page, Position, ReadError, Revision, StreamId};

/// A read looks at no more positions than this, however few of them the filter selects.
const MAX_SCAN: u64 = 65_536;

/// The most rows asked for at once: what must be thrown away when the byte limit comes first.
const MAX_ROWS: usize = 4_096;

macro_rules! columns {
    () => {
        "position, aggregate_type, aggregate_id, sequence, event_type, event_version, event_id, recorded_at, format, \
         payload::text AS payload, metadata::text AS metadata, raw_data, raw_metadata"
    };
}

const STREAM: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence >= $3 ORDER BY sequence LIMIT $4"
);

const REVISION: &str = "SELECT sequence FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence DESC LIMIT 1";

const HEAD: &str = "SELECT position FROM event_log_head";

/// At least one row, which tells the head of the same snapshot.
const ALL: &str = concat!(
    "SELECT h.position AS head, e.* FROM event_log_head h LEFT JOIN LATERAL (SELECT ",
    columns!(),
    " FROM events WHERE position > $1 AND position <= least(h.position, $2) ORDER BY position LIMIT $3) e ON true"
);

const FILTERED: &str = concat!(
    "SELECT h.position AS head, e.* FROM event_log_head h LEFT JOIN LATERAL (SELECT ",
    columns!(),
    " FROM events WHERE position > $1 AND position <= least(h.position, $2)",
    " AND ($4::text[] IS NULL OR event_type = ANY($4))",
    " AND ($5::text[] IS NULL OR (CASE WHEN aggregate_type = '' THEN aggregate_id",
    " ELSE aggregate_type || '-' || aggregate_id END) ^@ ANY($5))",
    " ORDER BY position LIMIT $3) e ON true"
);

/// Bytes of events that a read for all followers asks for.
const MAX_BYTES: usize = 4 << 20;

static ALL_EVENTS: Filter = Filter { types: Vec::new(), stream_prefixes: Vec::new() };

/// What a reader of the log asks for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) after: Position,
    pub(super) filter: &'a Filter,
    pub(super) limit: usize,
    pub(super) limit_bytes: usize,
}

/// Reads on pooled connections.
pub(super) struct Reader {
    pub(super) pool: PgPool,
    pub(super) reply_timeout: Duration,
    /// Bytes of an average event, as seen lately: how many rows to ask for.
    pub(super) event_bytes: AtomicUsize,
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

impl Reader {
    pub(super) fn new(pool: PgPool, reply_timeout: Duration) -> Self {
        Self { pool, reply_timeout, event_bytes: AtomicUsize::new(512) }
    }

    pub(super) async fn head(&self) -> Result<Position, ReadError> {
        let (rows, _) = self.rows(|| sqlx::query(HEAD), usize::MAX).await?;
        let row = rows.first().ok_or_else(|| damaged(0, "event_log_head has no row".into()))?;
        row.try_get(0).map(to_u64).map_err(unavailable)
    }

    pub(super) async fn stream_revision(&self, stream: &StreamId) -> Result<Revision, ReadError> {
        let (kind, id) = split(stream.as_str());
        let (rows, _) = self.rows(|| sqlx::query(REVISION).bind(kind).bind(id), usize::MAX).await?;
        rows.first().map_or(Ok(0), |row| row.try_get(0).map(to_u64).map_err(unavailable))
    }

    pub(super) async fn read_stream(
        &self,
        stream: &StreamId,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let (kind, id) = split(stream.as_str());
        let mut events: Vec<RecordedEvent> = Vec::new();
        let mut next = from.max(1);
        while events.len() < limit {
            let ask = (limit - events.len()).min(MAX_ROWS);
            let query =
                || sqlx::query(STREAM).bind(kind).bind(id).bind(to_i64(next)).bind(to_i64(ask as u64));
            let (rows, _) = self.rows(query, usize::MAX).await?;
            for row in &rows {
                let event = decode(row, stream.as_str())?;
                if event.revision != next {
                    return Err(damaged(event.position, format!("{stream} has no revision {next}")));
                }
                next += 1;
                events.push(event);
            }
            if rows.len() < ask {
                break;
            }
        }
        Ok(events)
    }

    pub(super) async fn read_all(
        &self,
        after: Position,
        filter: &Filter,
        limit: usize,
        limit_bytes: usize,
    ) -> Result<Page, ReadError> {
        let mut page = Page { events: Vec::new(), scanned_to: after, at_head: false };
        if limit == 0 {
            return Ok(page);
        }
        let average = self.event_bytes.load(Ordering::Relaxed).max(1);
        let ask = limit.min(MAX_ROWS).min((limit_bytes / average).saturating_add(2));
        let end = after.saturating_add(MAX_SCAN);
        let (rows, mut cut) = self.rows(|| all_query(after, end, ask, filter), limit_bytes).await?;
        let head: i64 = rows
            .first()
            .ok_or_else(|| damaged(after, "event_log_head has no row".into()))?
            .try_get("head")
            .map_err(unavailable)?;
        let mut bytes = 0;
        cut |= rows.len() >= ask;
        for row in &rows {
            if row.try_get::<Option<i64>, _>("position").map_err(unavailable)?.is_none() {
                break;
            }
            let event = decode_any(row)?;
            if filter.is_all() && event.position != page.scanned_to + 1 {
                return Err(damaged(event.position, format!("no event at position {}", page.scanned_to + 1)));
            }
            if bytes + event.len_bytes() > limit_bytes && !page.events.is_empty() {
                cut = true;
                break;
            }
            bytes += event.len_bytes();
            page.scanned_to = event.position;
            page.events.push(event);
        }
        if !cut {
            page.scanned_to = page.scanned_to.max(to_u64(head).min(end));
        }
        page.at_head = page.scanned_to >= to_u64(head);
        if !page.events.is_empty() {
            self.event_bytes.store(bytes / page.events.len(), Ordering::Relaxed);
        }
        Ok(page)
    }

    /// As [`crate::EventLog::read_tail`]: from memory, or from the server once for all who wait for the same.
    pub(super) async fn read_tail(
        &self,
        recent: &Recent,
        head: &watch::Sender<Position>,
        asked: Asked<'_>,
    ) -> Result<Page, ReadError> {
        let Asked { after, filter, limit, limit_bytes } = asked;
        let known = *head.borrow();
        if limit == 0 {
            return self.read_all(after, filter, limit, limit_bytes).await;
        }
        if let Some(page) = recent.page(after, filter, limit, limit_bytes, known) {
            return Ok(page);
        }
        if !recent.ends_before(after) {
            let page = self.read_all(after, filter, limit, limit_bytes).await?;
            if filter.is_all() {
                recent.read(after, &page);
            }
            return Ok(page);
        }
        let turn = recent.turn.lock().await;
        if let Some(page) = recent.page(after, filter, limit, limit_bytes, known) {
            return Ok(page);
        }
        let ask = recent.gap(after).map_or(MAX_ROWS, |gap| usize::try_from(gap).unwrap_or(MAX_ROWS));
        let read = self.read_all(after, &ALL_EVENTS, ask, MAX_BYTES).await?;
        recent.read(after, &read);
        drop(turn);
        let known = known.max(if read.at_head { read.scanned_to } else { read.scanned_to + 1 });
        match recent.page(after, filter, limit, limit_bytes, known) {
            Some(page) => Ok(page),
            None if read.events.is_empty() => Ok(read),
            // It does not fit into memory.
            None => self.read_all(after, filter, limit, limit_bytes).await,
        }
    }

    /// The rows of a query, cut off once they hold `limit_bytes`, and whether they were. Stale connections, as a restarted server leaves
    /// them, are thrown away and replaced.
    async fn rows<'q>(
        &self,
        query: impl Fn() -> Bound<'q> + Send + Sync,
        limit_bytes: usize,
    ) -> Result<(Vec<PgRow>, bool), ReadError> {
        let mut spare = self.pool.options().get_max_connections();
        loop {
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            match timeout(self.reply_timeout, collect(&mut connection, query(), limit_bytes)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => {
                    if !matches!(Failure::of(&error), Failure::Connection(_)) {
                        return Err(unavailable(error));
                    }
                    drop(connection.detach());
                    if spare == 0 {
                        return Err(unavailable(error));
                    }
                    spare -= 1;
                }
                Err(_) => {
                    drop(connection.detach());
                    let detail = format!("no reply in {} ms", self.reply_timeout.as_millis());
                    return Err(ReadError::Unavailable(detail));
                }
            }
        }
    }
}

async fn collect(
    connection: &mut PgConnection,
    query: Bound<'_>,
    limit_bytes: usize,
) -> Result<(Vec<PgRow>, bool), Error> {
    let (mut collected, mut bytes) = (Vec::new(), 0);
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        bytes += row_bytes(&row);
        collected.push(row);
        if bytes > limit_bytes {
            return Ok((collected, true));
        }
    }
    Ok((collected, false))
}

/// Bytes of the columns that can be large.
fn row_bytes(row: &PgRow) -> usize {
    let length = |column: &str| match row.try_get_raw(column) {
        Ok(value) => value.as_bytes().map_or(0, <[u8]>::len),
        Err(_) => 0,
    };
    length("payload") + length("metadata") + length("raw_data") + length("raw_metadata")
}

fn all_query(after: Position, end: Position, ask: usize, filter: &Filter) -> Bound<'_> {
    let (after, end, ask) = (to_i64(after), to_i64(end), to_i64(ask as u64));
    if filter.is_all() {
        return sqlx::query(ALL).bind(after).bind(end).bind(ask);
    }
    let list = |names: &'_ Vec<String>| (!names.is_empty()).then(|| names.clone());
    sqlx::query(FILTERED)
        .bind(after)
        .bind(end)
        .bind(ask)
        .bind(list(&filter.types))
        .bind(list(&filter.stream_prefixes))
}

fn decode_any(row: &PgRow) -> Result<RecordedEvent, ReadError> {
    let kind = row.try_get("aggregate_type").map_err(unavailable)?;
    let id = row.try_get("aggregate_id").map_err(unavailable)?;
    decode(row, &stream_name(kind, id))
}

fn decode(row: &PgRow, stream: &str) -> Result<RecordedEvent, ReadError> {
    let parts = || -> Result<_, Error> {
        let header = RecordedHeader {
            position: to_u64(row.try_get("position")?),
            revision: to_u64(row.try_get("sequence")?),
            event_id: row.try_get("event_id")?,
            version: version_number(row.try_get("event_version")?),
            recorded_at: row.try_get("recorded_at")?,
        };
        let event_type: &str = row.try_get("event_type")?;
        let own = row.try_get::<i16, _>("format")? == 1;
        let payload: &str = row.try_get("payload")?;
        let metadata: &str = row.try_get("metadata")?;
        let raw_data: Option<&[u8]> = row.try_get("raw_data")?;
        let raw_metadata: Option<&[u8]> = row.try_get("raw_metadata")?;
        Ok((header, event_type, own, payload, metadata, raw_data, raw_metadata))
    };
    let (header, event_type, own, payload, metadata, raw_data, raw_metadata) =
        parts().map_err(unavailable)?;
    let data = match raw_data {
        Some(raw) => raw,
        None if own => unwrap_own(event_type, payload)
            .ok_or_else(|| damaged(header.position, format!("the payload is not wrapped in {event_type}")))?
            .as_bytes(),
        None => unwrap_stock(event_type, payload).as_bytes(),
    };
    let metadata = raw_metadata.unwrap_or(metadata.as_bytes());
    if !stream.is_ascii() || !event_type.is_ascii() {
        return Err(damaged(header.position, "a name is not ASCII".into()));
    }
    Ok(RecordedEvent::from_parts(header, stream, event_type, data, metadata))
}

fn damaged(position: Position, detail: String) -> ReadError {
    ReadError::Damaged { file: "PostgreSQL table events".into(), offset: 0, position, detail }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature that map_err asks for")]
fn unavailable(error: Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
