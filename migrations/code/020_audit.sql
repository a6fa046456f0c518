-- The audit log: who may read it, why nobody can change it, and the records of accesses.
-- revision: 1
--
-- An access is recorded before it happens, or in the same transaction. If the record cannot be written, the access does not
-- happen. The triggers of 030_audit_changes record changes.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('020_audit', 1); END $$;

-- The owner has no policy for UPDATE either.
DROP POLICY IF EXISTS owner_reads ON app.audit_log;
CREATE POLICY owner_reads ON app.audit_log FOR SELECT TO therapybridge_owner USING (true);
DROP POLICY IF EXISTS owner_adds ON app.audit_log;
CREATE POLICY owner_adds ON app.audit_log FOR INSERT TO therapybridge_owner WITH CHECK (true);
DROP POLICY IF EXISTS owner_removes ON app.audit_log;
CREATE POLICY owner_removes ON app.audit_log FOR DELETE TO therapybridge_owner USING (true);
DROP POLICY IF EXISTS seen ON app.audit_log;
CREATE POLICY seen ON app.audit_log FOR SELECT TO therapybridge_server USING ((SELECT app.acting_role()) = 'admin');

REVOKE ALL ON app.audit_log FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.audit_log TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.protect_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is not changed' USING ERRCODE = 'insufficient_privilege',
        HINT = 'To remove what is older than it has to be kept: DELETE FROM app.audit_log WHERE at < …';
END
$$;
COMMENT ON FUNCTION app.protect_audit IS 'Trigger: refuses UPDATE and TRUNCATE of the audit log to everybody';
CREATE OR REPLACE TRIGGER protect_audit BEFORE UPDATE OR TRUNCATE ON app.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION app.protect_audit();

CREATE OR REPLACE FUNCTION app.record_removal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (action, detail)
    SELECT 'audit.remove', count(*) || ' records, until ' || max(r.at) FROM removed r HAVING count(*) > 0;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_removal IS
    'Trigger: a DELETE of old records leaves one record of how many went, and until when';
CREATE OR REPLACE TRIGGER record_removal AFTER DELETE ON app.audit_log REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION app.record_removal();

CREATE OR REPLACE FUNCTION app.audit_interval() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '10 minutes' $$;
COMMENT ON FUNCTION app.audit_interval IS
    'For how long one record stands for all repeats of a repeatable action (app.is_repeatable)';

CREATE OR REPLACE FUNCTION app.is_repeatable(action text, is_allowed boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE AS
$$ SELECT NOT $2 OR $1 LIKE '%.read' OR $1 LIKE '%.list' $$;
COMMENT ON FUNCTION app.is_repeatable IS
    'True for what clients do over and over: reading, listing and being refused. Its repeats are not recorded one by one. '
    'PostgreSQL inlines this function, since it has no settings of its own';

CREATE OR REPLACE FUNCTION app.record_access(
    user_id uuid, auth_session_id uuid, action text, is_allowed boolean, session_id uuid, patient_id uuid, request_id text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
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
COMMENT ON FUNCTION app.record_access IS
    'Records what a user does, or is refused, with no session or with one that does not exist yet; app.admit records the '
    'rest. Raises 28000 if the sign-in does not belong to the user';

REVOKE ALL ON FUNCTION app.protect_audit, app.record_removal, app.audit_interval, app.is_repeatable, app.record_access
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.record_access TO therapybridge_server;

COMMIT;
