-- What is left to whoever has got hold of the server's role, or of a pipeline: no recording is reached by another session, no
-- file removed that a session has, and nothing done without a record of it.

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
-- Nobody uploads in another's name.
ALTER POLICY uploaded ON app.therapy_sessions
    WITH CHECK (uploaded_by = (SELECT app.acting_id())
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
    DELETE FROM discarded_recordings d WHERE d.recording = key AND d.taken_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE therapy_sessions t SET recording = key, bytes = $3, sha256 = $4 WHERE t.id = $1;
    PERFORM report_progress($1, 'pending', 20, 'Waiting for a free worker');
    RETURN true;
END
$$;

-- Forgets a file that a server was given to remove, and has removed.
CREATE FUNCTION app.forget_discarded(key text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ DELETE FROM discarded_recordings d WHERE d.recording = $1 AND d.taken_at IS NOT NULL $$;
REVOKE SELECT (recording, taken_at), DELETE ON app.discarded_recordings FROM therapybridge_server;
GRANT EXECUTE ON FUNCTION app.forget_discarded TO therapybridge_server;

-- What a session has come to may be stored again, and once it is finished that is on record.
CREATE FUNCTION app.record_correction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (action, user_id, session_id, patient_id)
    SELECT TG_ARGV[0], acting_user_id(), t.id, t.patient_id
    FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
    WHERE p.session_id = NEW.session_id AND p.status IN ('processed', 'failed');
    RETURN NULL;
END
$$;
CREATE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.transcripts
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('transcript.correct');
CREATE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.notes
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('notes.correct');

-- Reports that come over HTTP, with who made them: app.report_progress_batch, and a record of each caller and session
-- whose report was accepted, once in the time in which one is enough. It is written with the reports, or they are not.
CREATE FUNCTION app.report_as(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, state app.session_progress)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH written AS MATERIALIZED (
            SELECT * FROM report_progress_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ), recorded AS (
            INSERT INTO audit_log (action, user_id, auth_session_id, session_id, patient_id)
            SELECT 'progress.report', $1[n.caller], $2[n.caller], n.session_id, t.patient_id
            FROM (SELECT DISTINCT $3[w.report] AS caller, $4[w.report] AS session_id FROM written w
                  WHERE w.code IS NULL) AS n
            LEFT JOIN therapy_sessions t ON t.id = n.session_id
            WHERE NOT EXISTS (SELECT FROM audit_log l
                              WHERE l.session_id = n.session_id AND l.auth_session_id = $2[n.caller]
                                AND l.action = 'progress.report' AND l.is_allowed
                                AND l.at > clock_timestamp() - audit_interval())
        )
        SELECT * FROM written;
END
$$;
COMMENT ON FUNCTION app.report_as IS 'As app.report_progress_batch, and records who reports about what';
REVOKE EXECUTE ON FUNCTION app.report_progress_batch FROM therapybridge_server;
GRANT EXECUTE ON FUNCTION app.report_as TO therapybridge_server;

-- As in 0012, and what a user deletes by the server is recorded here unless it was before, as the rule is: no route can
-- forget that.
CREATE OR REPLACE FUNCTION app.record_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    who CONSTANT uuid := acting_user_id();
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO audit_log (action, user_id, session_id, patient_id, detail)
        VALUES ('session.correct', who, NEW.id, NEW.patient_id, 'was of ' || OLD.patient_id);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO audit_log (action, user_id, session_id, patient_id)
        SELECT 'session.add', who, NEW.id, NEW.patient_id
        WHERE who IS NULL OR NOT EXISTS (SELECT FROM audit_log l
                                         WHERE l.session_id = NEW.id AND l.user_id = who AND l.is_allowed
                                           AND l.action = 'session.upload'
                                           AND l.at > clock_timestamp() - audit_interval());
    ELSE
        INSERT INTO audit_log (action, user_id, session_id, patient_id)
        SELECT 'session.delete', who, OLD.id, OLD.patient_id
        WHERE who IS NULL OR NOT EXISTS (SELECT FROM audit_log l
                                         WHERE l.session_id = OLD.id AND l.user_id = who AND l.is_allowed
                                           AND l.action = 'session.delete'
                                           AND l.at > clock_timestamp() - audit_interval());
    END IF;
    RETURN NULL;
END
$$;

-- As in 0002, and holds the two accounts: a tie does not begin with somebody whose role is being changed.
CREATE OR REPLACE FUNCTION app.check_therapist_patient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF NEW.is_active THEN
        -- In the order of their ids: of two that hold both, the second waits.
        PERFORM FROM users WHERE id IN (NEW.therapist_id, NEW.patient_id) ORDER BY id FOR SHARE;
    END IF;
    -- Statements of their own, after that: these see what was committed meanwhile.
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.therapist_id AND role = 'therapist') THEN
        RAISE EXCEPTION 'therapist_id is not a therapist' USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.patient_id AND role = 'patient') THEN
        RAISE EXCEPTION 'patient_id is not a patient' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.is_active THEN
        IF TG_OP = 'UPDATE' AND NOT OLD.is_active AND NEW.started_at = OLD.started_at THEN
            NEW.started_at := clock_timestamp();
        END IF;
        NEW.ended_at := NULL;
    ELSIF NEW.ended_at IS NULL THEN
        NEW.ended_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

INSERT INTO app.schema_migrations (version, name) VALUES (18, 'recordings');
COMMIT;
