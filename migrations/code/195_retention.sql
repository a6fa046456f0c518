-- How long things are kept: what the server removes after the times of its settings RETAIN_….
-- revision: 1
--
-- Each call removes at most so many rows, in a transaction of its own. Nobody waits for long, and the caller repeats the call.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('195_retention', 1); END $$;

CREATE OR REPLACE FUNCTION app.delete_old_events(age interval, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    -- The latest transition stays: it says when a session came to its present status.
    WITH deleted AS (
        DELETE FROM session_events e
        WHERE (e.session_id, e.version) IN (
            SELECT o.session_id, o.version FROM session_events o
            WHERE o.at < clock_timestamp() - $1
              AND EXISTS (SELECT FROM session_events n WHERE n.session_id = o.session_id AND n.version > o.version)
            LIMIT $2)
        RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_old_events IS
    'Deletes at most "most" transitions that are older than the age, but not the latest one of a session, and returns their number';

CREATE OR REPLACE FUNCTION app.discard_old_recordings(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    old RECORD;
    total bigint := 0;
BEGIN
    FOR old IN
        SELECT t.id, t.recording FROM therapy_sessions t JOIN session_progress p ON p.session_id = t.id
        JOIN statuses s ON s.status = p.status
        WHERE s.is_finished AND p.updated_at < clock_timestamp() - $1 AND t.recording IS NOT NULL
        LIMIT $2 FOR NO KEY UPDATE OF t SKIP LOCKED
    LOOP
        -- A new statement: a retry may have locked the session first, and has then begun it again.
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM session_progress p JOIN statuses s ON s.status = p.status
            WHERE p.session_id = old.id AND s.is_finished);
        UPDATE therapy_sessions t SET recording = NULL WHERE t.id = old.id;
        INSERT INTO discarded_recordings (recording) VALUES (old.recording) ON CONFLICT DO NOTHING;
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.discard_old_recordings IS
    'Takes at most "most" recordings from sessions that have been finished for longer than the age, lists their files for removal, '
    'and returns their number. Such a session cannot be retried: it has no recording any more';

CREATE OR REPLACE FUNCTION app.delete_old_audit(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET timezone = 'UTC'
AS $$
DECLARE
    cutoff CONSTANT timestamptz := clock_timestamp() - $1;
    month timestamptz;
    total bigint := 0;
BEGIN
    -- A whole month goes without a look at its rows.
    FOR month IN
        SELECT to_timestamp(substr(c.relname, 11), 'YYYY_MM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'app.audit_log'::regclass AND c.relname ~ '^audit_log_[0-9]{4}_[0-9]{2}$' ORDER BY 1
    LOOP
        EXIT WHEN month + interval '1 month 1 day' > cutoff;
        RETURN drop_audit_partition(month::date);
    END LOOP;
    DELETE FROM audit_log a
    WHERE (a.at, a.id) IN (SELECT o.at, o.id FROM audit_log o WHERE o.at < cutoff ORDER BY o.at, o.id LIMIT $2);
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.delete_old_audit IS
    'Removes records of the audit log that are older than the age: a whole month, or at most "most" records. Returns their number. '
    'Each removal leaves one record. Raises 55P03 if the log is not free at once';

REVOKE ALL ON FUNCTION app.delete_old_events, app.discard_old_recordings, app.delete_old_audit
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.delete_old_events, app.discard_old_recordings, app.delete_old_audit TO therapybridge_server;

COMMIT;
