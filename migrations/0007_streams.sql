-- What opening thousands of streams at once takes: the question of app.open_session for many askers in one statement.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE FUNCTION app.open_sessions(user_ids uuid[], auth_session_ids uuid[], session_ids uuid[])
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT w.ordinal,
           f.user_found, f.user_active, f.role, f.signed_in, f.session_found, f.is_patient, f.is_assigned,
           f.is_in AND (f.role = 'admin' OR f.role = 'patient' AND f.is_patient OR f.role = 'therapist' AND f.is_assigned),
           f.is_in AND (f.role = 'admin' OR f.role = 'therapist' AND f.is_assigned),
           p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
           p.version, p.attempt, p.created_at, p.updated_at, r.epoch
    FROM unnest($1, $2, $3) WITH ORDINALITY AS w (user_id, auth_session_id, session_id, ordinal)
    CROSS JOIN rights_epoch r
    LEFT JOIN users u ON u.id = w.user_id
    LEFT JOIN auth_sessions s ON s.id = w.auth_session_id AND s.user_id = u.id
    LEFT JOIN therapy_sessions t ON t.id = w.session_id
    LEFT JOIN therapist_patients a ON a.therapist_id = u.id AND a.patient_id = t.patient_id
    LEFT JOIN session_progress p ON p.session_id = t.id
    CROSS JOIN LATERAL (
        SELECT u.id IS NOT NULL AS user_found, coalesce(u.is_active, false) AS user_active, u.role,
               coalesce(s.revoked_at IS NULL AND s.expires_at > clock_timestamp(), false) AS signed_in,
               p.session_id IS NOT NULL AS session_found,
               coalesce(t.patient_id = u.id, false) AS is_patient,
               coalesce(a.is_active, false) AS is_assigned
    ) AS facts
    CROSS JOIN LATERAL (SELECT facts.*, facts.user_active AND facts.signed_in AND facts.session_found AS is_in) AS f
$$;
COMMENT ON FUNCTION app.open_sessions IS
    'For each position of the arrays: user, sign-in, session, right and present state, all from one snapshot';

-- The rule stands once: a single question is a list of one.
CREATE OR REPLACE FUNCTION app.open_session(user_id uuid, auth_session_id uuid, session_id uuid)
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT o.user_found, o.user_active, o.user_role, o.signed_in, o.session_found, o.is_patient, o.is_assigned,
           o.may_see, o.may_manage, o.session_id, o.status, o.progress, o.message, o.error,
           o.estimated_time_remaining, o.version, o.attempt, o.created_at, o.updated_at, o.rights_epoch
    FROM open_sessions(ARRAY[$1], ARRAY[$2], ARRAY[$3]) AS o
$$;

GRANT EXECUTE ON FUNCTION app.open_sessions TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (7, 'streams');
COMMIT;
