-- The access rule: which role may do which action; and the acting user, for whom the server runs a transaction.
-- revision: 1
--
-- SQL states the rule only here: policies and functions call app.permits. Swift's Access is the same rule, and a test compares
-- every cell.
--
-- The server sets the acting user for one transaction: set_config('app.user_id', …, true) and
-- set_config('app.sign_in_id', …, true). Without both settings there is no acting user, and no policy shows a row.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('010_access', 1); END $$;

REVOKE ALL ON app.roles FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

-- The rule. These two functions have no settings of their own. PostgreSQL therefore inlines them into their callers, which pin
-- the search_path.

CREATE OR REPLACE FUNCTION app.permits(
    role text, action text, is_patient boolean DEFAULT false, is_assigned boolean DEFAULT false) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(CASE $1
        WHEN 'admin' THEN $2 IN ('see', 'hear', 'read_notes', 'correct', 'read_failure', 'upload', 'manage', 'report',
                                 'see_accounts', 'manage_accounts', 'read_audit_log', 'read_metrics', 'manage_webhooks',
                                 'export', 'erase', 'probe')
        WHEN 'therapist' THEN $2 IN ('see', 'hear', 'read_notes', 'correct', 'upload', 'manage') AND $4
        WHEN 'patient' THEN $2 IN ('see', 'hear', 'upload', 'export') AND $3
        WHEN 'pipeline' THEN $2 IN ('report', 'process')
    END, false)
$$;
COMMENT ON FUNCTION app.permits IS
    'True if a user with a role may do an action. Actions on a session: see it, hear its recording, read_notes, correct its '
    'transcript and notes, read_failure (the last words of a failed stage), upload a recording, manage (change, retry, cancel, delete), report progress, and process: '
    'claim the session and store its results; export all that is held of the patient. is_patient: the user is the session''s patient. is_assigned: '
    'an active assignment ties the user, as therapist, to that patient. Without either: true if the role may do the action '
    'on the sessions of all patients. Actions without a session: see_accounts, manage_accounts, read_audit_log, '
    'read_metrics, manage_webhooks, erase: remove the data of a patient, and probe: measure the server with a session of no patient';

-- Every function reads assignments from this view. With security_invoker, the view shows the rows that the calling role sees.
CREATE OR REPLACE VIEW app.assigned_patients WITH (security_invoker = true) AS
    SELECT therapist_id AS user_id, patient_id, is_active, ended_at FROM app.therapist_patients;
COMMENT ON VIEW app.assigned_patients IS
    'The patients to whom an assignment ties a user (is_assigned of app.permits). An assignment that is not active ended at '
    'ended_at';

CREATE OR REPLACE FUNCTION app.patients_of(user_id uuid, role text, action text) RETURNS SETOF uuid
LANGUAGE sql STABLE AS $$
    SELECT $1 WHERE app.permits($2, $3, is_patient => true) AND NOT app.permits($2, $3)
    UNION ALL
    SELECT a.patient_id FROM app.assigned_patients a
    WHERE a.user_id = $1 AND a.is_active AND app.permits($2, $3, is_assigned => true) AND NOT app.permits($2, $3)
$$;
COMMENT ON FUNCTION app.patients_of IS
    'The patients on whose sessions a user with a role may do an action because of a relation; no row if the role may do it '
    'on the sessions of all patients';

-- Sign-ins

-- PostgreSQL inlines it.
CREATE OR REPLACE FUNCTION app.this_cluster() RETURNS bigint
LANGUAGE sql AS $$ SELECT (pg_catalog.pg_control_system()).system_identifier $$;
COMMENT ON FUNCTION app.this_cluster IS 'The system identifier of the cluster';

-- Every function that decides whether a sign-in counts reads this view.
CREATE OR REPLACE VIEW app.valid_sign_ins AS
    SELECT s.id, s.user_id, s.revoked_at IS NOT NULL AS is_suspended
    FROM app.auth_sessions s
    WHERE s.expires_at > clock_timestamp() AND s.cluster = (SELECT app.this_cluster())
      AND (s.revoked_at IS NULL OR s.revoked_reason = 'account_deactivated');
COMMENT ON VIEW app.valid_sign_ins IS
    'The sign-ins that have not ended. A suspended one has ended with the deactivation of its account: while the account is '
    'inactive, its client gets 403, and afterwards 401';
REVOKE ALL ON app.valid_sign_ins FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

-- The acting user. PL/pgSQL keeps the plans of these functions. PostgreSQL would plan SQL functions again in every statement.

CREATE OR REPLACE FUNCTION app.acting_user() RETURNS app.users
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN (
        SELECT u FROM users u JOIN valid_sign_ins s ON s.user_id = u.id
        WHERE u.id = nullif(current_setting('app.user_id', true), '')::uuid
          AND s.id = nullif(current_setting('app.sign_in_id', true), '')::uuid
          AND u.is_active AND NOT s.is_suspended);
END
$$;
COMMENT ON FUNCTION app.acting_user IS
    'The acting user: the account that the transaction names, if it is active and the named sign-in has not ended; '
    'otherwise null';

CREATE OR REPLACE FUNCTION app.acting_id() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ BEGIN RETURN (acting_user()).id; END $$;
COMMENT ON FUNCTION app.acting_id IS 'The id of the acting user; null without one';

CREATE OR REPLACE FUNCTION app.acting_role() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ BEGIN RETURN (acting_user()).role; END $$;
COMMENT ON FUNCTION app.acting_role IS 'The role of the acting user; null without one';

CREATE OR REPLACE FUNCTION app.acting_may_all(action text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ BEGIN RETURN permits(acting_role(), $1); END $$;
COMMENT ON FUNCTION app.acting_may_all IS
    'True if the acting user may do an action without a relation: on the sessions of all patients, or an action that '
    'concerns no session';

CREATE OR REPLACE FUNCTION app.acting_patients(action text) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY SELECT p.id FROM acting_user() AS u CROSS JOIN LATERAL patients_of(u.id, u.role, $1) AS p (id);
END
$$;
COMMENT ON FUNCTION app.acting_patients IS
    'The patients on whose sessions the acting user may do an action because of a relation; no row if app.acting_may_all is '
    'true';

CREATE OR REPLACE FUNCTION app.acting_may(action text, patient_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN acting_may_all($1) OR $2 IN (SELECT acting_patients($1));
END
$$;
COMMENT ON FUNCTION app.acting_may IS 'True if the acting user may do an action on the sessions of a patient';

CREATE OR REPLACE FUNCTION app.acting_therapists() RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY SELECT a.user_id FROM acting_user() AS u JOIN assigned_patients a ON a.patient_id = u.id
        WHERE u.role = 'patient' AND a.is_active;
END
$$;
COMMENT ON FUNCTION app.acting_therapists IS 'The therapists who are actively assigned to the acting user, who is a patient';

REVOKE ALL ON app.assigned_patients FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.assigned_patients TO therapybridge_server;

REVOKE ALL ON FUNCTION app.permits, app.patients_of, app.this_cluster, app.acting_user, app.acting_id, app.acting_role,
    app.acting_may_all, app.acting_patients, app.acting_may, app.acting_therapists
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.acting_id, app.acting_may_all, app.acting_patients, app.acting_may, app.acting_therapists
    TO therapybridge_server;

COMMIT;
