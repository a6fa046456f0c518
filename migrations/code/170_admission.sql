-- Admission: one statement authorizes an access and writes its audit record.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('170_admission', 1); END $$;

CREATE OR REPLACE FUNCTION app.admit(
    user_ids uuid[], auth_session_ids uuid[], session_ids uuid[], actions text[], needs text[], request_ids text[],
    addresses inet[] DEFAULT NULL, records_allowed boolean[] DEFAULT NULL, records_refused boolean[] DEFAULT NULL)
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    segments integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz,
    is_allowed boolean, is_logged boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        -- One statement, and therefore one snapshot: the record and the answer agree.
        WITH authorized AS MATERIALIZED (
            -- There is no record for an unknown user, for an ended sign-in, or for a session that does not exist.
            SELECT o.*, w.user_id, w.auth_session_id, w.action, w.request_id, w.address,
                   o.user_found AND o.signed_in AND o.session_found AS is_logged,
                   coalesce(w.records_allowed, true) AS records_allowed,
                   coalesce(w.records_refused, true) AS records_refused,
                   o.user_active AND o.signed_in AND o.session_found
                       AND permits(o.user_role, w.need, o.is_patient, o.is_assigned) AS is_allowed
            FROM authorize_sessions($1, $2, $3) AS o
            JOIN unnest($1, $2, $4, $5, $6, $7, $8, $9) WITH ORDINALITY
                AS w (user_id, auth_session_id, action, need, request_id, address, records_allowed, records_refused,
                      ordinal) ON w.ordinal = o.ordinal
        ), recorded AS (
            INSERT INTO audit_log (
                action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id, address)
            SELECT n.action, n.is_allowed, n.user_id, n.auth_session_id, n.session_id,
                   (SELECT t.patient_id FROM therapy_sessions t WHERE t.id = n.session_id), n.request_id, n.address
            FROM authorized n
            WHERE n.is_logged AND CASE WHEN n.is_allowed THEN n.records_allowed ELSE n.records_refused END
        )
        SELECT n.ordinal, n.user_found, n.user_active, n.user_role, n.signed_in, n.session_found, n.is_patient,
               n.is_assigned, n.may_see, n.may_manage, n.session_id,
               CASE WHEN n.is_allowed THEN n.status END, CASE WHEN n.is_allowed THEN n.progress END,
               CASE WHEN n.is_allowed THEN n.message END, CASE WHEN n.is_allowed THEN n.error END,
               CASE WHEN n.is_allowed THEN n.estimated_time_remaining END,
               CASE WHEN n.is_allowed THEN n.segments END, CASE WHEN n.is_allowed THEN n.version END,
               CASE WHEN n.is_allowed THEN n.attempt END, CASE WHEN n.is_allowed THEN n.created_at END,
               CASE WHEN n.is_allowed THEN n.updated_at END, n.is_allowed,
               n.is_logged
        FROM authorized n ORDER BY n.ordinal;
END
$$;
COMMENT ON FUNCTION app.admit IS
    'Authorizes actions on sessions (app.authorize_sessions), and records each action or refusal in the audit log. Each action '
    'needs a right, by its name in app.permits. A refused user gets no progress. records_allowed and records_refused are false '
    'where the caller counts a repeat of that outcome, which has a record. is_logged is false for actions without a record';

CREATE OR REPLACE FUNCTION app.admit_caseload(
    user_id uuid, auth_session_id uuid, action text, request_id text, address inet DEFAULT NULL,
    records_allowed boolean DEFAULT true, records_refused boolean DEFAULT true)
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean, patient_ids uuid[],
    cluster bigint, timeline integer, snapshot text,
    patient_id uuid, session_id uuid, status text, progress smallint, message text, error text,
    estimated_time_remaining integer, segments integer, version bigint, attempt integer,
    created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH authorized AS MATERIALIZED (SELECT * FROM authorize_caseload($1, $2, NULL)), recorded AS (
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, request_id, address)
            SELECT $3, n.user_active, $1, $2, $4, $5 FROM authorized n
            WHERE n.session_id IS NULL AND n.user_found AND n.signed_in
              AND CASE WHEN n.user_active THEN $6 ELSE $7 END
        )
        SELECT * FROM authorized;
END
$$;
COMMENT ON FUNCTION app.admit_caseload IS
    'Authorizes a user who opens the stream of all sessions (app.authorize_caseload), and records that in the audit log, unless '
    'records_allowed or records_refused is false for its outcome';

REVOKE ALL ON FUNCTION app.admit, app.admit_caseload FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.admit, app.admit_caseload TO therapybridge_server;

COMMIT;
