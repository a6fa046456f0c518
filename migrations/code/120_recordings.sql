-- Recordings: how an upload attaches one, who may hear it, and how files that no session needs are removed.
-- revision: 1
--
-- The database knows every file before its first byte: discarded_recordings lists it for removal until app.attach_recording
-- attaches it. A file that an upload leaves behind, for any reason, is therefore removed in the end.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('120_recordings', 1); END $$;

REVOKE ALL ON app.discarded_recordings FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.expect_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    INSERT INTO discarded_recordings (recording, upload_id, discarded_at)
    VALUES (NEW.upload_key, NEW.upload_id, clock_timestamp() + upload_grace());
    -- A new statement: the INSERT has waited for any transaction that was about to attach a recording with this key.
    PERFORM FROM therapy_sessions t WHERE t.recording = NEW.upload_key;
    IF FOUND THEN
        RAISE EXCEPTION 'upload_key: is the key of a recording'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'upload_key_taken', COLUMN = 'upload_key';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.expect_recording IS
    'Trigger: lists the file of a new upload for removal, unless the recording is attached in time. Raises 23505 for a key '
    'that a recording has or had: its file would be removed with the upload';
CREATE OR REPLACE TRIGGER expect_first AFTER INSERT ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.upload_key IS NOT NULL) EXECUTE FUNCTION app.expect_recording();
CREATE OR REPLACE TRIGGER expect_next AFTER UPDATE OF upload_key ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.upload_key IS DISTINCT FROM OLD.upload_key AND NEW.upload_key IS NOT NULL)
    EXECUTE FUNCTION app.expect_recording();

CREATE OR REPLACE FUNCTION app.report_upload(
    session_id uuid, upload_id uuid, status text, progress integer, message text, error text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The lock: until the commit, nobody can delete the session or let another upload bring its recording.
    PERFORM FROM therapy_sessions t WHERE t.id = $1 AND t.upload_id = $2 AND t.recording IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN report_progress($1, $3, $4, $5, $6);
END
$$;
COMMENT ON FUNCTION app.report_upload IS
    'Reports progress for an upload, as app.report_progress does. Returns null and does nothing if the session does not wait '
    'for this upload';

CREATE OR REPLACE FUNCTION app.attach_recording(
    session_id uuid, upload_id uuid, bytes bigint, sha256 bytea, media_type text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    key text;
BEGIN
    -- Each step is a new statement: it sees what others committed while the step before it waited for a lock.
    SELECT t.upload_key INTO key FROM therapy_sessions t
    WHERE t.id = $1 AND t.upload_id = $2 AND t.recording IS NULL
      AND acting_may('upload', t.patient_id)
    FOR NO KEY UPDATE;
    IF key IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM discarded_recordings d WHERE d.recording = key AND d.taken_at IS NULL AND d.removed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE therapy_sessions t SET recording = key, bytes = $3, sha256 = $4, media_type = $5 WHERE t.id = $1;
    PERFORM report_progress($1, s.status, s.floor, 'Waiting for a free worker') FROM statuses s WHERE s.status = 'pending';
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.attach_recording IS
    'Attaches the recording of an upload to its session, for the acting user, and queues the session. Returns false if the '
    'session is gone or waits for another upload, if the user may no longer upload to it, or if a server removes the file';

CREATE OR REPLACE FUNCTION app.has_recording(session_id uuid, key text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM therapy_sessions t WHERE t.id = $1 FOR NO KEY UPDATE;
    RETURN EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND t.recording = $2);
END
$$;
COMMENT ON FUNCTION app.has_recording IS
    'True if the recording is attached. The function first waits for every transaction that is about to attach it. It checks '
    'no right: the uploader may have lost the right to see the session';

CREATE OR REPLACE FUNCTION app.acting_recording(session_id uuid)
RETURNS TABLE (recording text, filename text, media_type text, sha256 bytea, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT t.recording, t.filename, t.media_type, t.sha256, t.created_at FROM therapy_sessions t
        WHERE t.id = $1 AND t.recording IS NOT NULL
          AND acting_may('hear', t.patient_id);
END
$$;
COMMENT ON FUNCTION app.acting_recording IS
    'The recording of a session, for the acting user; no row: the session has no recording, or the user may not hear it. A '
    'pipeline uses app.leased_recording';

-- Removal of files

CREATE OR REPLACE FUNCTION app.discard_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO discarded_recordings (recording) VALUES (OLD.recording) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.discard_recording IS
    'Trigger: lists the file of a deleted session for removal, also if the session is deleted in psql';
CREATE OR REPLACE TRIGGER discard_recording AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.recording IS NOT NULL) EXECUTE FUNCTION app.discard_recording();

CREATE OR REPLACE FUNCTION app.claim_discarded(most integer) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    UPDATE discarded_recordings d SET taken_at = clock_timestamp()
    WHERE d.recording IN (
        SELECT w.recording FROM discarded_recordings w
        WHERE w.removed_at IS NULL AND w.discarded_at <= clock_timestamp()
          AND (w.taken_at IS NULL OR w.taken_at < clock_timestamp() - interval '1 hour')
          AND NOT is_upload_alive(w.upload_id)
        ORDER BY w.discarded_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING d.recording
$$;
COMMENT ON FUNCTION app.claim_discarded IS
    'Returns the keys of at most "most" files to remove, oldest first, each to one server. If the server does not remove a '
    'file, another one gets its key after an hour';

CREATE OR REPLACE FUNCTION app.record_removed_file(key text, upload_id uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    UPDATE discarded_recordings d SET removed_at = clock_timestamp()
    WHERE d.recording = $1 AND d.removed_at IS NULL
      AND (d.upload_id = $2 OR d.taken_at IS NOT NULL
           OR d.discarded_at <= clock_timestamp() AND NOT is_upload_alive(d.upload_id))
$$;
COMMENT ON FUNCTION app.record_removed_file IS
    'Records that a file was removed, by the upload that wrote it, or after it was due. Another caller cannot give up the '
    'file of an upload that is under way';

CREATE OR REPLACE FUNCTION app.fail_abandoned_uploads(age interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    abandoned uuid;
    total integer := 0;
BEGIN
    -- The lock comes before the check: an upload that completes at this moment must not fail.
    FOR abandoned IN
        SELECT p.session_id FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
        WHERE p.updated_at < clock_timestamp() - age AND NOT is_upload_alive(t.upload_id)
          AND (p.status = 'uploading' OR p.status = 'pending' AND t.recording IS NULL AND t.uploaded_by IS NOT NULL)
        FOR NO KEY UPDATE OF p SKIP LOCKED
    LOOP
        UPDATE session_progress
        SET status = 'failed', message = NULL, error = 'The upload broke off before the recording was complete.'
        WHERE session_id = abandoned;
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.fail_abandoned_uploads IS
    'Fails the sessions whose upload has made no progress for the age and is not alive: its server has died. Returns their '
    'number';

CREATE OR REPLACE FUNCTION app.fail_silent_upload(session_id uuid, silence interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The lock comes before the check: an upload that completes at this moment must not fail. Its order is that of
    -- app.report_upload.
    PERFORM FROM therapy_sessions t
    WHERE t.id = $1 AND t.recording IS NULL AND t.uploaded_by = acting_id() AND acting_may('upload', t.patient_id)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE session_progress p
    SET status = 'failed', message = NULL, error = 'The upload broke off before the recording was complete.'
    FROM therapy_sessions t
    WHERE p.session_id = $1 AND t.id = $1 AND is_waiting(p.status)
      AND is_upload_silent(t.upload_id, $2)
      AND NOT EXISTS (SELECT FROM resumable_uploads u WHERE u.id = t.upload_id AND u.state = 'open');
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.fail_silent_upload IS
    'Fails a session whose upload in one request is silent for the time, or whose server has died, for the acting user who '
    'began it: the user repeats the upload. Returns false for every other session, also for one with a resumable upload';

CREATE OR REPLACE FUNCTION app.usual_recording_bytes() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY r.bytes)
    FROM (SELECT t.bytes FROM therapy_sessions t ORDER BY t.created_at DESC, t.id DESC LIMIT 100) AS r
    WHERE r.bytes IS NOT NULL
$$;
COMMENT ON FUNCTION app.usual_recording_bytes IS
    'The median size of the recordings among the newest 100 sessions; null without one. The percentage of an upload without a '
    'length is computed from it';

CREATE OR REPLACE FUNCTION app.sample_recordings(besides uuid, most integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    start CONSTANT uuid := gen_random_uuid();
BEGIN
    RETURN QUERY
        (SELECT t.recording FROM therapy_sessions t
         WHERE t.id >= start AND t.id <> besides AND t.recording IS NOT NULL ORDER BY t.id LIMIT most)
        UNION ALL
        (SELECT t.recording FROM therapy_sessions t
         WHERE t.id < start AND t.id <> besides AND t.recording IS NOT NULL ORDER BY t.id LIMIT most)
        LIMIT most;
END
$$;
COMMENT ON FUNCTION app.sample_recordings IS
    'The keys of some recordings of other sessions, chosen at random, for a worker that does not find the file of one';

REVOKE ALL ON FUNCTION app.expect_recording, app.report_upload, app.attach_recording, app.has_recording, app.acting_recording, app.discard_recording, app.claim_discarded,
    app.record_removed_file, app.fail_abandoned_uploads, app.fail_silent_upload, app.usual_recording_bytes,
    app.sample_recordings
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.report_upload, app.attach_recording, app.has_recording, app.acting_recording,
    app.claim_discarded, app.record_removed_file, app.fail_abandoned_uploads, app.fail_silent_upload,
    app.usual_recording_bytes, app.sample_recordings TO therapybridge_server;

COMMIT;
