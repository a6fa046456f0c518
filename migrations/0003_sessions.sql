-- Therapy sessions: whose they are, and where their recording is.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.therapy_sessions (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id       uuid NOT NULL REFERENCES app.users,
    therapist_id     uuid REFERENCES app.users,
    -- What RFC 3339 can write: no infinity, no year before 1 or after 9999.
    session_date     timestamptz NOT NULL DEFAULT now()
                     CHECK (session_date >= '0001-01-01Z' AND session_date < '10000-01-01Z'),
    filename         text CHECK (length(filename) <= 255),
    media_type       text CHECK (length(media_type) <= 255),
    bytes            bigint CHECK (bytes >= 0),
    sha256           bytea CHECK (length(sha256) = 32),
    duration_seconds double precision CHECK (duration_seconds >= 0 AND duration_seconds < 'infinity'),
    recording        text,
    uploaded_by      uuid REFERENCES app.users,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Lists are read newest first, for a patient or for all.
CREATE INDEX therapy_sessions_patient_id_idx ON app.therapy_sessions (patient_id, created_at DESC, id DESC);
CREATE INDEX therapy_sessions_created_at_idx ON app.therapy_sessions (created_at DESC, id DESC);
COMMENT ON COLUMN app.therapy_sessions.therapist_id IS
    'Who held the session. Gives no right to see it: only an active row of therapist_patients does';
COMMENT ON COLUMN app.therapy_sessions.recording IS 'The key of the recording in UPLOAD_DIR; null until it is stored whole';

-- A file cannot be removed in a transaction. So the one that deletes a session, whoever does it, leaves word of the file
-- here, and a server removes the file and then the row.
CREATE TABLE app.discarded_recordings (
    recording    text PRIMARY KEY,
    discarded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE app.discarded_recordings IS 'Recordings of deleted sessions, whose files are still to be removed';

CREATE FUNCTION app.discard_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO discarded_recordings (recording) VALUES (OLD.recording) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER discard_recording AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.recording IS NOT NULL) EXECUTE FUNCTION app.discard_recording();

GRANT SELECT, DELETE ON app.discarded_recordings TO therapybridge_server;
GRANT SELECT, INSERT, DELETE ON app.therapy_sessions TO therapybridge_server;
GRANT UPDATE (therapist_id, session_date, filename, media_type, bytes, sha256, duration_seconds, recording)
    ON app.therapy_sessions TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (3, 'sessions');
COMMIT;
