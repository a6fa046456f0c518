-- Uploads by name: a session knows which upload it waits for, and nothing that another one says counts; and every file is
-- known to the database before its first byte, so that none is left that no session has.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

ALTER TABLE app.therapy_sessions ADD COLUMN upload_id uuid, ADD COLUMN upload_key text;
GRANT UPDATE (upload_id, upload_key) ON app.therapy_sessions TO therapybridge_server;
COMMENT ON COLUMN app.therapy_sessions.upload_id IS
    'The upload that brings the recording, or has brought it: the id of its row in upload_charges';
COMMENT ON COLUMN app.therapy_sessions.upload_key IS 'The key that its recording will have';

ALTER TABLE app.discarded_recordings ADD COLUMN upload_id uuid, ADD COLUMN taken_at timestamptz;
COMMENT ON TABLE app.discarded_recordings IS
    'Recordings whose files are to be removed: of deleted sessions, and of uploads unless they come to their end';
COMMENT ON COLUMN app.discarded_recordings.discarded_at IS 'From when on the file may be removed';
COMMENT ON COLUMN app.discarded_recordings.upload_id IS 'The upload that may still write the file; null: none does';
COMMENT ON COLUMN app.discarded_recordings.taken_at IS
    'When a server began to remove the file: from then on it does not become a recording';

-- How long an upload that is not heard of any more may still be one that only has lost the database.
CREATE FUNCTION app.upload_patience() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '10 minutes' $$;

CREATE FUNCTION app.is_upload_alive(id uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT EXISTS (SELECT FROM upload_charges c WHERE c.id = $1 AND c.open_until > clock_timestamp() - upload_patience())
$$;

-- Before the first byte: unless the recording is entered, its file goes.
CREATE FUNCTION app.expect_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO discarded_recordings (recording, upload_id, discarded_at)
    VALUES (NEW.upload_key, NEW.upload_id, clock_timestamp() + upload_patience());
    RETURN NULL;
END
$$;
CREATE TRIGGER expect_first AFTER INSERT ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.upload_key IS NOT NULL) EXECUTE FUNCTION app.expect_recording();
CREATE TRIGGER expect_next AFTER UPDATE OF upload_key ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.upload_key IS DISTINCT FROM OLD.upload_key AND NEW.upload_key IS NOT NULL)
    EXECUTE FUNCTION app.expect_recording();

-- What an upload says of its session, as long as the session waits for that upload. The row of the session is held, so that
-- it is neither deleted nor given to another upload meanwhile.
CREATE FUNCTION app.report_upload(
    session_id uuid, upload_id uuid, status text, progress integer, message text, error text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM therapy_sessions t WHERE t.id = $1 AND t.upload_id = $2 AND t.recording IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN report_progress($1, $3, $4, $5, $6);
END
$$;
COMMENT ON FUNCTION app.report_upload IS 'Reports for an upload; null, and nothing is done, when the session does not wait for it';

-- Enters the recording that an upload has brought, as the acting user, and queues the session. False: the session is no more,
-- or is not to be seen any more, or waits for another upload, or the file is being removed.
CREATE FUNCTION app.enter_recording(session_id uuid, upload_id uuid, bytes bigint, sha256 bytea) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    key text;
BEGIN
    -- Statements of their own: each sees what was committed while the one before it waited.
    SELECT t.upload_key INTO key FROM therapy_sessions t
    WHERE t.id = $1 AND t.upload_id = $2 AND t.recording IS NULL FOR NO KEY UPDATE;
    IF key IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM discarded_recordings d WHERE d.recording = key AND d.taken_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE therapy_sessions t SET recording = key, bytes = $3, sha256 = $4 WHERE t.id = $1;
    PERFORM report_progress($1, 'pending', 20, 'Waiting for a free worker');
    RETURN true;
END
$$;

-- Whether a recording is entered, once every transaction that is about to enter it has ended; whoever may see it by now.
CREATE FUNCTION app.is_entered(session_id uuid, key text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM therapy_sessions t WHERE t.id = $1 FOR NO KEY UPDATE;
    RETURN EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND t.recording = $2);
END
$$;

-- Gives out files to remove, each to one server. What could not be removed is given out again, an hour later.
CREATE FUNCTION app.take_discarded(most integer) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE discarded_recordings d SET taken_at = clock_timestamp()
    WHERE d.recording IN (
        SELECT w.recording FROM discarded_recordings w
        WHERE w.discarded_at <= clock_timestamp()
          AND (w.taken_at IS NULL OR w.taken_at < clock_timestamp() - interval '1 hour')
          AND NOT is_upload_alive(w.upload_id)
        ORDER BY w.discarded_at LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING d.recording
$$;

-- As in 0004, but that an upload which is still heard of is not abandoned, however slow it is.
CREATE OR REPLACE FUNCTION app.fail_abandoned_uploads(age interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    abandoned uuid;
    total integer := 0;
BEGIN
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

REVOKE SELECT ON app.discarded_recordings FROM therapybridge_server;
GRANT SELECT (recording, taken_at) ON app.discarded_recordings TO therapybridge_server;
GRANT EXECUTE ON FUNCTION app.report_upload, app.enter_recording, app.is_entered, app.take_discarded
    TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (16, 'uploads');
COMMIT;
