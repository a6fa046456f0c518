-- Admission: one statement authorizes an access and writes its audit record.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('170_admission', 1); END $$;

CREATE OR REPLACE FUNCTION app.admit(
    user_ids uuid[], auth_session_ids uuid[], session_ids uuid[], actions text[], needs text[], request_ids text[])
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint,
    is_allowed boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    RETURN QUERY
        -- One statement, and therefore one snapshot: the record and the answer agree.
        WITH authorized AS MATERIALIZED (
            SELECT o.*, w.user_id, w.auth_session_id, w.action, w.request_id,
                   o.user_active AND o.signed_in AND o.session_found
                       AND permits(o.user_role, w.need, o.is_patient, o.is_assigned) AS is_allowed
            FROM authorize_sessions($1, $2, $3) AS o
            JOIN unnest($1, $2, $4, $5, $6) WITH ORDINALITY
                AS w (user_id, auth_session_id, action, need, request_id, ordinal) ON w.ordinal = o.ordinal
        ), recorded AS (
            -- There is no record for an unknown user, for an ended sign-in, or for a session that does not exist. A record of
            -- another user under the same sign-in does not count as a repeat.
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id)
            SELECT n.action, n.is_allowed, n.user_id, n.auth_session_id, n.session_id,
                   (SELECT t.patient_id FROM therapy_sessions t WHERE t.id = n.session_id), n.request_id
            FROM authorized n
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
        FROM authorized n ORDER BY n.ordinal;
END
$$;
COMMENT ON FUNCTION app.admit IS
    'Authorizes actions on sessions (app.authorize_sessions), and records each action or refusal in the audit log. Each action '
    'needs a right, by its name in app.permits. A refused user gets no progress';

CREATE OR REPLACE FUNCTION app.admit_caseload(user_id uuid, auth_session_id uuid, action text, request_id text)
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean, patient_ids uuid[],
    rights_epoch bigint, snapshot text,
    patient_id uuid, session_id uuid, status text, progress smallint, message text, error text,
    estimated_time_remaining integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH authorized AS MATERIALIZED (SELECT * FROM authorize_caseload($1, $2, NULL)), recorded AS (
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, request_id)
            SELECT $3, n.user_active, $1, $2, $4 FROM authorized n
            WHERE n.session_id IS NULL AND n.user_found AND n.signed_in
        )
        SELECT * FROM authorized;
END
$$;
COMMENT ON FUNCTION app.admit_caseload IS
    'Authorizes a user who opens the stream of all sessions (app.authorize_caseload), and records that in the audit log';

REVOKE ALL ON FUNCTION app.admit, app.admit_caseload FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.admit, app.admit_caseload TO therapybridge_server;

COMMIT;
