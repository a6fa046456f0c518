-- The queue for workers: how a session joins and leaves it; claims, leases, attempts, cancellations and retries.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('130_queue', 1); END $$;

REVOKE ALL ON app.pipeline_limits, app.patient_turns, app.patient_queue FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

-- A session joins the queue when it is pending and has its recording. Either can come last, so each has a trigger.

CREATE OR REPLACE FUNCTION app.queue_after_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF NEW.status = 'pending' THEN
        INSERT INTO session_leases (session_id, patient_id)
        SELECT id, patient_id FROM therapy_sessions WHERE id = NEW.session_id AND recording IS NOT NULL
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
    INSERT INTO session_leases (session_id, patient_id)
    SELECT session_id, NEW.patient_id FROM session_progress WHERE session_id = NEW.id AND status = 'pending'
    ON CONFLICT (session_id) DO NOTHING;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.queue_after_recording IS
    'Trigger: a session that is pending when it gets its recording joins the queue';
-- Triggers of one event fire in the order of their names: create_progress has already created the row of progress.
CREATE OR REPLACE TRIGGER queue_after_recording AFTER INSERT OR UPDATE OF recording ON app.therapy_sessions
    FOR EACH ROW WHEN (NEW.recording IS NOT NULL) EXECUTE FUNCTION app.queue_after_recording();

CREATE OR REPLACE FUNCTION app.queue_after_correction() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    -- With this lock, no other transaction is about to add the session to the queue under its former patient.
    PERFORM FROM session_progress p WHERE p.session_id = NEW.id FOR NO KEY UPDATE;
    UPDATE session_leases l SET patient_id = NEW.patient_id WHERE l.session_id = NEW.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.queue_after_correction IS
    'Trigger: a session in the queue that is moved to another patient waits among the sessions of that patient';
CREATE OR REPLACE TRIGGER queue_after_correction AFTER UPDATE OF patient_id ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.patient_id <> NEW.patient_id) EXECUTE FUNCTION app.queue_after_correction();

-- Turns. A patient's row in patient_queue is locked before it is changed, and a row that another transaction holds is left
-- alone. No transaction waits here, and no claim deletes the row that a session needs.

CREATE OR REPLACE FUNCTION app.patient_served_at(patient uuid) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN coalesce((SELECT max(t.served_at) FROM patient_turns t WHERE t.patient_id = $1), '-infinity');
END
$$;
COMMENT ON FUNCTION app.patient_served_at IS 'When a worker last claimed a session of a patient; -infinity: none has';

CREATE OR REPLACE FUNCTION app.queue_patient() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    served CONSTANT timestamptz := app.patient_served_at(NEW.patient_id);
BEGIN
    -- Until this transaction ends, its lock keeps a claim that does not see the session yet from deleting the row.
    PERFORM FROM patient_queue q
    WHERE q.patient_id = NEW.patient_id AND q.served_at = served AND (served > '-infinity' OR q.queued_at <= NEW.queued_at)
    LIMIT 1 FOR KEY SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO patient_queue (patient_id, served_at, queued_at) VALUES (NEW.patient_id, served, NEW.queued_at);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.queue_patient IS 'Trigger: the patient of a session that joins the queue waits for a turn';
CREATE OR REPLACE TRIGGER queue_patient AFTER INSERT OR UPDATE OF patient_id ON app.session_leases
    FOR EACH ROW EXECUTE FUNCTION app.queue_patient();

CREATE OR REPLACE FUNCTION app.correct_turn(turn bigint, patient uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    served timestamptz;
BEGIN
    PERFORM FROM patient_queue q WHERE q.id = $1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Each statement from here on sees what was committed before the lock.
    IF NOT EXISTS (SELECT FROM session_leases l WHERE l.patient_id = $2) THEN
        DELETE FROM patient_queue q WHERE q.id = $1;
        RETURN;
    END IF;
    served := patient_served_at($2);
    PERFORM FROM patient_queue q WHERE q.patient_id = $2 AND q.served_at = served AND q.id <> $1
    LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        DELETE FROM patient_queue q WHERE q.id = $1;
    ELSE
        UPDATE patient_queue q SET served_at = served WHERE q.id = $1 AND q.served_at <> served;
    END IF;
END
$$;
COMMENT ON FUNCTION app.correct_turn IS
    'Moves a row of patient_queue to the present turn of its patient, or deletes it if the patient has another row there, or no '
    'session in the queue';

CREATE OR REPLACE FUNCTION app.note_turn(turn bigint, patient uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    served CONSTANT timestamptz := clock_timestamp();
BEGIN
    DELETE FROM patient_turns WHERE id IN (
        SELECT t.id FROM patient_turns t WHERE t.patient_id = $2 FOR UPDATE SKIP LOCKED);
    INSERT INTO patient_turns (patient_id, served_at) VALUES ($2, served);
    UPDATE patient_queue q SET served_at = served
    WHERE q.id = (SELECT r.id FROM patient_queue r WHERE r.id = $1 FOR UPDATE SKIP LOCKED);
    IF NOT FOUND THEN
        INSERT INTO patient_queue (patient_id, served_at) VALUES ($2, served);
    END IF;
END
$$;
COMMENT ON FUNCTION app.note_turn IS
    'Records that a patient is served now, deletes the earlier records of the patient, and moves the row of patient_queue';

CREATE OR REPLACE FUNCTION app.restore_patient_queue() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    total integer;
BEGIN
    INSERT INTO patient_queue (patient_id, served_at)
    SELECT l.patient_id, patient_served_at(l.patient_id) FROM session_leases l
    WHERE NOT EXISTS (SELECT FROM patient_queue q WHERE q.patient_id = l.patient_id) GROUP BY l.patient_id;
    GET DIAGNOSTICS total = ROW_COUNT;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.restore_patient_queue IS
    'Adds the missing rows of patients who wait for a turn: an operator has deleted them, or loaded sessions without triggers. '
    'Returns their number';

-- Attempts

CREATE OR REPLACE FUNCTION app.set_max_attempts(most integer) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp SET jit = off AS
$$ UPDATE pipeline_limits SET max_attempts = $1 WHERE max_attempts <> $1 $$;
COMMENT ON FUNCTION app.set_max_attempts IS
    'Sets how many attempts a session has. The value of the last server or worker that starts applies to all';

CREATE OR REPLACE FUNCTION app.use_attempt(session uuid, reason text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    used integer;
BEGIN
    UPDATE session_leases l SET attempts_used = l.attempts_used + 1 WHERE l.session_id = session
    RETURNING l.attempts_used INTO used;
    IF used < (SELECT max_attempts FROM pipeline_limits) THEN
        RETURN true;
    END IF;
    UPDATE session_progress p
    SET status = 'failed', message = NULL,
        error = CASE WHEN used = 1 THEN reason ELSE format('Given up after %s attempts. %s', used, reason) END
    WHERE p.session_id = session;
    RETURN false;
END
$$;
COMMENT ON FUNCTION app.use_attempt IS
    'Counts an attempt that ended without a result. True: another one may follow. False: it was the last one, and the session '
    'has failed with the reason. The caller holds the locks of the session''s progress and lease';

CREATE OR REPLACE FUNCTION app.lapse_reason() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT 'The worker stopped before the recording was done.' $$;
COMMENT ON FUNCTION app.lapse_reason IS 'Why an attempt ended whose lease has lapsed, for people';

-- A lease lapses when it runs out, and its worker has neither extended it nor given it back. At "pending" no work was lost.
CREATE OR REPLACE FUNCTION app.fail_lapsed_sessions() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    lapsed uuid;
    total integer := 0;
BEGIN
    PERFORM restore_patient_queue();
    FOR lapsed IN
        SELECT l.session_id FROM session_leases l JOIN session_progress p ON p.session_id = l.session_id
        WHERE l.lease_hash IS NOT NULL AND l.leased_until < clock_timestamp()
          AND l.attempts_used + 1 >= (SELECT m.max_attempts FROM pipeline_limits m)
          AND NOT is_waiting(p.status)
        FOR NO KEY UPDATE OF p, l SKIP LOCKED
    LOOP
        PERFORM use_attempt(lapsed, lapse_reason());
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.fail_lapsed_sessions IS
    'Fails the sessions whose lease has lapsed in their last attempt, as the next claim would, and restores missing rows of '
    'patient_queue. Returns the number of failed sessions';

-- Claims

CREATE OR REPLACE FUNCTION app.claim_session(worker text, duration interval)
RETURNS TABLE (
    session_id uuid, attempt integer, status text, recording text, leased_until timestamptz, lease text)
LANGUAGE plpgsql SECURITY DEFINER
-- These settings make the function read the queue and the turns by their indexes, and progress by its key.
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    until timestamptz := lease_end($2);
    passed record;
    turn record;
    candidate record;
    -- 244 random bits of the generator that PostgreSQL uses for keys.
    secret CONSTANT text := translate(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
BEGIN
    IF $1 IS NULL OR $1 = '' THEN
        RAISE EXCEPTION 'worker: cannot be empty'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'worker_empty', COLUMN = 'worker';
    END IF;
    SELECT timestamptz '-infinity' AS served_at, timestamptz '-infinity' AS queued_at, bigint '0' AS id INTO passed;
    LOOP
        -- Patients take turns: first those who were never served, then those who were served longest ago. The
        -- oldest session of a patient comes first. The number of patients that a claim passes is about the number of workers: it stops at the
        -- first one with a session that waits.
        SELECT q.served_at, q.queued_at, q.id, q.patient_id INTO turn FROM patient_queue q
        WHERE (q.served_at, q.queued_at, q.id) > (passed.served_at, passed.queued_at, passed.id)
        ORDER BY q.served_at, q.queued_at, q.id LIMIT 1;
        IF NOT FOUND THEN
            RETURN;
        ELSIF turn.served_at <> patient_served_at(turn.patient_id) THEN
            PERFORM correct_turn(turn.id, turn.patient_id);
            passed := turn;
            CONTINUE;
        END IF;
        -- Locks the row of progress first, as a report does: the two cannot deadlock. A row that another transaction holds is
        -- skipped in either table. Otherwise one open transaction could stop every worker at the first session.
        SELECT p.session_id, p.status, p.attempt, l.worker IS NOT NULL AS was_claimed, l.lease_hash IS NOT NULL AS has_lapsed,
               l.queued_at
        INTO candidate
        FROM session_leases l JOIN session_progress p ON p.session_id = l.session_id
        WHERE l.patient_id = turn.patient_id
          AND (l.worker IS NULL AND p.status = 'pending'
               OR l.leased_until < clock_timestamp() AND p.status <> 'uploading'
                  AND NOT (SELECT s.is_finished FROM statuses s WHERE s.status = p.status))
        ORDER BY l.queued_at LIMIT 1
        FOR NO KEY UPDATE OF p, l SKIP LOCKED;
        IF NOT FOUND THEN
            IF NOT EXISTS (SELECT FROM session_leases l WHERE l.patient_id = turn.patient_id) THEN
                PERFORM correct_turn(turn.id, turn.patient_id);
            END IF;
            passed := turn;
            CONTINUE;
        ELSIF turn.served_at = '-infinity' AND turn.queued_at < candidate.queued_at THEN
            -- The session for which the row was made has left the queue. The patient's turn comes later.
            UPDATE patient_queue q SET queued_at = candidate.queued_at
            WHERE q.id = (SELECT r.id FROM patient_queue r WHERE r.id = turn.id FOR UPDATE SKIP LOCKED);
            IF FOUND THEN
                passed := turn;
                CONTINUE;
            END IF;
        END IF;
        -- Another worker may have taken the lease between the snapshot and the lock. This new statement sees the present row.
        UPDATE session_leases l
        SET worker = $1, leased_until = until, attempt = candidate.attempt + candidate.was_claimed::integer,
            lease_hash = lease_digest(secret)
        WHERE l.session_id = candidate.session_id
          AND (l.worker IS NULL AND NOT candidate.was_claimed OR l.leased_until < clock_timestamp());
        CONTINUE WHEN NOT FOUND;
        -- The former worker died in the middle of its work.
        CONTINUE WHEN candidate.has_lapsed AND candidate.status <> 'pending'
                      AND NOT use_attempt(candidate.session_id, lapse_reason());
        IF candidate.was_claimed THEN
            -- The former worker may still run. The next attempt makes its reports stale.
            UPDATE session_progress p SET attempt = p.attempt + 1 WHERE p.session_id = candidate.session_id;
        END IF;
        PERFORM note_turn(turn.id, turn.patient_id);
        RETURN QUERY
            SELECT l.session_id, l.attempt, candidate.status, t.recording, l.leased_until, secret
            FROM session_leases l JOIN therapy_sessions t ON t.id = l.session_id
            WHERE l.session_id = candidate.session_id;
        RETURN;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.claim_session IS
    'Claims a session for a worker, of the patient served longest ago: one that waits, or one whose lease has run out or was '
    'given back. Returns the session, the attempt, the status that the former worker reached, and the lease, a secret that '
    'proves the claim; no row: no session waits. A session whose worker died in its last attempt fails instead. Raises 22023 '
    'unless the lease lasts 1 second to 1 day';

CREATE OR REPLACE FUNCTION app.keep_lease(
    session_id uuid, attempt integer, duration interval, lease text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN extend_lease($1, $2, $3, $4, must_stand => false);
END
$$;
COMMENT ON FUNCTION app.keep_lease IS
    'Extends a lease, also one that has run out if no other worker has claimed the session since. False: the lease is missing '
    'or wrong, another worker has the session, or it is finished or deleted. Raises 22023 unless the lease then lasts 1 second '
    'to 1 day';

CREATE OR REPLACE FUNCTION app.has_lease(session_id uuid, attempt integer, lease text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM session_leases l
                   WHERE l.session_id = $1 AND l.attempt = $2 AND l.lease_hash = lease_digest($3));
END
$$;
COMMENT ON FUNCTION app.has_lease IS
    'True while app.keep_lease would extend the lease. The function extends nothing and locks nothing';

CREATE OR REPLACE FUNCTION app.queue_again(session_id uuid, message text, keeps_place boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    UPDATE session_leases l
    SET lease_hash = NULL, leased_until = clock_timestamp(),
        queued_at = CASE WHEN $3 THEN l.queued_at ELSE clock_timestamp() END
    WHERE l.session_id = $1;
    IF $2 IS NOT NULL THEN
        -- The time until the next claim is unknown.
        UPDATE session_progress p SET message = $2, estimated_time_remaining = NULL, is_estimate_told = true
        WHERE p.session_id = $1;
    END IF;
    PERFORM pg_notify('tb_session_v1', 'work');
END
$$;
COMMENT ON FUNCTION app.queue_again IS
    'Ends the lease of a session, and announces the session to the workers. Watchers see the message, if there is one. '
    'Without keeps_place, the patient''s other sessions come first. The caller has checked the lease, and holds the lock of '
    'the session''s progress';

CREATE OR REPLACE FUNCTION app.give_lease_back(
    session_id uuid, attempt integer, lease text, message text DEFAULT NULL, keeps_place boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    PERFORM FROM standing_leases s
    WHERE s.session_id = $1 AND s.attempt = $2 AND s.lease_hash = lease_digest($3);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM queue_again($1, $4, $5);
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.give_lease_back IS
    'Gives a session back to the queue before its lease runs out. That uses up no attempt. Watchers see the message, if there is '
    'one. Without keeps_place, the patient''s other sessions come first from now on: a session that no worker can process may '
    'not hold them up. False: the lease does not stand';

CREATE OR REPLACE FUNCTION app.end_attempt(session_id uuid, attempt integer, lease text, reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    IF NOT has_lease($1, $2, $3) THEN
        PERFORM raise_lease_fault('lease_not_standing');
    ELSIF use_attempt($1, $4) THEN
        PERFORM queue_again($1, $4 || ' Trying again.', keeps_place => true);
        RETURN true;
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION app.end_attempt IS
    'Ends the attempt of a worker whose stage was killed, stalled or took too long, and gives the session back to the queue. '
    'False: it was the last attempt, and the session has failed with the reason. Raises 42501 if another worker has the session';

CREATE OR REPLACE FUNCTION app.claimed_patient(session_id uuid) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp SET jit = off SET enable_seqscan = off AS
$$ SELECT l.patient_id FROM session_leases l WHERE l.session_id = $1 $$;
COMMENT ON FUNCTION app.claimed_patient IS 'The patient of a session in the queue, for a worker. A worker acts for no user';

-- Cancellations and retries

CREATE OR REPLACE FUNCTION app.cancel_session(session_id uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present text;
    result bigint;
BEGIN
    -- The session first, as a deletion and the end of an upload do.
    PERFORM FROM therapy_sessions t
    WHERE t.id = $1 AND (is_owner_calling() OR acting_may('manage', t.patient_id)) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session'
            USING ERRCODE = 'no_data_found', CONSTRAINT = 'unknown_session';
    END IF;
    SELECT p.status INTO present FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    IF (SELECT s.is_finished FROM statuses s WHERE s.status = present) THEN
        RAISE EXCEPTION 'the session is %', present
            USING ERRCODE = 'check_violation', CONSTRAINT = 'session_finished',
                DETAIL = json_build_object('status', present);
    END IF;
    -- An upload that is under way may not bring the recording any more.
    UPDATE therapy_sessions t SET upload_id = NULL WHERE t.id = $1 AND t.recording IS NULL AND t.upload_id IS NOT NULL;
    UPDATE session_progress p SET status = 'failed', message = NULL, error = 'Cancelled'
    WHERE p.session_id = $1 RETURNING p.version INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION app.cancel_session IS
    'Ends the upload or the processing of a session: it is failed, with the error "Cancelled". Returns the version. The acting '
    'user needs the right to manage the session; members of the owner may cancel any session. Raises P0002 for an unknown '
    'session, 23514 if the session is finished';

CREATE OR REPLACE FUNCTION app.retry_session(session_id uuid, again boolean DEFAULT false) RETURNS bigint
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
    ELSIF $2 AND NOT (SELECT s.is_finished FROM statuses s WHERE s.status = present) THEN
        RAISE EXCEPTION 'only a finished session can be processed again'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'session_not_finished';
    ELSIF NOT $2 AND present <> 'failed' THEN
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
    'Sends a failed session back to pending, with "again" also a processed one, and returns the version. The attempts are '
    'counted anew. The acting user needs the right to manage the session; members of the owner may retry any session. Raises '
    'P0002 for an unknown session, 23514 if the session has not failed, or with "again" is not finished, or has no recording';

CREATE OR REPLACE FUNCTION app.queue_backlog() RETURNS TABLE (waiting bigint, oldest double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    most CONSTANT integer := 10000;
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    -- The condition is that of app.claim_session.
    RETURN QUERY
    SELECT count(*), coalesce(greatest(date_part('epoch', present - min(q.queued_at)), 0), 0)
    FROM (SELECT l.queued_at FROM session_leases l JOIN session_progress p ON p.session_id = l.session_id
          WHERE l.worker IS NULL AND p.status = 'pending' OR l.leased_until < present AND p.status <> 'uploading'
          ORDER BY l.queued_at LIMIT most) AS q;
END
$$;
COMMENT ON FUNCTION app.queue_backlog IS
    'How many sessions a worker could claim now, at most 10,000, and the seconds since the oldest of these joined the queue';

REVOKE ALL ON FUNCTION app.queue_after_progress, app.queue_after_recording, app.queue_after_correction,
    app.patient_served_at, app.queue_patient, app.correct_turn, app.restore_patient_queue, app.set_max_attempts, app.use_attempt,
    app.lapse_reason, app.fail_lapsed_sessions, app.note_turn, app.claim_session, app.keep_lease, app.has_lease,
    app.queue_again, app.give_lease_back, app.end_attempt, app.claimed_patient, app.cancel_session, app.retry_session,
    app.queue_backlog
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.claim_session, app.keep_lease TO therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.set_max_attempts, app.fail_lapsed_sessions, app.has_lease, app.give_lease_back,
    app.end_attempt, app.claimed_patient, app.cancel_session, app.retry_session, app.queue_backlog TO therapybridge_server;

COMMIT;
