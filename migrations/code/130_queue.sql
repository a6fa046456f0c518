-- The queue for workers: how a session joins and leaves it; claims, leases and retries.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('130_queue', 1); END $$;

-- A session joins the queue when it is pending and has its recording. Either can come last, so each has a trigger.

CREATE OR REPLACE FUNCTION app.queue_after_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF NEW.status = 'pending' THEN
        INSERT INTO session_leases (session_id)
        SELECT id FROM therapy_sessions WHERE id = NEW.session_id AND recording IS NOT NULL
        ON CONFLICT (session_id) DO NOTHING;
    ELSIF (SELECT is_finished FROM statuses WHERE status = NEW.status) THEN
        DELETE FROM session_leases WHERE session_id = NEW.session_id;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.queue_after_progress IS
    'Trigger: a pending session with a recording joins the queue, and a finished one leaves it';
CREATE OR REPLACE TRIGGER queue_after_progress AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION app.queue_after_progress();

CREATE OR REPLACE FUNCTION app.queue_after_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_leases (session_id)
    SELECT session_id FROM session_progress WHERE session_id = NEW.id AND status = 'pending'
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.queue_after_recording IS
    'Trigger: a session that is pending when it gets its recording joins the queue';
-- Triggers of one event fire in the order of their names: create_progress has already created the row of progress.
CREATE OR REPLACE TRIGGER queue_after_recording AFTER INSERT OR UPDATE OF recording ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.recording IS NOT NULL) EXECUTE FUNCTION app.queue_after_recording();

CREATE OR REPLACE FUNCTION app.claim_session(worker text, duration interval)
RETURNS TABLE (
    session_id uuid, attempt integer, status text, recording text, leased_until timestamptz, lease text)
LANGUAGE plpgsql SECURITY DEFINER
-- These settings make the function read the queue in the order of its index, and progress by its key.
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    until timestamptz := lease_end($2);
    candidate record;
    -- 244 random bits of the generator that PostgreSQL uses for keys.
    secret CONSTANT text := translate(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
BEGIN
    IF $1 IS NULL OR $1 = '' THEN
        RAISE EXCEPTION 'worker: cannot be empty'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'worker_empty', COLUMN = 'worker';
    END IF;
    LOOP
        -- Locks the row of progress first, as a report does: the two cannot deadlock. A row that another transaction holds is
        -- skipped in either table. Otherwise one open transaction could stop every worker at the oldest session.
        SELECT p.session_id, p.status, p.attempt, l.worker IS NOT NULL AS was_claimed INTO candidate
        FROM session_leases l JOIN session_progress p ON p.session_id = l.session_id
        WHERE (l.worker IS NULL OR l.leased_until < clock_timestamp())
          AND (l.worker IS NULL AND p.status = 'pending'
               OR l.leased_until < clock_timestamp() AND p.status <> 'uploading'
                  AND NOT (SELECT s.is_finished FROM statuses s WHERE s.status = p.status))
        ORDER BY l.queued_at LIMIT 1
        FOR NO KEY UPDATE OF p, l SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        -- Another worker may have taken the lease between the snapshot and the lock. This new statement sees the present row.
        UPDATE session_leases l
        SET worker = $1, leased_until = until, attempt = candidate.attempt + candidate.was_claimed::integer,
            lease_hash = lease_digest(secret)
        WHERE l.session_id = candidate.session_id
          AND (l.worker IS NULL AND NOT candidate.was_claimed OR l.leased_until < clock_timestamp());
        CONTINUE WHEN NOT FOUND;
        IF candidate.was_claimed THEN
            -- The former worker may still run. The next attempt makes its reports stale.
            UPDATE session_progress p SET attempt = p.attempt + 1 WHERE p.session_id = candidate.session_id;
        END IF;
        RETURN QUERY
            SELECT l.session_id, l.attempt, candidate.status, t.recording, l.leased_until, secret
            FROM session_leases l JOIN therapy_sessions t ON t.id = l.session_id
            WHERE l.session_id = candidate.session_id;
        RETURN;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.claim_session IS
    'Claims the session that has waited longest, or one whose lease has run out, for a worker. Returns the session, the '
    'attempt, the status that the former worker reached, and the lease, a secret that proves the claim; no row: no session '
    'waits. Raises 22023 unless the lease lasts 1 second to 1 day';

CREATE OR REPLACE FUNCTION app.keep_lease(
    session_id uuid, attempt integer, duration interval, lease text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    until CONSTANT timestamptz := lease_end($3);
BEGIN
    UPDATE session_leases l SET leased_until = until
    WHERE l.session_id = $1 AND l.attempt = $2 AND l.lease_hash = lease_digest($4);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.keep_lease IS
    'Extends a lease, also one that has run out if no other worker has claimed the session since. False: the lease is missing '
    'or wrong, another worker has the session, or it is finished or deleted. Raises 22023 unless the lease then lasts 1 second '
    'to 1 day';

CREATE OR REPLACE FUNCTION app.retry_session(session_id uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present text;
    result bigint;
BEGIN
    SELECT p.status INTO present FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
    WHERE p.session_id = $1
      AND (is_owner_calling() OR acting_may('manage', t.patient_id))
    FOR NO KEY UPDATE OF p;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session'
            USING ERRCODE = 'no_data_found', CONSTRAINT = 'unknown_session';
    ELSIF present <> 'failed' THEN
        RAISE EXCEPTION 'only a failed session can be retried'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'session_not_failed';
    ELSIF NOT EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND t.recording IS NOT NULL) THEN
        RAISE EXCEPTION 'the session has no recording to retry with'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_recording';
    END IF;
    UPDATE session_progress p SET status = 'pending', message = 'Waiting for a free worker'
    WHERE p.session_id = $1 RETURNING p.version INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION app.retry_session IS
    'Sends a failed session back to pending and returns the version. The acting user needs the right to manage the session; '
    'members of the owner may retry any session. Raises P0002 for an unknown session, 23514 if the session has not failed or '
    'has no recording';

REVOKE ALL ON FUNCTION app.queue_after_progress, app.queue_after_recording, app.claim_session, app.keep_lease,
    app.retry_session FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.claim_session, app.keep_lease TO therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.retry_session TO therapybridge_server;

COMMIT;
