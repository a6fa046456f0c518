-- The audit log: who may read it, how it is protected against changes, and the records of accesses.
-- revision: 1
--
-- The record of an access is written before the access, or in the same transaction. If it cannot be written, the access does
-- not happen. The triggers of 030_audit_changes record changes, and 025_audit_partitions makes the partitions.

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
    -- app.add_audit_partition moves rows out of the default partition. No role but the owner and superusers has DELETE here:
    -- the setting only protects these against a mistake.
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit_log_default'
       AND current_setting('app.audit_move', true) = pg_current_xact_id()::text THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log cannot be changed'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'audit_log_immutable',
            HINT = 'To remove records that are older than you have to keep them: SELECT app.drop_audit_partition(month), or '
                'DELETE FROM app.audit_log WHERE at < …';
END
$$;
COMMENT ON FUNCTION app.protect_audit IS
    'Trigger: refuses UPDATE and TRUNCATE of the audit log to every role, and DELETE that names a partition, which would leave '
    'no record';
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
    'How long after the record of an accepted report further reports of the same sign-in about the same session have no '
    'record. The server merges reads and refusals for the same time';

CREATE OR REPLACE FUNCTION app.record_access(
    user_id uuid, auth_session_id uuid, action text, is_allowed boolean, session_id uuid, patient_id uuid, request_id text,
    address inet DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM auth_sessions s WHERE s.id = $2 AND s.user_id = $1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the sign-in does not belong to the user'
            USING ERRCODE = 'invalid_authorization_specification', CONSTRAINT = 'sign_in_of_another_user';
    END IF;
    INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id, address)
    VALUES ($3, $4, $1, $2, $5, $6, $7, $8);
END
$$;
COMMENT ON FUNCTION app.record_access IS
    'Records an action of a user, or its refusal, that concerns no session or one that does not exist yet; app.admit '
    'records the others. Raises 28000 if the sign-in does not belong to the user';

CREATE OR REPLACE FUNCTION app.record_repeats(
    user_ids uuid[], auth_session_ids uuid[], actions text[], are_allowed boolean[], session_ids uuid[], patient_ids uuid[],
    addresses inet[], repeats bigint[], first_ages interval[], last_ages interval[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    longest CONSTANT interval := '1 day';
BEGIN
    INSERT INTO audit_log (
        at, action, is_allowed, user_id, auth_session_id, session_id, patient_id, address, repeats, until)
    SELECT present - f.age, r.action, r.is_allowed, r.user_id, r.auth_session_id, r.session_id,
           coalesce(r.patient_id,
                    (SELECT t.patient_id FROM therapy_sessions t WHERE t.id = r.session_id),
                    (SELECT d.patient_id FROM deleted_sessions d WHERE d.session_id = r.session_id)),
           r.address, r.repeats, present - least(greatest(r.last_age, '0'), f.age)
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS r (
        user_id, auth_session_id, action, is_allowed, session_id, patient_id, address, repeats, first_age, last_age)
    CROSS JOIN LATERAL (SELECT least(greatest(r.first_age, '0'), longest) AS age) AS f
    -- A sign-in that was removed meanwhile has no owner to compare.
    WHERE NOT EXISTS (SELECT FROM auth_sessions s WHERE s.id = r.auth_session_id AND s.user_id <> r.user_id);
END
$$;
COMMENT ON FUNCTION app.record_repeats IS
    'Records repeats of accesses that already have a record, one record for each index of the arrays. The ages are the '
    'times since the first and the last of the repeats, a day at most. Ignores a sign-in of another user';

CREATE OR REPLACE FUNCTION app.audit_record_count() RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN coalesce(pg_sequence_last_value('app.audit_log_id_seq'), 0);
END
$$;
COMMENT ON FUNCTION app.audit_record_count IS
    'How many records the audit log has had, removed ones included, and the few of transactions that were rolled back';

REVOKE ALL ON FUNCTION app.protect_audit, app.record_removal, app.audit_interval, app.record_access, app.record_repeats,
    app.audit_record_count
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.record_access, app.record_repeats, app.audit_record_count TO therapybridge_server;

COMMIT;
