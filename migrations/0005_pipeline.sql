-- The queue for workers, and their results: transcripts and notes, with their history.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.session_leases (
    session_id   uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker       text,
    attempt      integer,
    lease_hash   bytea CHECK (length(lease_hash) = 32),
    leased_until timestamptz
);
CREATE INDEX session_leases_queued_at_idx ON app.session_leases (queued_at);
COMMENT ON TABLE app.session_leases IS
    'The queue: one row for each session that waits for a worker or is with one. A finished session has no row';
COMMENT ON COLUMN app.session_leases.queued_at IS 'When the session joined the queue. Workers claim the oldest first';
COMMENT ON COLUMN app.session_leases.worker IS 'The name that the worker gave itself; null: the session waits';
COMMENT ON COLUMN app.session_leases.attempt IS 'The attempt that the worker works on';
COMMENT ON COLUMN app.session_leases.lease_hash IS
    'SHA-256 of the lease: the secret that app.claim_session returned, and that only its worker has';
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
    -- Unlike jsonb, json keeps the members in the order of the pipeline.
    body       json NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.notes FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.notes IS 'The therapist''s notes of each session that has them. The patient never sees them';
COMMENT ON COLUMN app.notes.attempt IS 'The attempt that produced the notes';
COMMENT ON COLUMN app.notes.body IS 'A JSON object, as the pipeline stored it';

CREATE TABLE app.result_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id  uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    kind        text NOT NULL CHECK (kind IN ('transcript', 'notes')),
    attempt     integer NOT NULL,
    body        json NOT NULL,
    stored_at   timestamptz NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    replaced_by uuid
);
CREATE INDEX result_history_session_id_idx ON app.result_history (session_id, id);
ALTER TABLE app.result_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.result_history FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.result_history IS
    'Transcripts and notes that later ones have replaced, one row each. A deletion of the session deletes its rows';
COMMENT ON COLUMN app.result_history.attempt IS 'The attempt that produced the result';
COMMENT ON COLUMN app.result_history.body IS 'The result before it was replaced';
COMMENT ON COLUMN app.result_history.stored_at IS 'When the result was stored';
COMMENT ON COLUMN app.result_history.replaced_at IS 'When another result replaced it';
COMMENT ON COLUMN app.result_history.replaced_by IS
    'The user who replaced it; null: a pipeline, or an operator in psql. Not a foreign key: the row outlives the account';

INSERT INTO app.schema_migrations (version, name) VALUES (5, 'pipeline');
COMMIT;
