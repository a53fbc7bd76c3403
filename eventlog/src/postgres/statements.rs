//! The statements of the writer, and the arrays they are given.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::layout::{split, stream_name, version_text};
use super::resolve::{Place, Plan, Prepared, Stored};
use crate::log::{Position, StreamId};

const APPEND: &str = "SELECT head, stream FROM events_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const LOCK: &str = "SELECT position FROM event_log_head FOR NO KEY UPDATE";

const REVISIONS: &str = "
SELECT u.nth, (SELECT e.sequence FROM events e
               WHERE e.aggregate_type = u.aggregate_type AND e.aggregate_id = u.aggregate_id
               ORDER BY e.sequence DESC LIMIT 1)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(aggregate_type, aggregate_id, nth)";

const EVENTS_BY_ID: &str = "
SELECT event_id, aggregate_type, aggregate_id, sequence, position FROM events WHERE event_id = ANY($1)";

/// Positions and revisions are `bigint` in the tables and never negative.
pub(super) fn to_u64(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// The largest `bigint` for a number that no table reaches.
pub(super) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The arguments of `events_append`, one array a column.
#[derive(Default)]
struct Arrays<'a> {
    aggregate_types: Vec<&'a str>,
    aggregate_ids: Vec<&'a str>,
    sequences: Vec<i64>,
    event_ids: Vec<Uuid>,
    event_types: Vec<&'a str>,
    versions: Vec<String>,
    recorded_at: Vec<i64>,
    payloads: Vec<&'a str>,
    metadata: Vec<&'a str>,
    raw_data: Vec<Option<&'a [u8]>>,
    raw_metadata: Vec<Option<&'a [u8]>>,
}

impl<'a> Arrays<'a> {
    fn of(plan: &Plan, appends: impl Iterator<Item = &'a Prepared>) -> Self {
        use super::resolve::Outcome;
        let mut arrays = Self::default();
        for (append, outcome) in appends.zip(&plan.outcomes) {
            let Outcome::Write { revisions, .. } = outcome else { continue };
            for (part, after) in append.parts.iter().zip(revisions) {
                let (aggregate_type, aggregate_id) = split(part.stream.as_str());
                let before = after - part.rows.len() as u64;
                for ((event, columns), revision) in part.rows.iter().zip(before + 1..) {
                    arrays.aggregate_types.push(aggregate_type);
                    arrays.aggregate_ids.push(aggregate_id);
                    arrays.sequences.push(to_i64(revision));
                    arrays.event_ids.push(event.event_id);
                    arrays.event_types.push(event.event_type);
                    arrays.versions.push(version_text(event.version));
                    arrays.recorded_at.push(event.recorded_at);
                    arrays.payloads.push(&columns.payload);
                    arrays.metadata.push(&columns.metadata);
                    arrays.raw_data.push(columns.raw_data.as_deref());
                    arrays.raw_metadata.push(columns.raw_metadata.as_deref());
                }
            }
        }
        arrays
    }
}

/// An array of raw bytes, or none at all where no event needs it.
fn if_any<'a, 'b>(raw: &'a [Option<&'b [u8]>]) -> Option<&'a [Option<&'b [u8]>]> {
    raw.iter().any(Option::is_some).then_some(raw)
}

/// Writes the plan's events in one statement. The new head; `None`, and nothing written, if a stream was not where the
/// plan has it.
pub(super) async fn append<'a>(
    connection: &mut PgConnection,
    known_head: Position,
    plan: &Plan,
    appends: impl Iterator<Item = &'a Prepared>,
) -> Result<Option<Position>, sqlx::Error> {
    let (types, ids): (Vec<_>, Vec<_>) = plan.streams.iter().map(|s| split(s.stream.as_str())).unzip();
    let before: Vec<i64> = plan.streams.iter().map(|s| to_i64(s.before)).collect();
    let known: Vec<bool> = plan.streams.iter().map(|s| s.known).collect();
    let arrays = Arrays::of(plan, appends);
    let query = sqlx::query(APPEND)
        .bind(to_i64(known_head))
        .bind(&types[..])
        .bind(&ids[..])
        .bind(&before[..])
        .bind(&known[..])
        .bind(&arrays.aggregate_types[..])
        .bind(&arrays.aggregate_ids[..])
        .bind(&arrays.sequences[..])
        .bind(&arrays.event_ids[..])
        .bind(&arrays.event_types[..])
        .bind(&arrays.versions[..])
        .bind(&arrays.recorded_at[..])
        .bind(&arrays.payloads[..])
        .bind(&arrays.metadata[..])
        .bind(if_any(&arrays.raw_data))
        .bind(if_any(&arrays.raw_metadata));
    let rows = query.fetch_all(connection).await?;
    match rows.first() {
        Some(row) if row.try_get::<Option<i64>, _>(1)?.is_none() => Ok(Some(to_u64(row.try_get(0)?))),
        _ => Ok(None),
    }
}

/// Takes the ordering lock for the rest of the transaction, and reads what is stored of the group's streams and ids.
pub(super) async fn lock_and_look<'a>(
    connection: &mut PgConnection,
    appends: impl Iterator<Item = &'a Prepared> + Clone,
) -> Result<Stored, sqlx::Error> {
    let head: i64 = sqlx::query_scalar(LOCK).fetch_one(&mut *connection).await?;
    let mut stored = Stored { head: to_u64(head), ..Stored::default() };

    let mut streams: Vec<&StreamId> = appends.clone().flat_map(Prepared::streams).collect();
    streams.sort_unstable();
    streams.dedup();
    let (types, ids): (Vec<_>, Vec<_>) = streams.iter().map(|stream| split(stream.as_str())).unzip();
    let rows = sqlx::query(REVISIONS).bind(&types[..]).bind(&ids[..]).fetch_all(&mut *connection).await?;
    for row in rows {
        let nth = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        let revision: Option<i64> = row.try_get(1)?;
        if let (Some(revision), Some(stream)) = (revision, nth.checked_sub(1).and_then(|at| streams.get(at)))
        {
            stored.revisions.insert((*stream).clone(), to_u64(revision));
        }
    }

    let ids: Vec<Uuid> =
        appends.flat_map(|a| a.parts.iter().flat_map(|p| p.rows.iter().map(|(e, _)| e.event_id))).collect();
    for row in sqlx::query(EVENTS_BY_ID).bind(&ids[..]).fetch_all(connection).await? {
        let (id, place) = place_of(&row)?;
        stored.events.insert(id, place);
    }
    Ok(stored)
}

fn place_of(row: &PgRow) -> Result<(Uuid, Place), sqlx::Error> {
    let name = stream_name(row.try_get(1)?, row.try_get(2)?);
    let stream = StreamId::new(name).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    let place = Place { stream, revision: to_u64(row.try_get(3)?), position: to_u64(row.try_get(4)?) };
    Ok((row.try_get(0)?, place))
}
