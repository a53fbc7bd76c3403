-- How far the holder of a lease is, for whoever holds it next.
ALTER TABLE event_log_leases ADD COLUMN note bytea;
