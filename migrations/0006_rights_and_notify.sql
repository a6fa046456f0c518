-- What the server is told, on one channel, and the question that it asks before it shows anything.
--
-- Payloads on tb_session_v1 are hints: "<session> <version>", "<session> 0" for a deleted one, "rights <epoch>",
-- "work". Any role of the database can send any of them, so they may cause a read and never more.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.rights_epoch (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    epoch   bigint NOT NULL
);
INSERT INTO app.rights_epoch (epoch) VALUES (1);
COMMENT ON TABLE app.rights_epoch IS
    'Counts the changes of rights. Whoever reads it together with progress knows whether rights have to be read again';

CREATE FUNCTION app.announce_progress() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', NEW.session_id || ' ' || NEW.version);
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_first AFTER INSERT ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.announce_progress();
CREATE TRIGGER announce_progress AFTER UPDATE ON app.session_progress
    FOR EACH ROW
    WHEN (OLD.notified_at <> NEW.notified_at OR (OLD.status, OLD.attempt) IS DISTINCT FROM (NEW.status, NEW.attempt))
    EXECUTE FUNCTION app.announce_progress();

CREATE FUNCTION app.announce_work() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', 'work');
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_work AFTER INSERT ON app.session_leases
    FOR EACH ROW EXECUTE FUNCTION app.announce_work();

CREATE FUNCTION app.announce_deletion() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', OLD.id || ' 0');
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_deletion AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.announce_deletion();

CREATE FUNCTION app.rights_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    present bigint;
BEGIN
    UPDATE rights_epoch SET epoch = epoch + 1 RETURNING epoch INTO present;
    PERFORM pg_notify('tb_session_v1', 'rights ' || present);
    RETURN NULL;
END
$$;
CREATE TRIGGER rights_changed AFTER INSERT OR DELETE OR UPDATE ON app.therapist_patients
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();
CREATE TRIGGER rights_changed AFTER DELETE OR UPDATE OF is_active, role ON app.users
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();
CREATE TRIGGER rights_changed AFTER DELETE OR UPDATE OF revoked_at ON app.auth_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();
CREATE TRIGGER rights_changed AFTER DELETE OR UPDATE OF patient_id ON app.therapy_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();

CREATE FUNCTION app.open_session(user_id uuid, auth_session_id uuid, session_id uuid)
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT f.user_found, f.user_active, f.role, f.signed_in, f.session_found, f.is_patient, f.is_assigned,
           f.is_in AND (f.role = 'admin' OR f.role = 'patient' AND f.is_patient OR f.role = 'therapist' AND f.is_assigned),
           f.is_in AND (f.role = 'admin' OR f.role = 'therapist' AND f.is_assigned),
           p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
           p.version, p.attempt, p.created_at, p.updated_at, r.epoch
    FROM rights_epoch r
    LEFT JOIN users u ON u.id = $1
    LEFT JOIN therapy_sessions t ON t.id = $3
    LEFT JOIN session_progress p ON p.session_id = t.id
    CROSS JOIN LATERAL (
        SELECT u.id IS NOT NULL AS user_found, coalesce(u.is_active, false) AS user_active, u.role,
               EXISTS (SELECT FROM auth_sessions s
                       WHERE s.id = $2 AND s.user_id = u.id
                         AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()) AS signed_in,
               p.session_id IS NOT NULL AS session_found,
               coalesce(t.patient_id = u.id, false) AS is_patient,
               EXISTS (SELECT FROM therapist_patients a
                       WHERE a.therapist_id = u.id AND a.patient_id = t.patient_id AND a.is_active) AS is_assigned
    ) AS facts
    CROSS JOIN LATERAL (SELECT facts.*, facts.user_active AND facts.signed_in AND facts.session_found AS is_in) AS f
$$;
COMMENT ON FUNCTION app.open_session IS
    'User, sign-in, session, right and present state in one answer, always one row';

GRANT SELECT ON app.rights_epoch TO therapybridge_server;
GRANT EXECUTE ON FUNCTION app.open_session TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (6, 'rights_and_notify');
COMMIT;
