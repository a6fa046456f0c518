-- The queue for workers: claims and leases, transcripts and notes, retries.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- These refer to the row of progress, whose lock whoever writes them holds, for the reason given at app.session_events.
CREATE TABLE app.transcripts (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE app.notes (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    attempt    integer NOT NULL,
    body       jsonb NOT NULL,
    stored_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE app.session_leases (
    session_id   uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    queued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker       text,
    attempt      integer,
    leased_until timestamptz
);
CREATE INDEX session_leases_queued_at_idx ON app.session_leases (queued_at);
COMMENT ON TABLE app.session_leases IS
    'One row for each session that waits for a worker (worker is null) or is with one. So session_progress needs no index';

-- A session joins the queue when it is pending and has its recording, by whichever of the two comes last, and leaves it
-- when it is finished.
CREATE FUNCTION app.queue_after_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF NEW.status IN ('processed', 'failed') THEN
        DELETE FROM session_leases WHERE session_id = NEW.session_id;
    ELSE
        INSERT INTO session_leases (session_id)
        SELECT id FROM therapy_sessions WHERE id = NEW.session_id AND recording IS NOT NULL
        ON CONFLICT (session_id) DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER queue_after_progress AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND NEW.status IN ('pending', 'processed', 'failed'))
    EXECUTE FUNCTION app.queue_after_progress();

CREATE FUNCTION app.queue_after_recording() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_leases (session_id)
    SELECT session_id FROM session_progress WHERE session_id = NEW.id AND status = 'pending'
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END
$$;
-- Triggers of one event fire in the order of their names: begin_progress has made the row by then.
CREATE TRIGGER queue_after_recording AFTER INSERT OR UPDATE OF recording ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.recording IS NOT NULL) EXECUTE FUNCTION app.queue_after_recording();

CREATE FUNCTION app.lease_end(lease interval) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF lease IS NULL OR lease < interval '1 second' OR lease > interval '1 day' THEN
        RAISE EXCEPTION 'lease: has to be between 1 second and 1 day' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN clock_timestamp() + lease;
END
$$;

CREATE FUNCTION app.claim_session(worker text, lease interval)
RETURNS TABLE (session_id uuid, attempt integer, recording text, leased_until timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    until timestamptz := lease_end($2);
    candidate record;
BEGIN
    IF $1 IS NULL OR $1 = '' THEN
        RAISE EXCEPTION 'worker: may not be empty' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        -- The row of progress is locked first, as a report does, so that the two never wait for each other in a ring.
        SELECT p.session_id, p.status, p.attempt, l.worker IS NOT NULL AS was_claimed INTO candidate
        FROM session_leases l JOIN session_progress p ON p.session_id = l.session_id
        WHERE (l.worker IS NULL AND p.status = 'pending')
           OR (l.leased_until < clock_timestamp() AND p.status NOT IN ('uploading', 'processed', 'failed'))
        ORDER BY l.queued_at LIMIT 1
        FOR NO KEY UPDATE OF p SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        -- The lease may have been taken between the snapshot and the lock: this statement sees it as it is now.
        UPDATE session_leases l
        SET worker = $1, leased_until = until, attempt = candidate.attempt + candidate.was_claimed::integer
        WHERE l.session_id = candidate.session_id
          AND (l.worker IS NULL AND NOT candidate.was_claimed OR l.leased_until < clock_timestamp());
        CONTINUE WHEN NOT FOUND;
        IF candidate.was_claimed THEN
            -- The worker before may still be at work: from this attempt on, what it reports is stale.
            UPDATE session_progress p SET attempt = p.attempt + 1 WHERE p.session_id = candidate.session_id;
        END IF;
        RETURN QUERY
            SELECT l.session_id, l.attempt, t.recording, l.leased_until
            FROM session_leases l JOIN therapy_sessions t ON t.id = l.session_id
            WHERE l.session_id = candidate.session_id;
        RETURN;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.claim_session IS
    'Takes the session that has waited longest, or one whose lease ran out. No row: nothing to do';

CREATE FUNCTION app.keep_lease(session_id uuid, attempt integer, lease interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE session_leases l SET leased_until = lease_end($3)
    WHERE l.session_id = $1 AND l.attempt = $2 AND l.worker IS NOT NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.keep_lease IS 'Prolongs a lease. False: another has the session, or it is finished or gone';

-- Locks the progress of a session whose worker is about to store something, and refuses one that has been replaced.
CREATE FUNCTION app.lock_attempt(session uuid, expected integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    present integer;
BEGIN
    SELECT attempt INTO present FROM session_progress WHERE session_id = session FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session' USING ERRCODE = 'no_data_found';
    ELSIF expected IS DISTINCT FROM present THEN
        RAISE EXCEPTION 'the present attempt is %', present USING ERRCODE = 'check_violation';
    END IF;
END
$$;

CREATE FUNCTION app.store_transcript(session_id uuid, attempt integer, transcript jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF jsonb_typeof($3 -> 'text') IS DISTINCT FROM 'string'
        OR jsonb_typeof($3 -> 'segments') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'transcript: needs a "text" and an array "segments"' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM lock_attempt($1, $2);
    INSERT INTO transcripts (session_id, attempt, body) VALUES ($1, $2, $3)
    ON CONFLICT (session_id) DO UPDATE SET attempt = $2, body = $3, stored_at = clock_timestamp();
END
$$;

CREATE FUNCTION app.store_notes(session_id uuid, attempt integer, notes jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF jsonb_typeof($3) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'notes: have to be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM lock_attempt($1, $2);
    INSERT INTO notes (session_id, attempt, body) VALUES ($1, $2, $3)
    ON CONFLICT (session_id) DO UPDATE SET attempt = $2, body = $3, stored_at = clock_timestamp();
END
$$;

CREATE FUNCTION app.retry_session(session_id uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present text;
    result bigint;
BEGIN
    SELECT p.status INTO present FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session' USING ERRCODE = 'no_data_found';
    ELSIF present <> 'failed' THEN
        RAISE EXCEPTION 'only a failed session can be retried' USING ERRCODE = 'check_violation';
    ELSIF NOT EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND t.recording IS NOT NULL) THEN
        RAISE EXCEPTION 'there is no recording to retry with' USING ERRCODE = 'check_violation';
    END IF;
    UPDATE session_progress p SET status = 'pending', message = 'Waiting for a free worker'
    WHERE p.session_id = $1 RETURNING p.version INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION app.retry_session IS 'Sends a failed session back to pending. 23514: it has not failed, or has no recording';

GRANT SELECT ON app.transcripts, app.notes, app.session_leases TO therapybridge_server;
GRANT EXECUTE ON FUNCTION app.claim_session, app.keep_lease, app.store_transcript, app.store_notes
    TO therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.retry_session TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (5, 'pipeline');
COMMIT;
