-- The ledger of this folder: the revision of each file in this database, and the guard against older releases.
-- revision: 1
--
-- The files of this folder hold functions, views, triggers, policies and grants. Each file holds the whole present code of
-- one subject and is safe to run again. The files run after the numbered files, in the order of their names, which is the
-- order of dependence.
--
-- Conventions: a SECURITY DEFINER function pins its search_path. A function that the server calls often has settings that make
-- its plans independent of statistics. jit is off, because compiling takes a second. plan_cache_mode is force_generic_plan,
-- to plan once for each connection. enable_seqscan is off, because a plan from the time when a table was empty would scan the
-- whole table later. Triggers and foreign keys that such a function fires are planned under the same settings. A code file
-- that removes or changes a signature drops the old function and everything that depends on it. The later files create that
-- again.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- This file defines app.enter_code and must not replace that of a newer release. It therefore first checks the ledger.
DO $$
DECLARE
    applied integer;
BEGIN
    PERFORM pg_advisory_xact_lock(x'5468657261707942'::bigint);
    SELECT revision INTO applied FROM app.schema_code WHERE name = '000_ledger' AND revision > 1;
    IF FOUND THEN
        RAISE EXCEPTION 'code/000_ledger.sql: revision % is applied; this file is revision 1, of an older release', applied
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Nothing was changed. Use the files of the release that this database has, or of a later one.';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION app.enter_code(name text, revision integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    applied integer;
BEGIN
    -- "TherapyB" in ASCII; "migrate up" takes the same lock. The second of two sessions that apply this file waits here, before
    -- it locks anything else. It then sees the ledger row of the first.
    PERFORM pg_advisory_xact_lock(x'5468657261707942'::bigint);
    SELECT c.revision INTO applied FROM schema_code c WHERE c.name = $1;
    INSERT INTO schema_code AS c (name, revision) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE
        SET revision = excluded.revision, checksum = NULL, is_stale = false,
            applied_at = excluded.applied_at, applied_by = excluded.applied_by
        WHERE c.revision <= excluded.revision;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'code/%.sql: revision % is applied; this file is revision %, of an older release', $1, applied, $2
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = 'Nothing was changed. Use the files of the release that this database has, or of a later one.';
    END IF;
    IF applied IS DISTINCT FROM $2 THEN
        UPDATE schema_code c SET is_stale = true WHERE c.name COLLATE "C" > $1 COLLATE "C";
    END IF;
    -- For the rest of the transaction: DROP POLICY IF EXISTS would print a line for each new policy.
    PERFORM set_config('client_min_messages', 'warning', true);
END
$$;
COMMENT ON FUNCTION app.enter_code IS
    'Enters a file of code/ into the ledger. The file calls it at its beginning. Raises 55000 if the ledger has a higher '
    'revision. A new revision marks every later file as stale: it has to be applied again';

DO $$ BEGIN PERFORM app.enter_code('000_ledger', 1); END $$;

REVOKE ALL ON SCHEMA app FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT USAGE ON SCHEMA app TO therapybridge_server, therapybridge_pipeline;

REVOKE ALL ON app.schema_migrations, app.schema_code FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.schema_migrations, app.schema_code TO therapybridge_server;

REVOKE ALL ON FUNCTION app.enter_code FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
