-- Rights and present states: of many users and sessions at once, and of the whole caseload of a user.
-- revision: 1
--
-- The functions read every table by an index, in LATERAL subqueries that OFFSET 0 keeps apart. Neither statistics nor their
-- absence can then lead to another plan.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('160_authorize', 1); END $$;

CREATE OR REPLACE FUNCTION app.authorize_sessions(user_ids uuid[], auth_session_ids uuid[], session_ids uuid[])
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    segments integer, version bigint, attempt integer,
    created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT w.ordinal,
               f.user_found, f.user_active, f.role, f.signed_in, f.session_found, f.is_patient, f.is_assigned,
               f.is_in AND permits(f.role, 'see', f.is_patient, f.is_assigned),
               f.is_in AND permits(f.role, 'manage', f.is_patient, f.is_assigned),
               p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
               p.segments, p.version, p.attempt, p.created_at, p.updated_at
        FROM unnest($1, $2, $3) WITH ORDINALITY AS w (user_id, auth_session_id, session_id, ordinal)
        LEFT JOIN LATERAL (SELECT * FROM users s WHERE s.id = w.user_id OFFSET 0) AS u ON true
        LEFT JOIN LATERAL (
            -- Deactivation has ended the sign-ins of an inactive account. Its tokens get 403, and 401 once it is active again.
            SELECT NOT s.is_suspended OR NOT u.is_active AS is_valid
            FROM valid_sign_ins s WHERE s.id = w.auth_session_id AND s.user_id = u.id OFFSET 0) AS a ON true
        LEFT JOIN LATERAL (
            SELECT * FROM therapy_sessions s
            WHERE s.id = w.session_id AND (s.probe_of IS NULL OR s.probe_of = w.user_id) OFFSET 0) AS t ON true
        LEFT JOIN LATERAL (
            SELECT s.is_active FROM assigned_patients s
            WHERE s.user_id = u.id AND s.patient_id = t.patient_id OFFSET 0) AS c ON true
        LEFT JOIN LATERAL (SELECT * FROM session_progress s WHERE s.session_id = t.id OFFSET 0) AS p ON true
        CROSS JOIN LATERAL (
            SELECT u.id IS NOT NULL AS user_found, coalesce(u.is_active, false) AS user_active, u.role,
                   coalesce(a.is_valid, false) AS signed_in,
                   p.session_id IS NOT NULL AS session_found,
                   coalesce(t.patient_id = u.id, false) AS is_patient,
                   coalesce(c.is_active, false) AS is_assigned
        ) AS facts
        CROSS JOIN LATERAL (
            SELECT facts.*, facts.user_active AND facts.signed_in AND facts.session_found AS is_in) AS f;
END
$$;
COMMENT ON FUNCTION app.authorize_sessions IS
    'For each index of the arrays: user, sign-in, session, relation, rights and present progress, all from one snapshot. A probe is '
    'found by the administrator alone whose probe it is';

CREATE OR REPLACE FUNCTION app.authorize_caseload(user_id uuid, auth_session_id uuid, known_patients uuid[])
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean, patient_ids uuid[],
    cluster bigint, timeline integer, snapshot text,
    patient_id uuid, session_id uuid, status text, progress smallint, message text, error text,
    estimated_time_remaining integer, segments integer, version bigint, attempt integer,
    created_at timestamptz, updated_at timestamptz)
-- STABLE: every statement inside sees the snapshot of the calling statement.
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    who users;
    is_in boolean;
BEGIN
    SELECT r.cluster, r.timeline, r.snapshot INTO cluster, timeline, snapshot FROM rights_since(NULL) AS r;
    SELECT u.* INTO who FROM users u WHERE u.id = $1;
    user_found := who.id IS NOT NULL;
    user_active := coalesce(who.is_active, false);
    user_role := who.role;
    signed_in := EXISTS (SELECT FROM valid_sign_ins s
                         WHERE s.id = $2 AND s.user_id = who.id AND (NOT s.is_suspended OR NOT who.is_active));
    is_in := user_active AND signed_in;
    -- Null means all patients.
    patient_ids := CASE WHEN NOT is_in THEN '{}'
                        WHEN permits(user_role, 'see') THEN NULL
                        ELSE ARRAY(SELECT p FROM patients_of(who.id, user_role, 'see') AS p) END;
    RETURN NEXT;
    IF NOT is_in THEN
        RETURN;
    END IF;
    IF patient_ids IS NULL THEN
        RETURN QUERY
            SELECT user_found, user_active, user_role, signed_in, patient_ids, cluster, timeline, snapshot,
                   t.patient_id, p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
                   p.segments, p.version, p.attempt, p.created_at, p.updated_at
            FROM (SELECT * FROM session_progress s WHERE s.status <> 'processed' OFFSET 0) AS p
            CROSS JOIN LATERAL (
                SELECT s.patient_id FROM therapy_sessions s
                WHERE s.id = p.session_id AND s.probe_of IS NULL OFFSET 0) AS t
            ORDER BY p.created_at, p.session_id;
    ELSE
        -- The processed sessions of a patient who is new to the user are included: the user has not received them yet.
        RETURN QUERY
            SELECT user_found, user_active, user_role, signed_in, patient_ids, cluster, timeline, snapshot,
                   t.patient_id, p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
                   p.segments, p.version, p.attempt, p.created_at, p.updated_at
            FROM unnest(patient_ids) AS w (id)
            CROSS JOIN LATERAL (SELECT s.id, s.patient_id FROM therapy_sessions s WHERE s.patient_id = w.id OFFSET 0) AS t
            CROSS JOIN LATERAL (SELECT * FROM session_progress s WHERE s.session_id = t.id OFFSET 0) AS p
            WHERE p.status <> 'processed' OR NOT w.id = ANY ($3)
            ORDER BY p.created_at, p.session_id;
    END IF;
END
$$;
COMMENT ON FUNCTION app.authorize_caseload IS
    'The first row has no session: user, sign-in, and the patients whose sessions the user may see (null: all). The other rows '
    'are the sessions that are not processed, oldest first, without probes, and all sessions of patients outside known_patients, unless '
    'known_patients is null';

REVOKE ALL ON FUNCTION app.authorize_sessions, app.authorize_caseload FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.authorize_sessions, app.authorize_caseload TO therapybridge_server;

COMMIT;
