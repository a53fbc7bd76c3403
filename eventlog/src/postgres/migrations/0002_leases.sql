-- Who leads, among several gateways on one log.
CREATE TABLE event_log_leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    -- Grows by one whenever the lease changes hands.
    token      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
