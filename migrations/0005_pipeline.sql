-- The queue for workers, and their results: transcripts and notes.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.session_leases (
    session_id   uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker       text,
    attempt      integer,
    leased_until timestamptz
);
CREATE INDEX session_leases_queued_at_idx ON app.session_leases (queued_at);
COMMENT ON TABLE app.session_leases IS
    'The queue: one row for each session that waits for a worker or is with one. A finished session has no row';
COMMENT ON COLUMN app.session_leases.queued_at IS 'When the session joined the queue. Workers claim the oldest first';
COMMENT ON COLUMN app.session_leases.worker IS 'The name that the worker gave itself; null: the session waits';
COMMENT ON COLUMN app.session_leases.attempt IS 'The attempt that the worker works on';
COMMENT ON COLUMN app.session_leases.leased_until IS 'When the lease runs out, and another worker may claim the session';

CREATE TABLE app.transcripts (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE app.transcripts ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.transcripts FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.transcripts IS 'The transcript of each session that has one';
COMMENT ON COLUMN app.transcripts.attempt IS 'The attempt that produced the transcript';
COMMENT ON COLUMN app.transcripts.body IS 'A JSON object with a string "text" and an array "segments"';

CREATE TABLE app.notes (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.notes FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.notes IS 'The therapist''s notes of each session that has them. The patient never sees them';
COMMENT ON COLUMN app.notes.attempt IS 'The attempt that produced the notes';
COMMENT ON COLUMN app.notes.body IS 'A JSON object, as the pipeline stored it';

INSERT INTO app.schema_migrations (version, name) VALUES (5, 'pipeline');
COMMIT;
