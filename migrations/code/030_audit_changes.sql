-- Triggers that record every change of sign-ins, accounts, assignments, sessions and results in the audit log.
-- revision: 1
--
-- Each record names the acting user. In psql there is no acting user, and the column database_role tells who made the change.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('030_audit_changes', 1); END $$;

CREATE OR REPLACE FUNCTION app.record_sign_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    sign_in auth_sessions;
    begins boolean;
    actor uuid;
BEGIN
    sign_in := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    begins := CASE TG_OP WHEN 'INSERT' THEN true WHEN 'UPDATE' THEN NEW.revoked_at IS NULL ELSE false END;
    -- An administrator ends the sign-ins of others, directly or by a change of their accounts.
    actor := CASE WHEN begins THEN sign_in.user_id ELSE coalesce(acting_id(), sign_in.user_id) END;
    INSERT INTO audit_log (action, user_id, auth_session_id, subject_id, address, detail)
    VALUES (CASE WHEN begins THEN 'sign_in.begin' ELSE 'sign_in.end' END, actor, sign_in.id,
            nullif(sign_in.user_id, actor), CASE TG_OP WHEN 'INSERT' THEN customer_of(sign_in.address) END,
            CASE WHEN TG_OP = 'DELETE' THEN 'removed' ELSE left(sign_in.revoked_reason, 200) END);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_sign_in IS
    'Trigger: records that a sign-in begins or ends, and who ended it. If a revocation is undone, the sign-in begins again';
CREATE OR REPLACE TRIGGER record_begin AFTER INSERT ON app.auth_sessions
    FOR EACH ROW EXECUTE FUNCTION app.record_sign_in();
CREATE OR REPLACE TRIGGER record_end AFTER UPDATE OF revoked_at ON app.auth_sessions
    FOR EACH ROW WHEN ((OLD.revoked_at IS NULL) <> (NEW.revoked_at IS NULL)) EXECUTE FUNCTION app.record_sign_in();
CREATE OR REPLACE TRIGGER record_deletion AFTER DELETE ON app.auth_sessions
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > clock_timestamp())
    EXECUTE FUNCTION app.record_sign_in();

CREATE OR REPLACE FUNCTION app.record_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    changes text;
    account users;
BEGIN
    account := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    IF account.is_probe THEN
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' THEN
        changes := concat_ws(', ',
            CASE WHEN NEW.role <> OLD.role THEN 'role: ' || NEW.role END,
            CASE WHEN NEW.is_active <> OLD.is_active THEN CASE WHEN NEW.is_active THEN 'active' ELSE 'inactive' END END,
            CASE WHEN NEW.password_hash IS DISTINCT FROM OLD.password_hash
                 THEN CASE WHEN EXISTS (SELECT FROM password_changes c WHERE c.user_id = NEW.id AND c.kept_sign_in IS NULL)
                           THEN 'cost of the password hash' ELSE 'password' END END,
            CASE WHEN NEW.full_name <> OLD.full_name THEN 'name' END,
            CASE WHEN NEW.email <> OLD.email THEN 'address' END);
        IF changes = '' THEN
            RETURN NULL;
        END IF;
    ELSE
        changes := 'role: ' || account.role;
    END IF;
    INSERT INTO audit_log (action, user_id, subject_id, patient_id, detail)
    VALUES (CASE TG_OP WHEN 'INSERT' THEN 'user.add' WHEN 'UPDATE' THEN 'user.change' ELSE 'user.remove' END,
            acting_id(), account.id, CASE WHEN account.role = 'patient' THEN account.id END, changes);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_user IS
    'Trigger: records that an account is added, changed or removed, but for the patients of probes, whose sessions have records. '
    'The detail names the changed columns, with the new '
    'values of role and is_active, and holds no name, address or hash';
CREATE OR REPLACE TRIGGER record_user AFTER INSERT OR UPDATE OR DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.record_user();

CREATE OR REPLACE FUNCTION app.record_assignment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    assignment therapist_patients;
    was_active CONSTANT boolean := CASE TG_OP WHEN 'INSERT' THEN false ELSE OLD.is_active END;
    is_active CONSTANT boolean := CASE TG_OP WHEN 'DELETE' THEN false ELSE NEW.is_active END;
BEGIN
    IF was_active <> is_active THEN
        assignment := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        INSERT INTO audit_log (action, user_id, subject_id, patient_id)
        VALUES (CASE WHEN is_active THEN 'assignment.begin' ELSE 'assignment.end' END, acting_id(),
                assignment.therapist_id, assignment.patient_id);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_assignment IS 'Trigger: records that an assignment begins or ends';
CREATE OR REPLACE TRIGGER record_assignment AFTER INSERT OR UPDATE OR DELETE ON app.therapist_patients
    FOR EACH ROW EXECUTE FUNCTION app.record_assignment();

CREATE OR REPLACE FUNCTION app.record_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    who CONSTANT uuid := acting_id();
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
COMMENT ON FUNCTION app.record_session IS
    'Trigger: records that a session is added, deleted or moved to another patient, unless the server has just recorded '
    'the same. No route can therefore forget the record';
CREATE OR REPLACE TRIGGER record_session AFTER INSERT OR DELETE ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.record_session();
CREATE OR REPLACE TRIGGER record_correction AFTER UPDATE OF patient_id ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.patient_id <> NEW.patient_id) EXECUTE FUNCTION app.record_session();

CREATE OR REPLACE FUNCTION app.record_correction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    was_there CONSTANT boolean := CASE TG_OP WHEN 'UPDATE' THEN OLD.attempt <> NEW.attempt ELSE false END;
    who CONSTANT uuid := acting_id();
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    INSERT INTO audit_log (action, user_id, session_id, patient_id)
    SELECT TG_ARGV[0], who, t.id, t.patient_id
    FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id JOIN statuses s ON s.status = p.status
    WHERE p.session_id = NEW.session_id AND (was_there OR s.is_finished)
      AND (who IS NULL OR NOT EXISTS (
          -- The server has recorded the request of a correction. Only its records have a request.
          SELECT FROM audit_log l
          WHERE l.session_id = t.id AND l.user_id = who AND l.is_allowed AND l.at > since AND l.action = TG_ARGV[0]
            AND l.request_id IS NOT NULL));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_correction IS
    'Trigger: records that another attempt replaces a transcript or notes, or that they are stored after the session has '
    'finished, unless the server has just recorded the same. The argument is the action';
CREATE OR REPLACE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.transcripts
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('transcript.correct');
CREATE OR REPLACE TRIGGER record_correction AFTER INSERT OR UPDATE ON app.notes
    FOR EACH ROW EXECUTE FUNCTION app.record_correction('notes.correct');

REVOKE ALL ON FUNCTION app.record_sign_in, app.record_user, app.record_assignment, app.record_session,
    app.record_correction FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
