-- What is left to whoever has got hold of the server's role and acts as somebody: no recording is reached by another session,
-- and no file given up that a session has, or waits for.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- A recording is of one session. Where it is found is written by app.enter_recording and by nothing else.
CREATE UNIQUE INDEX therapy_sessions_recording_idx ON app.therapy_sessions (recording) WHERE recording IS NOT NULL;
REVOKE INSERT ON app.therapy_sessions FROM therapybridge_server;
REVOKE UPDATE (therapist_id, session_date, filename, media_type, bytes, sha256, duration_seconds, recording, upload_id,
               upload_key) ON app.therapy_sessions FROM therapybridge_server;
GRANT INSERT (id, patient_id, therapist_id, session_date, filename, media_type, uploaded_by, upload_id, upload_key)
    ON app.therapy_sessions TO therapybridge_server;
GRANT UPDATE (session_date, filename, media_type, upload_id, upload_key) ON app.therapy_sessions TO therapybridge_server;
-- Nobody uploads in another's name, and what is uploaded keeps its name and its date.
ALTER POLICY uploaded ON app.therapy_sessions
    WITH CHECK (uploaded_by = (SELECT app.acting_id())
                AND ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients()))));
ALTER POLICY changed ON app.therapy_sessions
    USING (recording IS NULL
           AND ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients()))))
    WITH CHECK (recording IS NULL
                AND ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients()))));

-- As in 0016, but that a key which a session has is not taken for another upload: its file would be removed with that.
CREATE OR REPLACE FUNCTION app.expect_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO discarded_recordings (recording, upload_id, discarded_at)
    VALUES (NEW.upload_key, NEW.upload_id, clock_timestamp() + upload_patience());
    -- A statement of its own: the one before has waited for whoever was about to enter that key.
    PERFORM FROM therapy_sessions t WHERE t.recording = NEW.upload_key;
    IF FOUND THEN
        RAISE EXCEPTION 'upload_key: is that of a recording' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END
$$;

-- As in 0016, and as its owner: the server's role has no right to the columns any more, so who acts is asked here.
CREATE OR REPLACE FUNCTION app.enter_recording(session_id uuid, upload_id uuid, bytes bigint, sha256 bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    key text;
BEGIN
    -- Statements of their own: each sees what was committed while the one before it waited.
    SELECT t.upload_key INTO key FROM therapy_sessions t
    WHERE t.id = $1 AND t.upload_id = $2 AND t.recording IS NULL
      AND (acting_role() = 'admin' OR t.patient_id IN (SELECT acting_patients()))
    FOR NO KEY UPDATE;
    IF key IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM discarded_recordings d WHERE d.recording = key AND d.taken_at IS NULL AND d.removed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE therapy_sessions t SET recording = key, bytes = $3, sha256 = $4 WHERE t.id = $1;
    PERFORM report_progress($1, 'pending', 20, 'Waiting for a free worker');
    RETURN true;
END
$$;

-- A file is removed once, and its key never becomes another's: the row stays.
ALTER TABLE app.discarded_recordings ADD COLUMN removed_at timestamptz;
COMMENT ON TABLE app.discarded_recordings IS
    'Recordings whose files are to be removed, of deleted sessions and of uploads unless they come to their end; and every key '
    'whose file was';
COMMENT ON COLUMN app.discarded_recordings.removed_at IS 'When the file was removed; from then on the key is nobody''s';
CREATE INDEX discarded_recordings_discarded_at_idx ON app.discarded_recordings (discarded_at) WHERE removed_at IS NULL;

-- As in 0016, and what is removed is not given out any more.
CREATE OR REPLACE FUNCTION app.take_discarded(most integer) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE discarded_recordings d SET taken_at = clock_timestamp()
    WHERE d.recording IN (
        SELECT w.recording FROM discarded_recordings w
        WHERE w.removed_at IS NULL AND w.discarded_at <= clock_timestamp()
          AND (w.taken_at IS NULL OR w.taken_at < clock_timestamp() - interval '1 hour')
          AND NOT is_upload_alive(w.upload_id)
        ORDER BY w.discarded_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING d.recording
$$;

-- Notes that a file is removed, for the upload that was to bring it, or once it was due to be. Not that of another upload
-- which is under way: it would not be entered.
CREATE FUNCTION app.note_removal(key text, upload_id uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE discarded_recordings d SET removed_at = clock_timestamp()
    WHERE d.recording = $1 AND d.removed_at IS NULL
      AND (d.upload_id = $2 OR d.taken_at IS NOT NULL
           OR d.discarded_at <= clock_timestamp() AND NOT is_upload_alive(d.upload_id))
$$;
REVOKE SELECT (recording, taken_at), DELETE ON app.discarded_recordings FROM therapybridge_server;
GRANT EXECUTE ON FUNCTION app.note_removal TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (18, 'recordings');
COMMIT;
