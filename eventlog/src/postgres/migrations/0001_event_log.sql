-- The event log in the table layout of postgres-es, with a global order on top.
--
-- Runs with search_path set to exactly one schema; the functions keep that path, so that a writer with another
-- path (a stock postgres-es on qualified table names) reaches the same log.

-- The two tables as postgres-es documents them. A table that it has already filled is adopted as it is.
CREATE TABLE IF NOT EXISTS events
(
    aggregate_type text COLLATE "C"             NOT NULL,
    aggregate_id   text COLLATE "C"             NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text COLLATE "C"             NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

CREATE TABLE IF NOT EXISTS snapshots
(
    aggregate_type   text                                 NOT NULL,
    aggregate_id     text                                 NOT NULL,
    last_sequence    bigint CHECK (last_sequence >= 0)    NOT NULL,
    current_snapshot bigint CHECK (current_snapshot >= 0) NOT NULL,
    payload          json                                 NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)
);

LOCK TABLE events IN ACCESS EXCLUSIVE MODE;

-- What the global order needs.
--   position     1, 2, 3, … over all streams
--   event_id     identity for idempotent retries
--   recorded_at  microseconds since 1970-01-01T00:00:00Z by the writer's clock
--   format       0: written by postgres-es, payload as it made it; 1: written by Daybook, payload is
--                {"<event_type>":<data>} with the bytes of data between prefix and closing brace unchanged
--   raw_data, raw_metadata  the bytes themselves where they are no JSON text that the two json columns can hold
ALTER TABLE events
    ADD COLUMN position     bigint,
    ADD COLUMN event_id     uuid,
    ADD COLUMN recorded_at  bigint,
    ADD COLUMN format       smallint NOT NULL DEFAULT 0,
    ADD COLUMN raw_data     bytea,
    ADD COLUMN raw_metadata bytea;

-- The id of an event whose writer gives none: a UUIDv8 made of the first half of a SHA-256 over its place.
CREATE FUNCTION events_id_of(aggregate_type text, aggregate_id text, sequence bigint) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT AS
$$
SELECT encode(set_byte(set_byte(h, 6, (get_byte(h, 6) & 15) | 128), 8, (get_byte(h, 8) & 63) | 128), 'hex')::uuid
FROM (SELECT substring(sha256(convert_to(aggregate_type || ' ' || aggregate_id || ' ' || sequence, 'UTF8')) FOR 16))
    AS digest(h)
$$;

-- Daybook's stream is aggregate_type-aggregate_id, split at the first hyphen; one row shape for each stream name.
CREATE FUNCTION events_check_names(aggregate_type text, aggregate_id text, event_type text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE AS
$$
BEGIN
    IF aggregate_type COLLATE "C" !~ '^[!-,.-~]+$' OR aggregate_id COLLATE "C" !~ '^[!-~]*$'
        OR length(aggregate_type) + length(aggregate_id) > 254 THEN
        RAISE EXCEPTION 'aggregate type % with id % cannot be a stream of the event log', aggregate_type, aggregate_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'events_stream_name',
                HINT = 'Use visible ASCII, no hyphen in the aggregate type, and at most 254 characters together.';
    END IF;
    IF event_type COLLATE "C" !~ '^[!-~]{1,255}$' THEN
        RAISE EXCEPTION 'event type % cannot be one of the event log', event_type
            USING ERRCODE = 'check_violation', CONSTRAINT = 'events_type_name', HINT = 'Use 1 to 255 characters of visible ASCII.';
    END IF;
END
$$;

-- Adopt what postgres-es has written before: in the order of storage, each stream in its own order.
DO
$$
DECLARE
    broken record;
BEGIN
    PERFORM events_check_names(aggregate_type, aggregate_id, event_type) FROM events;
    SELECT aggregate_type, aggregate_id INTO broken FROM events
        GROUP BY aggregate_type, aggregate_id HAVING min(sequence) <> 1 OR max(sequence) <> count(*) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'aggregate % with id % has a gap in its sequence', broken.aggregate_type, broken.aggregate_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'events_sequence_gapless',
                HINT = 'The sequences of an aggregate must be 1, 2, 3, … before the event log can adopt the table.';
    END IF;
    UPDATE events e
    SET position    = placed.position,
        event_id    = events_id_of(e.aggregate_type, e.aggregate_id, e.sequence),
        recorded_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM (SELECT by_sequence.aggregate_type, by_sequence.aggregate_id, by_sequence.sequence, by_storage.position
          FROM (SELECT aggregate_type, aggregate_id, sequence,
                       row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY sequence) AS nth
                FROM events) by_sequence
                   JOIN (SELECT aggregate_type, aggregate_id, position,
                                row_number() OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY position) AS nth
                         FROM (SELECT aggregate_type, aggregate_id, row_number() OVER (ORDER BY ctid) AS position
                               FROM events) stored) by_storage
                        USING (aggregate_type, aggregate_id, nth)) placed
    WHERE e.aggregate_type = placed.aggregate_type
      AND e.aggregate_id = placed.aggregate_id
      AND e.sequence = placed.sequence;
END
$$;

ALTER TABLE events
    ALTER COLUMN position SET NOT NULL,
    ALTER COLUMN event_id SET NOT NULL,
    ALTER COLUMN recorded_at SET NOT NULL,
    ADD CONSTRAINT events_position_key UNIQUE (position),
    ADD CONSTRAINT events_event_id_key UNIQUE (event_id);

-- The ordering authority: one row. Whoever writes events updates it first and so holds its lock to the end of the
-- transaction: positions become visible in order, and a rollback gives them back, so that they have no holes.
CREATE TABLE event_log_head
(
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO event_log_head (position) SELECT coalesce(max(position), 0) FROM events;

CREATE FUNCTION event_log_channel() RETURNS text
    LANGUAGE sql STABLE SET search_path FROM CURRENT AS
$$
SELECT 'daybook_events_' || 'events'::regclass::oid
$$;

-- For every writer but events_append: draws the position, whatever the writer gives, and fills in what it does not know.
CREATE FUNCTION events_draw_position() RETURNS trigger
    LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS
$$
DECLARE
    last bigint;
BEGIN
    PERFORM events_check_names(NEW.aggregate_type, NEW.aggregate_id, NEW.event_type);
    UPDATE event_log_head SET position = position + 1 RETURNING position INTO STRICT NEW.position;
    SELECT e.sequence INTO last FROM events e
        WHERE e.aggregate_type = NEW.aggregate_type AND e.aggregate_id = NEW.aggregate_id
        ORDER BY e.sequence DESC LIMIT 1;
    -- An occupied sequence is left to the primary key, whose error means "optimistic lock" to postgres-es.
    IF NEW.sequence > coalesce(last, 0) + 1 OR NEW.sequence < 1 THEN
        RAISE EXCEPTION 'sequence % of aggregate % with id % does not follow %',
            NEW.sequence, NEW.aggregate_type, NEW.aggregate_id, coalesce(last, 0)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'events_sequence_gapless';
    END IF;
    NEW.event_id := events_id_of(NEW.aggregate_type, NEW.aggregate_id, NEW.sequence);
    NEW.recorded_at := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    NEW.format := 0;
    NEW.raw_data := NULL;
    NEW.raw_metadata := NULL;
    PERFORM pg_notify(event_log_channel(), NEW.position::text);
    RETURN NEW;
END
$$;

CREATE TRIGGER events_draw_position
    BEFORE INSERT ON events FOR EACH ROW
    WHEN (current_setting('daybook.append', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION events_draw_position();

-- What was read once reads the same for ever.
CREATE FUNCTION events_refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION 'events are immutable: % refused', TG_OP USING ERRCODE = 'check_violation', CONSTRAINT = 'events_immutable';
END
$$;

CREATE TRIGGER events_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT
EXECUTE FUNCTION events_refuse_change();

-- One group of appends in one statement. s_*: every stream of the group once, with the revision that its first
-- event follows, and whether the caller knows that revision for certain as long as the head is still known_head.
-- e_*: the events in order. Writes all of them and returns (new head, null, null); or, where a stream is not at
-- its revision, writes nothing and returns (head, its index from 1, its revision) for each such stream.
CREATE FUNCTION events_append(known_head bigint,
                              s_aggregate_type text[], s_aggregate_id text[], s_revision bigint[], s_known boolean[],
                              e_aggregate_type text[], e_aggregate_id text[], e_sequence bigint[], e_event_id uuid[],
                              e_event_type text[], e_event_version text[], e_recorded_at bigint[],
                              e_payload text[], e_metadata text[], e_raw_data bytea[], e_raw_metadata bytea[])
    RETURNS TABLE (head bigint, stream bigint, revision bigint)
    LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off SET daybook.append = 'on' AS
$$
DECLARE
    before bigint;
BEGIN
    SELECT h.position INTO STRICT before FROM event_log_head h FOR NO KEY UPDATE;
    RETURN QUERY
        SELECT before, s.nth, s.last
        FROM (SELECT u.nth, u.expected, u.known,
                     coalesce((SELECT e.sequence FROM events e
                               WHERE e.aggregate_type = u.aggregate_type AND e.aggregate_id = u.aggregate_id
                               ORDER BY e.sequence DESC LIMIT 1), 0) AS last
              FROM unnest(s_aggregate_type, s_aggregate_id, s_revision, s_known)
                       WITH ORDINALITY AS u(aggregate_type, aggregate_id, expected, known, nth)
              WHERE before <> known_head OR NOT u.known) s
        WHERE s.last <> s.expected;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE event_log_head h SET position = before + cardinality(e_sequence);
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        position, event_id, recorded_at, format, raw_data, raw_metadata)
    SELECT u.aggregate_type, u.aggregate_id, u.sequence, u.event_type, u.event_version, u.payload::json, u.metadata::json,
           before + u.nth, u.event_id, u.recorded_at, 1, u.raw_data, u.raw_metadata
    FROM unnest(e_aggregate_type, e_aggregate_id, e_sequence, e_event_id, e_event_type, e_event_version, e_recorded_at,
                e_payload, e_metadata, e_raw_data, e_raw_metadata)
             WITH ORDINALITY AS u(aggregate_type, aggregate_id, sequence, event_id, event_type, event_version, recorded_at,
                                  payload, metadata, raw_data, raw_metadata, nth);
    PERFORM pg_notify(event_log_channel(), (before + cardinality(e_sequence))::text);
    RETURN QUERY SELECT before + cardinality(e_sequence), NULL::bigint, NULL::bigint;
END
$$;
