-- Guards that a route, or a role, could go around: what the database shows to who is refused, what it lets the server's role do
-- for nobody, and what went unrecorded.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- Accesses

-- As in 0012, but that who is refused is shown no state, whatever the caller makes of the refusal; and a record that
-- somebody else is in counts for nobody.
CREATE OR REPLACE FUNCTION app.admit(
    user_ids uuid[], auth_session_ids uuid[], session_ids uuid[], actions text[], needs text[], request_ids text[])
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint,
    is_allowed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    RETURN QUERY
        WITH opened AS MATERIALIZED (
            SELECT o.*, w.user_id, w.auth_session_id, w.action, w.request_id,
                   CASE w.need WHEN 'see' THEN o.may_see
                               WHEN 'hear' THEN o.may_see OR o.user_role = 'pipeline' AND o.user_active AND o.signed_in
                                                             AND o.session_found
                               WHEN 'manage' THEN o.may_manage
                               ELSE false END AS is_allowed
            FROM open_sessions($1, $2, $3) AS o
            JOIN unnest($1, $2, $4, $5, $6) WITH ORDINALITY
                AS w (user_id, auth_session_id, action, need, request_id, ordinal) ON w.ordinal = o.ordinal
        ), recorded AS (
            -- Of strangers, and of sessions that there are not, there is nothing to record.
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id)
            SELECT n.action, n.is_allowed, n.user_id, n.auth_session_id, n.session_id,
                   (SELECT t.patient_id FROM therapy_sessions t WHERE t.id = n.session_id), n.request_id
            FROM opened n
            WHERE n.user_found AND n.signed_in AND n.session_found
              AND CASE WHEN is_repeatable(n.action, n.is_allowed)
                       THEN NOT EXISTS (SELECT FROM audit_log l
                                        WHERE l.session_id = n.session_id AND l.auth_session_id = n.auth_session_id
                                          AND l.action = n.action AND l.at > since
                                          AND l.user_id = n.user_id AND l.is_allowed = n.is_allowed)
                       ELSE true END
        )
        SELECT n.ordinal, n.user_found, n.user_active, n.user_role, n.signed_in, n.session_found, n.is_patient,
               n.is_assigned, n.may_see, n.may_manage, n.session_id,
               CASE WHEN n.is_allowed THEN n.status END, CASE WHEN n.is_allowed THEN n.progress END,
               CASE WHEN n.is_allowed THEN n.message END, CASE WHEN n.is_allowed THEN n.error END,
               CASE WHEN n.is_allowed THEN n.estimated_time_remaining END, CASE WHEN n.is_allowed THEN n.version END,
               CASE WHEN n.is_allowed THEN n.attempt END, CASE WHEN n.is_allowed THEN n.created_at END,
               CASE WHEN n.is_allowed THEN n.updated_at END, n.rights_epoch, n.is_allowed
        FROM opened n ORDER BY n.ordinal;
END
$$;
COMMENT ON FUNCTION app.admit IS
    'app.open_sessions, and records of who does what, or is refused it. A need is see, hear or manage; without, no state is shown';

-- As in 0012, for nobody but the user whose sign-in it is.
CREATE OR REPLACE FUNCTION app.record_access(
    user_id uuid, auth_session_id uuid, action text, is_allowed boolean, session_id uuid, patient_id uuid, request_id text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    PERFORM FROM auth_sessions s WHERE s.id = $2 AND s.user_id = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the sign-in is none of the user''s' USING ERRCODE = 'invalid_authorization_specification';
    END IF;
    IF is_repeatable($3, $4) THEN
        IF $5 IS NULL THEN
            PERFORM FROM audit_log l
            WHERE l.session_id IS NULL AND l.auth_session_id = $2 AND l.action = $3 AND l.at > since
              AND l.user_id = $1 AND l.is_allowed = $4 AND l.patient_id IS NOT DISTINCT FROM $6;
        ELSE
            PERFORM FROM audit_log l
            WHERE l.session_id = $5 AND l.auth_session_id = $2 AND l.action = $3 AND l.at > since
              AND l.user_id = $1 AND l.is_allowed = $4;
        END IF;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id)
    VALUES ($3, $4, $1, $2, $5, $6, $7);
END
$$;

-- Changes

-- Reports over HTTP are recorded with who makes them: once for each caller and session in the time in which once is enough,
-- with the reports, or they are not written. So what was app.report_progress_batch is behind another function of its name.
ALTER FUNCTION app.report_progress_batch RENAME TO write_reports;
REVOKE EXECUTE ON FUNCTION app.write_reports FROM therapybridge_server;
CREATE FUNCTION app.report_progress_batch(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, state app.session_progress)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    RETURN QUERY
        WITH written AS MATERIALIZED (
            SELECT * FROM write_reports($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ), recorded AS (
            INSERT INTO audit_log (action, user_id, auth_session_id, session_id, patient_id)
            SELECT 'progress.report', $1[n.caller], $2[n.caller], n.session_id, t.patient_id
            FROM (SELECT DISTINCT $3[w.report] AS caller, $4[w.report] AS session_id FROM written w
                  WHERE w.code IS NULL) AS n
            LEFT JOIN therapy_sessions t ON t.id = n.session_id
            WHERE NOT EXISTS (SELECT FROM audit_log l
                              WHERE l.session_id = n.session_id AND l.auth_session_id = $2[n.caller]
                                AND l.action = 'progress.report' AND l.at > since
                                AND l.user_id = $1[n.caller] AND l.is_allowed)
        )
        SELECT * FROM written;
END
$$;
COMMENT ON FUNCTION app.report_progress_batch IS 'As app.write_reports, and records who reports about what';
GRANT EXECUTE ON FUNCTION app.report_progress_batch TO therapybridge_server;

-- As in 0005, but that the server's role retries for who manages the session alone.
CREATE OR REPLACE FUNCTION app.retry_session(session_id uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present text;
    result bigint;
BEGIN
    SELECT p.status INTO present FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
    WHERE p.session_id = $1
      AND (pg_has_role(session_user, 'therapybridge_owner', 'MEMBER') OR acting_role() = 'admin'
           OR acting_role() = 'therapist' AND t.patient_id IN (SELECT acting_patients()))
    FOR NO KEY UPDATE OF p;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session' USING ERRCODE = 'no_data_found';
    ELSIF present <> 'failed' THEN
        RAISE EXCEPTION 'only a failed session can be retried' USING ERRCODE = 'check_violation';
    ELSIF NOT EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND t.recording IS NOT NULL) THEN
        RAISE EXCEPTION 'there is no recording to retry with' USING ERRCODE = 'check_violation';
    END IF;
    UPDATE session_progress p SET status = 'pending', message = 'Waiting for a free worker'
    WHERE p.session_id = $1 RETURNING p.version INTO result;
    RETURN result;
END
$$;

-- What a session has come to may be stored again. Once it is finished, or when an attempt before has come to something, that is
-- on record.
CREATE FUNCTION app.record_correction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    was_there CONSTANT boolean := CASE TG_OP WHEN 'UPDATE' THEN OLD.attempt <> NEW.attempt ELSE false END;
BEGIN
    INSERT INTO audit_log (action, user_id, session_id, patient_id)
    SELECT TG_ARGV[0], acting_user_id(), t.id, t.patient_id
    FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
    WHERE p.session_id = NEW.session_id AND (was_there OR p.status IN ('processed', 'failed'));
    RETURN NULL;
END
$$;
CREATE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.transcripts
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('transcript.correct');
CREATE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.notes
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('notes.correct');

-- As in 0012, and what a user makes or deletes by the server is recorded here unless it was before, as the rule is: no route
-- can forget that.
CREATE OR REPLACE FUNCTION app.record_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    who CONSTANT uuid := acting_user_id();
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
    session CONSTANT therapy_sessions := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO audit_log (action, user_id, session_id, patient_id, detail)
        VALUES ('session.correct', who, NEW.id, NEW.patient_id, 'was of ' || OLD.patient_id);
    ELSE
        INSERT INTO audit_log (action, user_id, session_id, patient_id)
        SELECT CASE TG_OP WHEN 'INSERT' THEN 'session.add' ELSE 'session.delete' END, who, session.id, session.patient_id
        WHERE who IS NULL OR NOT EXISTS (
            SELECT FROM audit_log l
            WHERE l.session_id = session.id AND l.user_id = who AND l.is_allowed AND l.at > since
              AND l.action = CASE TG_OP WHEN 'INSERT' THEN 'session.upload' ELSE 'session.delete' END);
    END IF;
    RETURN NULL;
END
$$;

-- Rights

-- As in 0015, and a sign-in whose time is cut short by hand ends a right as well.
CREATE OR REPLACE FUNCTION app.sign_ins_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM before b JOIN after a ON a.id = b.id
               WHERE (a.revoked_at IS NULL) <> (b.revoked_at IS NULL) OR a.expires_at < b.expires_at) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;

-- A sign-in that stands and is removed by hand has ended; one whose end is taken back begins anew.
CREATE OR REPLACE FUNCTION app.record_sign_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    sign_in auth_sessions;
    begins boolean;
BEGIN
    sign_in := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    begins := CASE TG_OP WHEN 'INSERT' THEN true WHEN 'UPDATE' THEN NEW.revoked_at IS NULL ELSE false END;
    INSERT INTO audit_log (action, user_id, auth_session_id, detail)
    VALUES (CASE WHEN begins THEN 'sign_in.begin' ELSE 'sign_in.end' END, sign_in.user_id, sign_in.id,
            CASE WHEN TG_OP = 'DELETE' THEN 'removed' ELSE left(sign_in.revoked_reason, 200) END);
    RETURN NULL;
END
$$;
DROP TRIGGER record_end ON app.auth_sessions;
CREATE TRIGGER record_end AFTER UPDATE OF revoked_at ON app.auth_sessions
    FOR EACH ROW WHEN ((OLD.revoked_at IS NULL) <> (NEW.revoked_at IS NULL)) EXECUTE FUNCTION app.record_sign_in();
CREATE TRIGGER record_deletion AFTER DELETE ON app.auth_sessions
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > clock_timestamp())
    EXECUTE FUNCTION app.record_sign_in();

-- As in 0002, and an assignment that begins holds the two accounts: it does not begin with somebody whose role is changed
-- at the same time.
CREATE OR REPLACE FUNCTION app.check_therapist_patient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    begins CONSTANT boolean := NEW.is_active AND CASE TG_OP WHEN 'UPDATE' THEN NOT OLD.is_active ELSE true END;
BEGIN
    IF begins THEN
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
        IF begins AND TG_OP = 'UPDATE' AND NEW.started_at = OLD.started_at THEN
            NEW.started_at := clock_timestamp();
        END IF;
        NEW.ended_at := NULL;
    ELSIF NEW.ended_at IS NULL THEN
        NEW.ended_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;

INSERT INTO app.schema_migrations (version, name) VALUES (19, 'guards');
COMMIT;
