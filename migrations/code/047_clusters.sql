-- A database that was restored into another cluster: what is forgotten by itself, and what an operator decides.
-- revision: 1
--
-- The logs that servers read by snapshot hold transaction numbers. In another cluster these numbers mean nothing, and would
-- later look like new changes. A server forgets them before it serves. Sign-ins of another cluster do not count
-- (app.valid_sign_ins); an operator ends them by app.adopt_cluster.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('047_clusters', 1); END $$;

DROP POLICY IF EXISTS owner ON app.installation;
CREATE POLICY owner ON app.installation TO therapybridge_owner USING (true) WITH CHECK (true);
REVOKE ALL ON app.installation FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.forget_positions(most integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    changed bigint;
BEGIN
    -- Concurrent calls take their steps one after the other.
    PERFORM FROM installation i WHERE i.positions_of <> this_cluster() FOR UPDATE;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    UPDATE session_events SET xid = '0' WHERE (session_id, version) IN (
        SELECT e.session_id, e.version FROM session_events e WHERE e.xid > '0' ORDER BY e.xid LIMIT $1);
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed = $1 THEN
        RETURN false;
    END IF;
    DELETE FROM deleted_sessions;
    DELETE FROM rights_log;
    DELETE FROM hint_log;
    UPDATE log_horizon SET xid = '0';
    UPDATE installation SET positions_of = this_cluster();
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.forget_positions IS
    'Forgets the transaction numbers of another cluster. One call takes a step of at most "most" transitions, to keep the '
    'transaction short; true: nothing is left to forget';

CREATE OR REPLACE FUNCTION app.read_installation() RETURNS TABLE (is_adopted boolean, has_positions boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    SELECT i.adopted_by = this_cluster(), i.positions_of = this_cluster() FROM installation i
$$;
COMMENT ON FUNCTION app.read_installation IS
    'is_adopted: false if the database was restored into this cluster, and nobody has called app.adopt_cluster since. '
    'has_positions: false if app.forget_positions has something left to forget';

CREATE OR REPLACE FUNCTION app.adopt_cluster() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    ended bigint;
BEGIN
    PERFORM FROM installation FOR UPDATE;
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'cluster_adopted'
    WHERE revoked_at IS NULL AND expires_at > clock_timestamp();
    GET DIAGNOSTICS ended = ROW_COUNT;
    UPDATE installation SET adopted_by = this_cluster(), adopted_at = clock_timestamp();
    RETURN ended;
END
$$;
COMMENT ON FUNCTION app.adopt_cluster IS
    'Makes this cluster the one of the database, ends all sign-ins, and returns their number: sign-ins that ended after the '
    'backup was made would otherwise count again. Only members of the owner may call it';

REVOKE ALL ON FUNCTION app.forget_positions, app.read_installation, app.adopt_cluster
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.forget_positions, app.read_installation TO therapybridge_server;

COMMIT;
