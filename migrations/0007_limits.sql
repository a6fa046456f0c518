-- Attempts to sign in, counted over all servers.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- The generic cell rate algorithm (ITU-T I.371, annex A.1). Each attempt moves clear_at ahead by period/limit, but never more
-- than the period ahead of now. As many attempts as the limit can come at once, and after that one in each period/limit.
CREATE TABLE app.attempt_limits (
    subject  bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    clear_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE app.attempt_limits IS
    'The charges for attempts to sign in: one row for each limit of an account or a network address';
COMMENT ON COLUMN app.attempt_limits.subject IS
    'SHA-256 of the limit''s name and the account''s or the network''s address: the address itself is not stored';
COMMENT ON COLUMN app.attempt_limits.clear_at IS
    'From when on no charge counts any more. The row may be deleted after that time';

INSERT INTO app.schema_migrations (version, name) VALUES (7, 'limits');
COMMIT;
