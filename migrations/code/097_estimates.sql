-- Estimates of remaining time: samples of finished stages, the rates that follow from them, and the arithmetic.
-- revision: 1
--
-- A stage is a status in which somebody works on the session. Its time is modelled as a fixed part and a part for each second of
-- audio. All figures are medians of the newest samples: a few sessions that took very long or very short change nothing.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('097_estimates', 1); END $$;

REVOKE ALL ON app.stage_samples, app.work_rates, app.estimate_state FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.stage_order(status text) RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT array_position(ARRAY['pending', 'preprocessing', 'transcribing', 'diarizing', 'transcribed', 'extracting_notes'], $1) $$;
COMMENT ON FUNCTION app.stage_order IS 'The place of a stage on the way of a session, from 1 for "pending"; null: no stage';

CREATE OR REPLACE FUNCTION app.learn_from_transitions() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp SET jit = off SET enable_seqscan = off AS $$
DECLARE
    present CONSTANT pg_snapshot := pg_current_snapshot();
    known pg_snapshot := (SELECT s.learned_at FROM estimate_state s);
    added integer;
BEGIN
    -- The snapshot of another cluster, after a restore: transaction ids begin anew.
    IF pg_snapshot_xmax(known) > pg_snapshot_xmax(present) THEN
        known := '1:1:';
    END IF;
    INSERT INTO stage_samples (stage, media_type, audio_seconds, bytes, work_seconds, half_seconds, at)
    SELECT b.status, coalesce(t.media_type, ''), t.duration_seconds, t.bytes, n.worked_seconds, n.half_seconds, n.at
    -- The newest transitions are enough, and the read stays short after a long time without a server.
    FROM (SELECT * FROM session_events e
          WHERE e.xid >= pg_snapshot_xmin(known) AND e.xid < pg_snapshot_xmax(present)
            AND NOT pg_visible_in_snapshot(e.xid, known)
          ORDER BY e.xid DESC LIMIT 10000) n
    CROSS JOIN LATERAL (SELECT s.status FROM session_events s WHERE s.session_id = n.session_id AND s.version < n.version
                        ORDER BY s.version DESC LIMIT 1) AS b
    JOIN therapy_sessions t ON t.id = n.session_id
    WHERE n.worked_seconds IS NOT NULL AND t.duration_seconds > 0
    ORDER BY n.at;
    GET DIAGNOSTICS added = ROW_COUNT;
    UPDATE estimate_state SET learned_at = present;
    RETURN added > 0;
END
$$;
COMMENT ON FUNCTION app.learn_from_transitions IS
    'Adds a sample for each stage that has ended since the last call, of any pipeline. True: there are new ones. The caller holds '
    'the row of app.estimate_state';

-- The slope between two recordings of similar length would be noise. Only pairs whose lengths differ by half are compared
-- (the estimator of Theil and Sen). Without such pairs, the time is taken as proportional to the length.
CREATE OR REPLACE FUNCTION app.learn_work_rates() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp
-- The caller has switched these off.
SET jit = off SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on
AS $$
BEGIN
    DELETE FROM stage_samples WHERE id IN (
        SELECT s.id FROM (SELECT n.id, row_number() OVER (PARTITION BY n.stage, n.media_type ORDER BY n.id DESC) AS age
                          FROM stage_samples n) s WHERE s.age > 30);
    WITH numbered AS (
        SELECT s.*, row_number() OVER (PARTITION BY s.stage, s.format ORDER BY s.id DESC) AS age
        FROM (SELECT n.*, n.media_type AS format FROM stage_samples n WHERE n.media_type <> ''
              UNION ALL SELECT n.*, '' FROM stage_samples n) s
    ), newest AS (
        SELECT * FROM numbered WHERE age <= 30
    ), slopes AS (
        SELECT a.stage, a.format, count(*) AS pairs,
               greatest(percentile_cont(0.5) WITHIN GROUP (
                   ORDER BY (a.work_seconds - b.work_seconds) / (a.audio_seconds - b.audio_seconds)), 0) AS slope
        FROM newest a JOIN newest b ON b.stage = a.stage AND b.format = a.format AND a.audio_seconds >= 1.5 * b.audio_seconds
        GROUP BY a.stage, a.format
    ), ratios AS (
        SELECT n.stage, n.format, count(*) AS samples,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY n.work_seconds / n.audio_seconds) AS ratio,
               percentile_cont(0.5) WITHIN GROUP (
                   ORDER BY coalesce(n.half_seconds / nullif(n.work_seconds, 0), 1)) AS half,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY n.audio_seconds / nullif(n.bytes, 0)) AS per_byte,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY n.audio_seconds) AS usual
        FROM newest n GROUP BY n.stage, n.format HAVING count(*) >= 3
    ), lines AS (
        SELECT r.*, s.slope,
               (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n.work_seconds - s.slope * n.audio_seconds)
                FROM newest n WHERE n.stage = r.stage AND n.format = r.format) AS base
        FROM ratios r LEFT JOIN slopes s ON s.stage = r.stage AND s.format = r.format AND s.pairs >= 5
    ), fits AS (
        -- The last step makes the median of the ratios between the newest times and the model 1: the load of the machine, or a
        -- better one, shows within a few sessions.
        SELECT l.*, m.fixed * k.factor AS fixed, m.rate * k.factor AS rate
        FROM lines l
        CROSS JOIN LATERAL (SELECT CASE WHEN l.base >= 0 THEN l.base ELSE 0 END,
                                   CASE WHEN l.base >= 0 THEN l.slope ELSE l.ratio END) AS m (fixed, rate)
        CROSS JOIN LATERAL (
            SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (
                ORDER BY n.work_seconds / nullif(m.fixed + m.rate * n.audio_seconds, 0)), 1)
            FROM newest n WHERE n.stage = l.stage AND n.format = l.format AND n.age <= 7) AS k (factor)
    ), lately AS (
        SELECT min(l.at) AS since, count(*) AS sessions
        FROM (SELECT n.at FROM newest n WHERE n.stage = 'transcribing' AND n.format = '' ORDER BY n.id DESC LIMIT 10) l
    ), stages AS (
        -- Every session is transcribed. Another stage is usual if at least half of the last ten sessions went through it.
        SELECT f.stage, 2 * (SELECT count(*) FROM newest n
                             WHERE n.stage = f.stage AND n.format = '' AND n.at >= l.since) >= l.sessions AS is_usual
        FROM fits f CROSS JOIN lately l WHERE f.format = ''
        UNION ALL SELECT 'pending', false
    ), formats AS (
        SELECT f.format, f.per_byte, f.usual FROM fits f WHERE f.stage = 'transcribing'
    ), wholes AS (
        SELECT s.stage, o.format, coalesce(own.samples, other.samples, 0) AS samples,
               coalesce(own.fixed, other.fixed, 0) AS fixed, coalesce(own.rate, other.rate, 0) AS rate,
               CASE WHEN coalesce(own.half, other.half) BETWEEN 0.3 AND 0.7 THEN coalesce(own.half, other.half) END AS half,
               s.is_usual, o.per_byte, o.usual
        FROM stages s CROSS JOIN formats o
        LEFT JOIN fits own ON own.stage = s.stage AND own.format = o.format
        LEFT JOIN fits other ON other.stage = s.stage AND other.format = ''
    ), rates AS (
        SELECT w.stage, w.format, w.samples, w.fixed, w.rate, w.half, w.per_byte, w.usual,
               coalesce(sum(w.fixed) FILTER (WHERE w.is_usual) OVER later, 0) AS rest_fixed,
               coalesce(sum(w.rate) FILTER (WHERE w.is_usual) OVER later, 0) AS rest_rate
        FROM wholes w
        WINDOW later AS (PARTITION BY w.format ORDER BY stage_order(w.stage) DESC ROWS BETWEEN UNBOUNDED PRECEDING
                         AND 1 PRECEDING)
    )
    INSERT INTO work_rates AS present (
        stage, media_type, samples, fixed_seconds, seconds_per_second, rest_fixed_seconds, rest_per_second, half_share,
        seconds_per_byte, usual_seconds)
    SELECT r.stage, r.format, r.samples, r.fixed, r.rate, r.rest_fixed, r.rest_rate, r.half,
           CASE WHEN r.format <> '' THEN r.per_byte END, r.usual
    FROM rates r
    ON CONFLICT (stage, media_type) DO UPDATE
    SET samples = excluded.samples, fixed_seconds = excluded.fixed_seconds, seconds_per_second = excluded.seconds_per_second,
        rest_fixed_seconds = excluded.rest_fixed_seconds, rest_per_second = excluded.rest_per_second,
        half_share = excluded.half_share, seconds_per_byte = excluded.seconds_per_byte,
        usual_seconds = excluded.usual_seconds;
END
$$;
COMMENT ON FUNCTION app.learn_work_rates IS
    'Makes app.work_rates from the newest samples: by stage and format where there are at least three, and by stage for all '
    'formats. A stage with fewer samples has no row. Deletes the samples that are too old to count';

CREATE OR REPLACE FUNCTION app.expected_work(
    stage text, media_type text, bytes bigint, audio_seconds double precision, has_recording boolean)
RETURNS TABLE (stage_seconds real, rest_seconds real, half_share real)
LANGUAGE sql STABLE AS $$
    SELECT (w.fixed_seconds + w.seconds_per_second * a.seconds)::real,
           (w.rest_fixed_seconds + w.rest_per_second * a.seconds)::real, w.half_share::real
    FROM app.work_rates w
    CROSS JOIN LATERAL (
        SELECT coalesce(least($4, CASE WHEN $4 IS NOT NULL THEN 1e7 END), $3 * w.seconds_per_byte,
                        CASE WHEN $5 THEN w.usual_seconds END)) AS a (seconds)
    WHERE w.stage = $1 AND w.media_type IN ($2, '')
    ORDER BY w.media_type DESC LIMIT 1
$$;
COMMENT ON FUNCTION app.expected_work IS
    'How long a stage takes, and the usual stages after it, by the rates of the format or else of all formats. Before a '
    'recording is measured, its length follows from its size. No row or nulls: too little is known. PostgreSQL inlines this '
    'function, because it has no settings of its own';

CREATE OR REPLACE FUNCTION app.stage_share(status text, progress smallint) RETURNS double precision
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE $1 WHEN 'transcribing' THEN ($2 - 20) / 40.0::double precision
                   WHEN 'diarizing' THEN ($2 - 55) / 5.0::double precision
                   WHEN 'extracting_notes' THEN ($2 - 60) / 35.0::double precision END
$$;
COMMENT ON FUNCTION app.stage_share IS
    'Which part of a stage is done, by the percentages that the worker uses; null: the stage has none. PostgreSQL inlines this '
    'function';

-- Most reports without an estimate run one of the two functions that follow. Each is one expression, which PostgreSQL inlines if
-- its arguments are variables.
CREATE OR REPLACE FUNCTION app.remaining_by_time(
    elapsed double precision, stage_seconds double precision, rest_seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 <= 3 * $2 + 60 THEN ceil(least($3 + greatest($2 - $1, 0.1 * $1), 2e9))::integer END
$$;
COMMENT ON FUNCTION app.remaining_by_time IS
    'The estimate after some seconds of a stage whose percentages do not tell the time: the expected time less the elapsed one, '
    'at least a tenth of the elapsed one, and null when the stage takes more than three times as long as expected';

CREATE OR REPLACE FUNCTION app.remaining_by_share(
    elapsed double precision, stage_seconds double precision, rest_seconds double precision, share double precision,
    half_share double precision) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT ceil(least($3 + CASE
        WHEN $4 < 0.5 THEN $2 * (1 - 2 * $5 * $4) * (1 - 2 * $4 + least($1 / greatest($5 * $2, 0.001), 6 * $4))
        WHEN $4 < 1 THEN $1 * (1 / ($5 + (2 * $4 - 1) * (1 - $5)) - 1)
        ELSE 0 END, 2e9))::integer
$$;
COMMENT ON FUNCTION app.remaining_by_share IS
    'The estimate after some seconds of a stage, from the share of it that is done: the expected time of the rest, corrected by '
    'the pace so far, whose weight grows from nothing to all at half the way. The pace counts at most threefold until then';

CREATE OR REPLACE FUNCTION app.remaining_seconds(
    elapsed double precision, stage_seconds double precision, rest_seconds double precision, share double precision,
    half_share double precision) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $5 IS NOT NULL AND $4 > 0 THEN app.remaining_by_share($1, $2, $3, $4, $5)
                ELSE app.remaining_by_time($1, $2, $3) END
$$;
COMMENT ON FUNCTION app.remaining_seconds IS
    'The estimate after some seconds of a stage: by share if its percentages tell the time and its work has begun, else by time';

-- The two functions that follow complete a row that app.guard_progress is about to write.
CREATE OR REPLACE FUNCTION app.estimate_without_stage(
    before app.session_progress, after app.session_progress, is_change boolean) RETURNS app.session_progress
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (app.is_waiting(after.status) OR app.is_at_stage(after.status)) THEN
        -- A finished session has no estimate.
        after.estimated_time_remaining := NULL;
    ELSIF after.is_estimate_told
        OR after.estimated_time_remaining <> coalesce(before.estimated_time_remaining, -1) THEN
        NULL; -- The writer has estimated.
    ELSIF NOT is_change AND NOT (before.is_estimate_told AND before.estimated_time_remaining IS NOT NULL) THEN
        after.estimated_time_remaining := before.estimated_time_remaining;
    ELSIF after.status = 'pending' THEN
        SELECT q.own, q.estimate INTO after.stage_seconds, after.estimated_time_remaining
        FROM app.pending_estimate(after.session_id) q;
    ELSE
        after.estimated_time_remaining := NULL;
    END IF;
    RETURN after;
END
$$;
COMMENT ON FUNCTION app.estimate_without_stage IS
    'The row with its estimate, if no stage runs and the status stays: what the writer has told, else the estimate in the queue; '
    'none for a finished session and during the upload';

CREATE OR REPLACE FUNCTION app.estimate_at_transition(
    before app.session_progress, after app.session_progress, is_finished boolean, is_takeover boolean)
RETURNS app.session_progress
LANGUAGE plpgsql AS $$
BEGIN
    -- What a former worker told does not hold any more. A report tells with the transition itself.
    IF is_finished OR is_takeover THEN
        after.is_estimate_told := false;
    END IF;
    IF app.is_at_stage(after.status) THEN
        -- No table is read here. The next refresh tells this stage and the following ones apart.
        IF is_takeover THEN
            after.stage_half_at := '-infinity';
        ELSE
            IF before.rest_seconds IS NOT NULL THEN
                after.stage_seconds := before.rest_seconds;
            ELSIF before.stage_began_at IS NOT NULL AND before.stage_seconds IS NOT NULL THEN
                after.stage_seconds := greatest(
                    before.stage_seconds - date_part('epoch', after.updated_at - before.stage_began_at), 0);
            END IF;
            after.stage_half_at := NULL;
            after.rest_seconds := NULL;
            after.half_share := NULL;
        END IF;
        after.stage_began_at := after.updated_at;
        IF NOT after.is_estimate_told THEN
            after.estimated_time_remaining := app.remaining_seconds(
                0, after.stage_seconds, coalesce(after.rest_seconds, 0), NULL, NULL);
        END IF;
        RETURN after;
    END IF;
    after.stage_began_at := NULL;
    after.stage_half_at := NULL;
    after.rest_seconds := NULL;
    after.half_share := NULL;
    IF after.status <> 'pending' THEN
        after.stage_seconds := NULL;
        after.estimated_time_remaining := CASE WHEN after.is_estimate_told THEN after.estimated_time_remaining END;
    ELSIF is_takeover THEN
        after.estimated_time_remaining := app.remaining_seconds(0, after.stage_seconds, 0, NULL, NULL);
    ELSIF NOT after.is_estimate_told THEN
        SELECT q.own, q.estimate INTO after.stage_seconds, after.estimated_time_remaining
        FROM app.pending_estimate(after.session_id) q;
    END IF;
    RETURN after;
END
$$;
COMMENT ON FUNCTION app.estimate_at_transition IS
    'The row with its estimate and what is expected of the stage that begins. A new stage has what the last one left; a takeover '
    'begins the same stage anew; a session that is finished or uploading expects nothing';

REVOKE ALL ON FUNCTION app.stage_order, app.learn_from_transitions, app.learn_work_rates, app.expected_work, app.stage_share,
    app.remaining_by_time, app.remaining_by_share, app.remaining_seconds, app.estimate_without_stage, app.estimate_at_transition
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
