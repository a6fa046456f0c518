-- Failed attempts to sign in, counted over all servers.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- The generic cell rate algorithm (ITU-T I.371, annex A.1). Each attempt moves clear_at ahead by period/limit, and may not
-- move it further ahead than the period. So "limit" attempts may come at once, and then one in each period/limit.
CREATE TABLE app.attempt_limits (
    subject  bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    clear_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE app.attempt_limits IS
    'What failed attempts to sign in have used up, one row an account or network address';
COMMENT ON COLUMN app.attempt_limits.subject IS
    'SHA-256 of the account''s or the network''s address: the address itself is not stored';
COMMENT ON COLUMN app.attempt_limits.clear_at IS
    'When all that was charged has worn off. A row whose time is past may be deleted';

INSERT INTO app.schema_migrations (version, name) VALUES (7, 'limits');
COMMIT;
