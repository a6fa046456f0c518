-- The stages that failed, with their last words: who may read them, and for how long.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('135_stage_failures', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions run as the owner.
DROP POLICY IF EXISTS owner ON app.stage_failures;
CREATE POLICY owner ON app.stage_failures TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS seen ON app.stage_failures;
CREATE POLICY seen ON app.stage_failures FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('read_failure')));

REVOKE ALL ON app.stage_failures FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.stage_failures TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.record_stage_failure(
    session_id uuid, attempt integer, lease text, stage text, exit_status integer, output_tail text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO stage_failures (session_id, attempt, stage, exit_status, output_tail)
    SELECT $1, $2, $4, $5, $6 WHERE has_lease($1, $2, $3);
END
$$;
COMMENT ON FUNCTION app.record_stage_failure IS
    'Records that a stage has failed, for the worker with the lease. Without the lease it does nothing';

CREATE OR REPLACE FUNCTION app.delete_old_stage_failures(age interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (DELETE FROM stage_failures WHERE at < clock_timestamp() - $1 RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_old_stage_failures IS
    'Deletes the records of failed stages that are older than the age and returns their number';

REVOKE ALL ON FUNCTION app.record_stage_failure, app.delete_old_stage_failures
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.record_stage_failure, app.delete_old_stage_failures TO therapybridge_server;

COMMIT;
