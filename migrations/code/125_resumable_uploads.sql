-- Resumable uploads: who may see and continue one, what may change, and how one ends.
-- revision: 1
--
-- Domain/ResumableUpload.swift decides what a request may do. It reads the row under a lock, and writes it back in the same
-- transaction. The trigger below refuses what no decision can be.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('125_resumable_uploads', 1); END $$;

DROP POLICY IF EXISTS owner ON app.resumable_uploads;
CREATE POLICY owner ON app.resumable_uploads TO therapybridge_owner USING (true) WITH CHECK (true);

-- Several users may upload for one patient. An upload belongs only to the user who began it.
DROP POLICY IF EXISTS own ON app.resumable_uploads;
CREATE POLICY own ON app.resumable_uploads TO therapybridge_server
    USING (user_id = (SELECT app.acting_id())
           AND ((SELECT app.acting_may_all('upload'))
                OR patient_id = ANY (ARRAY(SELECT app.acting_patients('upload')))));
-- An administrator can end the upload of another user, and therefore sees its row.
DROP POLICY IF EXISTS managed ON app.resumable_uploads;
CREATE POLICY managed ON app.resumable_uploads FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('manage')));

REVOKE ALL ON app.resumable_uploads FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.resumable_uploads TO therapybridge_server;
GRANT INSERT (id, session_id, patient_id, user_id, metadata, length, expires_at)
    ON app.resumable_uploads TO therapybridge_server;
GRANT UPDATE (arrived, parts, part_bytes, is_recognized, state, writer, leased_until, heard_at, expires_at)
    ON app.resumable_uploads TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.guard_upload() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF OLD.state <> 'open' AND NEW.state <> OLD.state
       OR NEW.arrived < OLD.arrived
       OR NEW.state = 'open' AND NEW.arrived <> (SELECT coalesce(sum(b), 0) FROM unnest(NEW.part_bytes) AS b) THEN
        RAISE EXCEPTION 'an upload neither begins again nor loses bytes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'upload_fixed';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION app.guard_upload IS
    'Trigger: an upload that is complete or ended stays so, durable bytes stay, and they are those of its parts';
CREATE OR REPLACE TRIGGER guard_upload BEFORE UPDATE ON app.resumable_uploads
    FOR EACH ROW EXECUTE FUNCTION app.guard_upload();

CREATE OR REPLACE FUNCTION app.end_upload_of_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    UPDATE resumable_uploads u SET state = 'ended', writer = NULL, leased_until = NULL, heard_at = NULL
    WHERE u.session_id = OLD.session_id AND u.state = 'open';
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.end_upload_of_session IS
    'Trigger: the upload of a session ends when the session fails or is deleted: after an expiry, a cancellation or a '
    'deletion. Its writer then stores nothing more';
-- The rows of session_progress go with those of therapy_sessions. A transaction that changes both a session and its upload locks
-- the session first, as these triggers do.
CREATE OR REPLACE TRIGGER end_upload_of_failed AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN (OLD.status <> 'failed' AND NEW.status = 'failed') EXECUTE FUNCTION app.end_upload_of_session();
CREATE OR REPLACE TRIGGER end_upload_of_deleted AFTER DELETE ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.end_upload_of_session();

CREATE OR REPLACE FUNCTION app.expire_uploads(only_id uuid DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    due record;
    total integer := 0;
BEGIN
    FOR due IN
        SELECT u.id, u.session_id FROM resumable_uploads u
        WHERE u.state = 'open' AND u.expires_at <= clock_timestamp()
          AND (u.leased_until IS NULL OR u.leased_until <= clock_timestamp())
          AND ($1 IS NULL OR u.id = $1)
        ORDER BY u.expires_at LIMIT 1000
    LOOP
        -- The session first, as everywhere. If another transaction holds the session, the next call ends the upload.
        PERFORM FROM session_progress p WHERE p.session_id = due.session_id FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        -- A new statement: bytes may have arrived before the lock.
        PERFORM FROM resumable_uploads u
        WHERE u.id = due.id AND u.state = 'open' AND u.expires_at <= clock_timestamp() FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        UPDATE session_progress p
        SET status = 'failed', message = NULL, error = 'The upload was not completed in time.'
        WHERE p.session_id = due.session_id AND is_waiting(p.status);
        UPDATE resumable_uploads u SET state = 'ended', writer = NULL, leased_until = NULL, heard_at = NULL
        WHERE u.id = due.id AND u.state = 'open';
        UPDATE discarded_recordings d SET discarded_at = clock_timestamp()
        WHERE d.upload_id = due.id AND d.removed_at IS NULL AND d.discarded_at > clock_timestamp();
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.expire_uploads IS
    'Ends the open uploads whose time is over, or one of them, fails their sessions, and lets their files be removed. Returns '
    'their number';

CREATE OR REPLACE FUNCTION app.delete_old_uploads(age interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (
        DELETE FROM resumable_uploads
        WHERE state <> 'open' AND expires_at < clock_timestamp() - CASE WHEN state = 'ended' THEN $1 ELSE '0' END
        RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_old_uploads IS
    'Deletes complete uploads that need not answer any more, and ended ones that expired longer ago than the age. Returns their '
    'number';

REVOKE ALL ON FUNCTION app.guard_upload, app.end_upload_of_session, app.expire_uploads, app.delete_old_uploads
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.expire_uploads, app.delete_old_uploads TO therapybridge_server;

COMMIT;
