-- Pipelines over HTTP: what an account with the role pipeline may do, beside its reports.
-- revision: 1
--
-- The functions run for the acting user. The server calls app.require_pipeline in the transaction that claims, keeps a lease or
-- stores a result: nothing is written after the right has ended.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('145_pipeline_accounts', 1); END $$;

CREATE OR REPLACE FUNCTION app.require_pipeline() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    -- A change of the role ends all sign-ins of an account.
    IF NOT acting_may_all('process') THEN
        RAISE EXCEPTION 'the acting user is signed in as no pipeline'
            USING ERRCODE = 'invalid_authorization_specification', CONSTRAINT = 'signed_out';
    END IF;
END
$$;
COMMENT ON FUNCTION app.require_pipeline IS 'Raises 28000 unless the acting user may process sessions';

CREATE OR REPLACE FUNCTION app.claimed_recording(session_id uuid)
RETURNS TABLE (patient_id uuid, filename text, bytes bigint, media_type text, duration_seconds double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM require_pipeline();
    RETURN QUERY
        SELECT t.patient_id, t.filename, t.bytes, t.media_type, t.duration_seconds FROM therapy_sessions t WHERE t.id = $1;
END
$$;
COMMENT ON FUNCTION app.claimed_recording IS
    'What a pipeline learns about the recording that it has just claimed, and the patient for the audit log. Raises 28000 as '
    'app.require_pipeline does';

CREATE OR REPLACE FUNCTION app.leased_recording(session_id uuid, lease text)
RETURNS TABLE (recording text, filename text, media_type text, sha256 bytea, created_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM require_pipeline();
    RETURN QUERY
        SELECT t.recording, t.filename, t.media_type, t.sha256, t.created_at
        FROM standing_leases s JOIN therapy_sessions t ON t.id = s.session_id
        WHERE s.session_id = $1 AND s.lease_hash = lease_digest($2) AND t.recording IS NOT NULL;
END
$$;
COMMENT ON FUNCTION app.leased_recording IS
    'The recording of a session, for the pipeline with the lease that stands; no row: the lease does not stand. Raises 28000 as '
    'app.require_pipeline does';

CREATE OR REPLACE FUNCTION app.keep_standing_lease(
    session_id uuid, attempt integer, duration interval, lease text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN extend_lease($1, $2, $3, $4, must_stand => true);
END
$$;
COMMENT ON FUNCTION app.keep_standing_lease IS
    'Extends a lease as app.keep_lease does, but not one that has run out. False: the lease does not stand. Raises 22023 unless '
    'the lease then lasts 1 second to 1 day';

REVOKE ALL ON FUNCTION app.require_pipeline, app.claimed_recording, app.leased_recording, app.keep_standing_lease
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.require_pipeline, app.claimed_recording, app.leased_recording, app.keep_standing_lease
    TO therapybridge_server;

COMMIT;
