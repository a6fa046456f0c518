-- Estimates of the queue: what stands before each session that waits, and the refresh of estimates as time passes.
-- revision: 1
--
-- An estimate is a stored value: a change of it is a new version, and watchers hear about it. A claim moves all that wait. Their
-- estimates are therefore not written at each claim, but by one server at a time, every few seconds, where they are far off.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('132_queue_estimates', 1); END $$;

CREATE OR REPLACE FUNCTION app.queue_work(most integer)
RETURNS TABLE (
    session_id uuid, patient_id uuid, is_running boolean, turn bigint, place bigint, seconds double precision,
    own double precision)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
        SELECT t.session_id, t.patient_id, t.is_running, t.turn,
               row_number() OVER (ORDER BY t.is_running DESC, t.turn, s.served_at NULLS FIRST, t.queued_at),
               -- A session about which nothing is known counts as the average of the others.
               coalesce(t.seconds, avg(t.seconds) OVER (), 0), t.own
        FROM (
            SELECT q.*, row_number() OVER (PARTITION BY q.patient_id, q.is_running ORDER BY q.queued_at) AS turn
            FROM (
                SELECT l.session_id, l.patient_id, l.queued_at, r.is_running,
                       CASE WHEN r.is_running AND p.status <> 'pending' AND p.estimated_time_remaining IS NOT NULL
                            THEN greatest(p.estimated_time_remaining - date_part('epoch', present - p.updated_at), 0)
                            ELSE w.stage_seconds::double precision + w.rest_seconds END AS seconds,
                       w.stage_seconds::double precision + w.rest_seconds AS own
                FROM (SELECT * FROM session_leases ORDER BY queued_at LIMIT $1) l
                JOIN session_progress p ON p.session_id = l.session_id
                CROSS JOIN LATERAL (
                    SELECT l.lease_hash IS NOT NULL AND l.leased_until > present) AS r (is_running)
                JOIN therapy_sessions t ON t.id = l.session_id
                LEFT JOIN LATERAL expected_work(p.status, coalesce(t.media_type, ''), t.bytes, t.duration_seconds,
                                                t.recording IS NOT NULL) w ON true
                -- Whoever reports about a session without a claim has taken it out of the queue.
                WHERE r.is_running OR l.worker IS NOT NULL AND p.status <> 'uploading' OR p.status = 'pending'
            ) q
        ) t
        LEFT JOIN LATERAL (SELECT max(u.served_at) FROM patient_turns u WHERE u.patient_id = t.patient_id) s (served_at) ON true;
END
$$;
COMMENT ON FUNCTION app.queue_work IS
    'The oldest "most" sessions of the queue, in the order in which workers will probably take them: those that workers have '
    'come first, and patients take turns. seconds: the work that each still needs, or an average; own: the same from the '
    'beginning of its stage, or null';

CREATE OR REPLACE FUNCTION app.pending_estimate(session_id uuid, OUT own real, OUT estimate integer)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    most CONSTANT integer := 100;
    patient uuid;
    wait double precision;
BEGIN
    SELECT t.patient_id, w.stage_seconds + w.rest_seconds INTO patient, own
    FROM therapy_sessions t
    CROSS JOIN expected_work('pending', coalesce(t.media_type, ''), t.bytes, t.duration_seconds, t.recording IS NOT NULL) w
    WHERE t.id = $1;
    -- In a long queue, the estimate comes with the next refresh. A retry of many sessions then does not count the queue each time.
    IF own IS NULL OR EXISTS (SELECT FROM session_leases OFFSET most) THEN
        RETURN;
    END IF;
    -- The session is the last one of its patient. Before it, all others have as many turns.
    SELECT coalesce(sum(q.seconds) FILTER (WHERE q.is_running OR q.turn <= m.turns + 1), 0)
           / greatest(count(*) FILTER (WHERE q.is_running), 1)
    INTO wait
    FROM queue_work(most) q
    CROSS JOIN (SELECT count(*) AS turns FROM session_leases l
                WHERE l.patient_id = patient AND l.session_id <> $1 AND l.worker IS NULL) m
    WHERE q.session_id <> $1;
    estimate := least(ceil(coalesce(wait, 0) + own), 2e9)::integer;
END
$$;
COMMENT ON FUNCTION app.pending_estimate IS
    'The work on a session that joins the queue, and its estimate: what stands before it, shared by the workers whose leases '
    'stand, and its own work. Nulls if too little is known. No estimate if more than 100 sessions are in the queue';

CREATE OR REPLACE FUNCTION app.refresh_estimates() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET lock_timeout = '1s'
SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    is_queue_due boolean;
    read_from timestamptz;
    changed integer;
    total integer := 0;
BEGIN
    -- With nothing to do, nothing is written.
    IF NOT EXISTS (SELECT FROM session_leases)
        AND NOT EXISTS (SELECT FROM session_events e
                        WHERE e.xid >= (SELECT pg_snapshot_xmax(s.learned_at) FROM estimate_state s)) THEN
        RETURN 0;
    END IF;
    -- One server at a time, and at most every 4 seconds. The function waits for no row: it skips what others have locked.
    -- A due time that no call can have set means that the clock was set back.
    SELECT e.refreshed_at = '-infinity' OR e.queue_due_at NOT BETWEEN present AND present + interval '10 minutes' INTO is_queue_due
    FROM estimate_state e
    WHERE e.refreshed_at NOT BETWEEN present - interval '4 seconds' AND present FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE estimate_state SET refreshed_at = present;
    IF learn_from_transitions() THEN
        PERFORM learn_work_rates();
    END IF;

    -- Sessions that are worked on, found by their status: those that wait are not read. What is expected of a new stage is set
    -- here: its transition reads no table for that. An estimate that does not hold becomes null: of a stage that takes far longer
    -- than expected, of a pipeline that is silent for twice the time that it told, and of a session that has lost its worker.
    WITH due AS (
        SELECT p.session_id, p.version, x.stage_seconds, x.rest_seconds, x.half_share,
               CASE WHEN f.is_far THEN e.estimate ELSE p.estimated_time_remaining END AS estimate
        FROM statuses a
        -- OFFSET keeps the planner from another order, whatever it knows about the tables.
        CROSS JOIN LATERAL (SELECT * FROM session_progress n WHERE n.status = a.status AND n.status <> 'processed' OFFSET 0) AS p
        CROSS JOIN LATERAL (SELECT * FROM session_leases n WHERE n.session_id = p.session_id OFFSET 0) AS l
        JOIN therapy_sessions s ON s.id = p.session_id
        CROSS JOIN LATERAL (SELECT date_part('epoch', present - p.stage_began_at),
                                   date_part('epoch', present - p.updated_at)) AS t (elapsed, silence)
        -- The rates of the present stage, once for each stage.
        LEFT JOIN LATERAL (
            SELECT * FROM expected_work(p.status, coalesce(s.media_type, ''), s.bytes, s.duration_seconds,
                                        s.recording IS NOT NULL) w
            WHERE p.rest_seconds IS NULL AND w.stage_seconds IS NOT NULL) AS w ON true
        CROSS JOIN LATERAL (
            SELECT coalesce(w.stage_seconds, p.stage_seconds), coalesce(w.rest_seconds, p.rest_seconds),
                   coalesce(w.half_share, p.half_share)) AS x (stage_seconds, rest_seconds, half_share)
        CROSS JOIN LATERAL (SELECT CASE
            WHEN l.worker IS NOT NULL AND (l.lease_hash IS NULL OR l.leased_until <= present) THEN NULL
            WHEN p.is_estimate_told THEN
                CASE WHEN t.silence <= 2.0 * p.estimated_time_remaining + 60 THEN p.estimated_time_remaining END
            ELSE remaining_seconds(t.elapsed, x.stage_seconds, coalesce(x.rest_seconds, 0), stage_share(p.status, p.progress),
                                   x.half_share) END) AS e (estimate)
        CROSS JOIN LATERAL (SELECT CASE
            WHEN e.estimate IS NULL OR p.estimated_time_remaining IS NULL
                THEN e.estimate IS DISTINCT FROM p.estimated_time_remaining AND (e.estimate IS NULL OR NOT p.is_estimate_told)
            ELSE abs(e.estimate - p.estimated_time_remaining) > greatest(3, 0.1 * p.estimated_time_remaining) END) AS f (is_far)
        WHERE is_at_stage(a.status) AND p.stage_began_at IS NOT NULL AND (f.is_far OR w.stage_seconds IS NOT NULL)
        ORDER BY p.updated_at LIMIT 100
    ), held AS (
        SELECT p.session_id, p.version FROM session_progress p JOIN due d ON d.session_id = p.session_id
        FOR NO KEY UPDATE OF p SKIP LOCKED
    )
    UPDATE session_progress p
    SET estimated_time_remaining = d.estimate, stage_seconds = d.stage_seconds, rest_seconds = d.rest_seconds,
        half_share = d.half_share, is_estimate_told = p.is_estimate_told OR d.estimate IS NULL
    FROM due d JOIN held h ON h.session_id = d.session_id AND h.version = d.version
    WHERE p.session_id = d.session_id AND p.version = d.version;
    GET DIAGNOSTICS total = ROW_COUNT;

    -- Sessions that wait, the next ones first. Each reading takes all of them, and the pause until the next one is a hundred times
    -- as long as the reading. A queue of any length then takes at most one per cent of a processor.
    IF NOT is_queue_due THEN
        RETURN total;
    END IF;
    read_from := clock_timestamp();
    WITH queue AS (
        SELECT q.session_id, q.is_running, q.place, q.own,
               ceil(least(
                   (sum(q.seconds) OVER (ORDER BY q.place) - q.seconds) / greatest(count(*) FILTER (WHERE q.is_running) OVER (), 1)
                       + q.seconds, 2e9))::integer AS estimate
        FROM queue_work(100000) q
    ), due AS (
        SELECT q.session_id, q.estimate, q.own FROM queue q JOIN session_progress p ON p.session_id = q.session_id
        WHERE NOT q.is_running AND p.status = 'pending' AND NOT p.is_estimate_told
          AND q.own IS NOT NULL
          AND (p.estimated_time_remaining IS NULL
               OR abs(q.estimate - p.estimated_time_remaining) > greatest(5, 0.2 * p.estimated_time_remaining))
        ORDER BY q.place LIMIT 200
    ), held AS (
        SELECT p.session_id FROM session_progress p JOIN due d ON d.session_id = p.session_id
        WHERE p.status = 'pending' AND NOT p.is_estimate_told
        FOR NO KEY UPDATE OF p SKIP LOCKED
    )
    UPDATE session_progress p SET estimated_time_remaining = d.estimate, stage_seconds = d.own
    FROM due d JOIN held h ON h.session_id = d.session_id WHERE p.session_id = d.session_id;
    GET DIAGNOSTICS changed = ROW_COUNT;
    UPDATE estimate_state
    SET queue_due_at = clock_timestamp() + least(100 * (clock_timestamp() - read_from), interval '9 minutes');
    RETURN total + changed;
END
$$;
COMMENT ON FUNCTION app.refresh_estimates IS
    'Learns from the stages that have ended, and renews the estimates that are far off: at most 100 of sessions that are worked '
    'on, and 200 of sessions that wait. A call within 4 seconds of the last one, by any server, does nothing. Between two readings '
    'of the sessions that wait, at least a hundred times the duration of a reading passes. Returns how many rows it wrote';

CREATE OR REPLACE FUNCTION app.has_expectation(session_id uuid) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN EXISTS (SELECT FROM session_progress p WHERE p.session_id = $1 AND p.stage_seconds IS NOT NULL);
END
$$;
COMMENT ON FUNCTION app.has_expectation IS
    'True if the database knows how long the present stage of a session takes, and estimates the rest itself';

REVOKE ALL ON FUNCTION app.queue_work, app.pending_estimate, app.refresh_estimates, app.has_expectation
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.refresh_estimates, app.has_expectation TO therapybridge_server;

COMMIT;
