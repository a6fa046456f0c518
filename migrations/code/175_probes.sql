-- Probes: sessions by which an administrator measures how fast a change reaches a stream.
-- revision: 1
--
-- A probe is a session of a patient of its own, and therapy_sessions.probe_of marks it. Only the administrator who began it sees
-- it: the policy of therapy_sessions and app.authorize_sessions hide it from everybody else. It has no row in session_list, which
-- lists and counts read; streams of all sessions and webhooks pass it over; and it has no recording, which a claim needs.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('175_probes', 1); END $$;

CREATE OR REPLACE FUNCTION app.probe_lifetime() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '5 minutes' $$;
COMMENT ON FUNCTION app.probe_lifetime IS 'After this time, a probe counts as left over';

CREATE OR REPLACE FUNCTION app.begin_probe() RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    patient CONSTANT uuid := gen_random_uuid();
    probe uuid;
BEGIN
    IF NOT acting_may_all('probe') THEN
        RAISE EXCEPTION 'the acting user may not probe'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'not_permitted';
    END IF;
    PERFORM delete_expired_probes();
    -- Two that begin at once may pass the limit by one.
    IF (SELECT count(*) FROM therapy_sessions t WHERE t.probe_of IS NOT NULL) >= 100 THEN
        RETURN NULL;
    END IF;
    INSERT INTO users (id, email, full_name, role, is_active, is_probe)
    VALUES (patient, 'probe-' || patient || '@therapybridge.invalid', 'Probe', 'patient', false, true);
    INSERT INTO therapy_sessions (patient_id, probe_of) VALUES (patient, acting_id()) RETURNING id INTO probe;
    RETURN probe;
END
$$;
COMMENT ON FUNCTION app.begin_probe IS
    'Makes a probe for the acting user, and returns its session. Null: a hundred probes are under way. Raises 42501 without the right';

CREATE OR REPLACE FUNCTION app.delete_expired_probes() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    expired CONSTANT uuid[] := ARRAY(
        SELECT s.id FROM therapy_sessions s
        WHERE s.probe_of IS NOT NULL AND s.created_at < clock_timestamp() - probe_lifetime()
        FOR UPDATE SKIP LOCKED);
BEGIN
    -- Every server asks twice a minute, and there is hardly ever one.
    IF cardinality(expired) > 0 THEN
        DELETE FROM therapy_sessions t WHERE t.id = ANY (expired);
    END IF;
    RETURN cardinality(expired);
END
$$;
COMMENT ON FUNCTION app.delete_expired_probes IS 'Removes the probes that were left over, and returns their number';

CREATE OR REPLACE FUNCTION app.remove_probe_patient() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    DELETE FROM users u
    WHERE u.id = OLD.patient_id AND u.is_probe AND NOT EXISTS (SELECT FROM therapy_sessions t WHERE t.patient_id = u.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.remove_probe_patient IS 'Trigger: the patient of a probe goes with its session';
CREATE OR REPLACE TRIGGER remove_probe_patient AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.probe_of IS NOT NULL) EXECUTE FUNCTION app.remove_probe_patient();

REVOKE ALL ON FUNCTION app.probe_lifetime, app.begin_probe, app.delete_expired_probes, app.remove_probe_patient
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.begin_probe, app.delete_expired_probes TO therapybridge_server;

COMMIT;
