-- The audit log: who may read it, how it is protected against changes, and the records of accesses.
-- revision: 1
--
-- The record of an access is written before the access, or in the same transaction. If it cannot be written, the access does
-- not happen. The triggers of 030_audit_changes record changes.

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
CREATE POLICY seen ON app.audit_log FOR SELECT TO therapybridge_server USING ((SELECT app.acting_may_all('read_audit_log')));

REVOKE ALL ON app.audit_log FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.audit_log TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.protect_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit log cannot be changed'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'audit_log_immutable',
            HINT = 'To remove records that are older than you have to keep them: DELETE FROM app.audit_log WHERE at < …';
END
$$;
COMMENT ON FUNCTION app.protect_audit IS 'Trigger: refuses UPDATE and TRUNCATE of the audit log to every role';
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
    'Trigger: a DELETE of old records leaves one record with their number and the time of the newest';
CREATE OR REPLACE TRIGGER record_removal AFTER DELETE ON app.audit_log REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION app.record_removal();

CREATE OR REPLACE FUNCTION app.audit_interval() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '10 minutes' $$;
COMMENT ON FUNCTION app.audit_interval IS
    'The time after a record in which repeats of the same repeatable action (app.is_repeatable) are not recorded';

CREATE OR REPLACE FUNCTION app.is_repeatable(action text, is_allowed boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE AS
$$ SELECT NOT $2 OR $1 LIKE '%.read' OR $1 LIKE '%.list' $$;
COMMENT ON FUNCTION app.is_repeatable IS
    'True for an action that clients repeat often: a read, a list or a refused action. The log does not record each repeat. '
    'PostgreSQL inlines this function, because it has no settings of its own';

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
        RAISE EXCEPTION 'the sign-in does not belong to the user'
            USING ERRCODE = 'invalid_authorization_specification', CONSTRAINT = 'sign_in_of_another_user';
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
    'Records an action of a user, or its refusal, that concerns no session or one that does not exist yet; app.admit '
    'records the others. Raises 28000 if the sign-in does not belong to the user';

REVOKE ALL ON FUNCTION app.protect_audit, app.record_removal, app.audit_interval, app.is_repeatable, app.record_access
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.record_access TO therapybridge_server;

COMMIT;
