-- Tickets: each opens one stream once, for clients that can send neither header nor cookie.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- Unlogged: a crash empties it, and so none that was spent comes back with a lost commit. Nobody misses what lives for
-- half a minute.
CREATE UNLOGGED TABLE app.stream_tickets (
    ticket_hash       bytea PRIMARY KEY CHECK (length(ticket_hash) = 32),
    auth_session_id   uuid NOT NULL REFERENCES app.auth_sessions ON DELETE CASCADE,
    session_id        uuid,
    access_expires_at timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL
);
CREATE INDEX stream_tickets_auth_session_id_idx ON app.stream_tickets (auth_session_id);
COMMENT ON TABLE app.stream_tickets IS
    'SHA-256 of each ticket that was not used yet, and the sign-in that it stands for. To use one is to delete its row';
COMMENT ON COLUMN app.stream_tickets.session_id IS
    'The session whose stream it opens; null: the stream of all. The right to see it is asked for when it opens';
COMMENT ON COLUMN app.stream_tickets.access_expires_at IS
    'When the access token expires with which it was asked for; so does what it opens';

GRANT SELECT, INSERT, DELETE ON app.stream_tickets TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (10, 'stream_tickets');
COMMIT;
