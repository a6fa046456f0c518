-- The lease of a session: the secret that proves a claim, when it stands, and who needs it to report.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('095_leases', 1); END $$;

REVOKE ALL ON app.session_leases FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.lease_digest(lease text) RETURNS bytea
LANGUAGE sql STABLE AS $$ SELECT pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')) $$;
COMMENT ON FUNCTION app.lease_digest IS
    'The hash of a lease, as session_leases has it. A lease is random: its hash needs neither salt nor a slow algorithm';

-- A lease that was given back has no hash. A finished session has no row.
CREATE OR REPLACE VIEW app.standing_leases AS
    SELECT l.session_id, l.attempt, l.lease_hash FROM app.session_leases l
    WHERE l.lease_hash IS NOT NULL AND l.leased_until > pg_catalog.clock_timestamp();
COMMENT ON VIEW app.standing_leases IS
    'The leases that stand: from the claim until they run out, are given back, or the session is finished or deleted';

CREATE OR REPLACE FUNCTION app.lease_end(duration interval) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF duration IS NULL OR duration < interval '1 second' OR duration > interval '1 day' THEN
        RAISE EXCEPTION 'duration: has to be between 1 second and 1 day'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'lease_out_of_range', COLUMN = 'duration';
    END IF;
    RETURN clock_timestamp() + duration;
END
$$;
COMMENT ON FUNCTION app.lease_end IS 'The end of a lease that begins now. Raises 22023 unless it lasts 1 second to 1 day';

CREATE OR REPLACE FUNCTION app.extend_lease(
    session_id uuid, attempt integer, duration interval, lease text, must_stand boolean) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    until CONSTANT timestamptz := lease_end($3);
BEGIN
    UPDATE session_leases l SET leased_until = until
    WHERE l.session_id = $1 AND l.attempt = $2 AND l.lease_hash = lease_digest($4)
      AND (NOT $5 OR l.leased_until > clock_timestamp());
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.extend_lease IS
    'Extends the lease of a session. True: it stands until the new end. must_stand: a lease that has run out is not extended. '
    'Raises 22023 unless the lease then lasts 1 second to 1 day';

CREATE OR REPLACE FUNCTION app.lease_fault(standing bytea, lease text, is_needed boolean) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN $2 IS NULL THEN CASE WHEN $3 AND $1 IS NOT NULL THEN 'lease_required' END
                WHEN $1 IS DISTINCT FROM app.lease_digest($2) THEN 'lease_not_standing' END
$$;
COMMENT ON FUNCTION app.lease_fault IS
    'What is wrong with the lease of a report; null: nothing. standing: the hash of the lease that stands, or null. '
    'PostgreSQL inlines this function, because it has no settings of its own';

CREATE OR REPLACE FUNCTION app.standing_lease(session_id uuid) RETURNS bytea
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The caller has locked the progress of the session, and no claim is under way. In REPEATABLE READ, however, the snapshot
    -- may be older than a claim. The lock then raises 40001.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM session_leases l WHERE l.session_id = $1 FOR SHARE;
    END IF;
    RETURN (SELECT s.lease_hash FROM standing_leases s WHERE s.session_id = $1);
END
$$;
COMMENT ON FUNCTION app.standing_lease IS
    'The hash of the lease of a session that stands; null: none does. The caller holds the lock of the session''s progress';

CREATE OR REPLACE FUNCTION app.is_owner_calling() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    -- In a SECURITY DEFINER function, current_user is the owner. The setting "role" still holds what SET ROLE has set.
    RETURN pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user)::name, 'therapybridge_owner',
                       'MEMBER');
END
$$;
COMMENT ON FUNCTION app.is_owner_calling IS
    'True if the caller, outside of all SECURITY DEFINER functions, is a member of therapybridge_owner: an operator in psql';

CREATE OR REPLACE FUNCTION app.is_pipeline_calling() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RETURN NOT pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user)::name, 'therapybridge_server',
                           'MEMBER') AND NOT is_owner_calling();
END
$$;
COMMENT ON FUNCTION app.is_pipeline_calling IS
    'True if the caller, outside of all SECURITY DEFINER functions, is neither the server nor an operator: a pipeline in SQL';

CREATE OR REPLACE FUNCTION app.raise_lease_fault(fault text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF fault = 'lease_required' THEN
        RAISE EXCEPTION 'this needs the lease of the session'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'lease_required';
    END IF;
    RAISE EXCEPTION 'the lease does not stand'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'lease_not_standing';
END
$$;
COMMENT ON FUNCTION app.raise_lease_fault IS 'Raises 42501 for a result of app.lease_fault';

REVOKE ALL ON app.standing_leases FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
REVOKE ALL ON FUNCTION app.lease_digest, app.lease_end, app.extend_lease, app.lease_fault, app.standing_lease, app.is_owner_calling,
    app.is_pipeline_calling, app.raise_lease_fault FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
