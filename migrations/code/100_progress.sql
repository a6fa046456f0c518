-- Progress: the state machine, which binds every writer, and the reports of workers, pipelines and people in psql.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('100_progress', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.session_progress;
CREATE POLICY owner ON app.session_progress TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.session_events;
CREATE POLICY owner ON app.session_events TO therapybridge_owner USING (true) WITH CHECK (true);

-- A user who sees a session sees its progress: the policies of therapy_sessions apply inside these subqueries.
DROP POLICY IF EXISTS seen ON app.session_progress;
CREATE POLICY seen ON app.session_progress FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
DROP POLICY IF EXISTS seen ON app.session_events;
CREATE POLICY seen ON app.session_events FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));

REVOKE ALL ON app.statuses, app.status_transitions, app.session_progress, app.session_events
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.statuses, app.status_transitions, app.session_progress, app.session_events TO therapybridge_server;

-- The function has no search_path and needs none. PostgreSQL therefore inlines it into the guard, where a call would take an
-- eighth of the time of a report.
--
-- The characters are those of Swift's Unicode.Scalar.mayBeShown, and a test compares the two: control characters (C0, DEL, C1),
-- the characters that control the direction of writing (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069), and the
-- line and paragraph separators (U+2028, U+2029).
CREATE OR REPLACE FUNCTION app.one_line(words text) RETURNS text
LANGUAGE sql IMMUTABLE AS
$$ SELECT pg_catalog.left(pg_catalog.regexp_replace(
       $1, '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+', ' ', 'g'), 2000) $$;
COMMENT ON FUNCTION app.one_line IS
    'The text as one line that may be shown: a space replaces control characters, line ends and characters that change the '
    'direction of writing. At most 2,000 characters';

CREATE OR REPLACE FUNCTION app.error_line(error text, message text) RETURNS text
LANGUAGE sql IMMUTABLE AS
$$ SELECT coalesce(nullif(app.one_line($1), ''), nullif($2, ''), 'Processing failed') $$;
COMMENT ON FUNCTION app.error_line IS
    'The error of a failed session as one line: the given one, else its message, else a fixed text';

-- The two functions that follow ask no table: reports of percentages call them. PostgreSQL inlines both. A test compares them
-- with app.statuses.
CREATE OR REPLACE FUNCTION app.is_waiting(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT $1 IN ('uploading', 'pending') $$;
COMMENT ON FUNCTION app.is_waiting IS
    'True if a session with this status waits for its recording or for a worker: no stage has begun';

CREATE OR REPLACE FUNCTION app.is_at_stage(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT NOT app.is_waiting($1) AND $1 NOT IN ('processed', 'failed') $$;
COMMENT ON FUNCTION app.is_at_stage IS
    'True if a session with this status is with a worker: it neither waits (app.is_waiting) nor is finished';

CREATE OR REPLACE FUNCTION app.guard_transition(before app.session_progress, after app.session_progress)
RETURNS app.session_progress
LANGUAGE plpgsql AS $$
DECLARE
    was_finished boolean := false;
    is_finished boolean;
    entry_floor smallint;
    has_transcript boolean;
BEGIN
    IF after.session_id <> before.session_id THEN
        RAISE EXCEPTION 'progress cannot move to another session'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'session_of_progress_fixed';
    END IF;
    IF after.attempt < before.attempt THEN
        RETURN NULL;
    END IF;
    IF after.status <> before.status THEN
        SELECT t.is_finished, t.floor INTO is_finished, entry_floor
        FROM app.status_transitions m JOIN app.statuses t ON t.status = m.to_status
        WHERE m.from_status = before.status AND m.to_status = after.status;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a session that is % cannot become %', before.status, after.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'transition_not_allowed',
                    DETAIL = json_build_object('from', before.status, 'to', after.status);
        END IF;
        -- A finished session can only become pending.
        IF after.status = 'pending' THEN
            was_finished := (SELECT s.is_finished FROM app.statuses s WHERE s.status = before.status);
        END IF;
        IF was_finished THEN
            -- A retry. A session with a recording keeps the share of the upload, which is the floor of pending.
            after.attempt := before.attempt + 1;
            after.progress := CASE WHEN EXISTS (SELECT FROM app.therapy_sessions
                                                WHERE id = after.session_id AND recording IS NOT NULL)
                                   THEN entry_floor ELSE 0 END;
            after.segments := 0;
        ELSE
            -- A finished session has at least the floor of its status: 100 for processed, and the present progress for failed.
            after.progress := greatest(after.progress, before.progress, CASE WHEN is_finished THEN entry_floor END);
        END IF;
    ELSE
        -- A takeover by another worker: the same status, the next attempt.
        SELECT s.is_finished, s.floor, s.has_transcript INTO is_finished, entry_floor, has_transcript
        FROM app.statuses s WHERE s.status = before.status;
        IF is_finished THEN
            RAISE EXCEPTION 'a session that is % cannot be taken over', before.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'takeover_of_finished',
                    DETAIL = json_build_object('status', before.status);
        END IF;
        after.progress := entry_floor;
        IF NOT has_transcript THEN
            after.segments := 0;
        END IF;
    END IF;
    IF after.attempt > before.attempt + 1 THEN
        RAISE EXCEPTION 'the attempt after % is %', before.attempt, before.attempt + 1
            USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_skipped',
                DETAIL = json_build_object('present', before.attempt::text, 'next', (before.attempt + 1)::text);
    END IF;
    after.message := app.one_line(after.message);
    after.error := CASE WHEN after.status = 'failed' THEN app.error_line(after.error, after.message) END;
    after.version := before.version + 1;
    after.created_at := before.created_at;
    -- A newer version never has an earlier time, even after the clock was set back.
    after.updated_at := greatest(clock_timestamp(), before.updated_at);
    -- Every transition is announced at once. The trigger app.announce_progress looks for another time.
    after.notified_at := coalesce(nullif(clock_timestamp(), before.notified_at), before.notified_at + interval '1 microsecond');
    RETURN app.estimate_at_transition(before, after, is_finished, after.attempt > before.attempt AND NOT was_finished);
END
$$;
COMMENT ON FUNCTION app.guard_transition IS
    'Checks a change of status or attempt against the state machine (23514), and returns the row with the progress, attempt, '
    'version, times and estimate that follow from it. Null: the attempt is an earlier one, and the UPDATE is dropped';

-- Every report runs this function. In each transaction, PL/pgSQL prepares each expression that it meets anew, with every operator
-- in it, also of the branches that it does not take. A percentage therefore meets few expressions, and arithmetic stands in
-- branches of its own. A function that sets search_path takes several microseconds more. All names are therefore qualified. Only
-- functions of the owner write to session_progress.
CREATE OR REPLACE FUNCTION app.guard_progress() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    is_change boolean;
    elapsed double precision;
    share double precision;
BEGIN
    IF NEW.status <> OLD.status OR NEW.attempt <> OLD.attempt OR NEW.session_id <> OLD.session_id THEN
        RETURN app.guard_transition(OLD, NEW);
    ELSIF NEW.progress < OLD.progress THEN
        RETURN NULL;
    END IF;
    NEW.message := app.one_line(NEW.message);
    IF NEW.error IS NOT NULL OR OLD.error IS NOT NULL THEN
        NEW.error := CASE WHEN NEW.status = 'failed' THEN app.error_line(NEW.error, NEW.message) END;
    END IF;
    -- An UPDATE that sets the time says that the session has other segments, be they as many as before.
    is_change := NEW.progress <> OLD.progress OR NEW.segments <> OLD.segments OR NEW.updated_at <> OLD.updated_at
        OR NEW.message IS DISTINCT FROM OLD.message OR NEW.error IS DISTINCT FROM OLD.error;
    IF NEW.stage_began_at IS NULL THEN
        IF NEW.status = 'processed' AND NEW.segments = OLD.segments THEN
            RETURN NULL;
        END IF;
        NEW := app.estimate_without_stage(OLD, NEW, is_change);
    ELSIF NEW.is_estimate_told OR NEW.estimated_time_remaining <> coalesce(OLD.estimated_time_remaining, -1) THEN
        NULL; -- The writer has estimated.
    ELSIF NOT is_change AND NOT (OLD.is_estimate_told AND OLD.estimated_time_remaining IS NOT NULL) THEN
        -- Time alone changes no estimate here: a report that repeats the last one is stale.
        NEW.estimated_time_remaining := OLD.estimated_time_remaining;
    ELSIF NEW.stage_seconds IS NULL THEN
        NEW.estimated_time_remaining := NULL;
    ELSE
        elapsed := date_part('epoch', present - NEW.stage_began_at);
        IF NEW.half_share IS NOT NULL THEN
            share := app.stage_share(NEW.status, NEW.progress);
        END IF;
        IF share > 0 THEN
            NEW.estimated_time_remaining := app.remaining_by_share(
                elapsed, NEW.stage_seconds, coalesce(NEW.rest_seconds, 0), share, NEW.half_share);
        ELSE
            NEW.estimated_time_remaining := app.remaining_by_time(elapsed, NEW.stage_seconds, coalesce(NEW.rest_seconds, 0));
        END IF;
    END IF;
    IF NOT is_change AND NEW.estimated_time_remaining IS NOT DISTINCT FROM OLD.estimated_time_remaining THEN
        -- What is expected of the stage is no part of the progress object, and no new version.
        IF (NEW.stage_seconds, NEW.rest_seconds) IS NOT DISTINCT FROM (OLD.stage_seconds, OLD.rest_seconds) THEN
            RETURN NULL;
        END IF;
        NEW.version := OLD.version;
        NEW.created_at := OLD.created_at;
        NEW.notified_at := OLD.notified_at;
        RETURN NEW;
    END IF;
    IF NEW.stage_half_at IS NULL AND NEW.stage_began_at IS NOT NULL AND NEW.progress <> OLD.progress THEN
        NEW.stage_half_at := CASE WHEN app.stage_share(NEW.status, NEW.progress) >= 0.5 THEN present END;
    END IF;
    NEW.version := OLD.version + 1;
    NEW.created_at := OLD.created_at;
    -- A newer version never has an earlier time, even after the clock was set back.
    NEW.updated_at := greatest(present, OLD.updated_at);
    -- A percentage is announced only if the last announcement of the session is 500 ms old, because every announcement takes a
    -- lock of the whole cluster until its commit is on disk. The server reads the session again some time after each
    -- announcement, so the last percentage is not lost. A time in the future means that the clock was set back.
    NEW.notified_at := CASE WHEN present >= OLD.notified_at AND present < OLD.notified_at + interval '500 ms'
                            THEN OLD.notified_at ELSE present END;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION app.guard_progress IS
    'Trigger: calls app.guard_transition for each UPDATE of session_progress that changes status or attempt. For any other, it '
    'sets version and times, estimates the remaining time unless the writer did, and decides whether to announce the change. It '
    'drops an UPDATE that is stale, goes back or changes nothing';
CREATE OR REPLACE TRIGGER guard_progress BEFORE UPDATE ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.guard_progress();

CREATE OR REPLACE FUNCTION app.create_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_progress (session_id, created_at) VALUES (NEW.id, NEW.created_at);
    IF NEW.probe_of IS NOT NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO session_list (session_id, patient_id, status, created_at, held_at, filename)
    VALUES (NEW.id, NEW.patient_id, 'pending', NEW.created_at, coalesce(NEW.session_date, NEW.created_at),
            convert_to(searchable(NEW.filename), 'UTF8'));
    INSERT INTO session_count_changes (patient_id, held_at, entered_status)
    VALUES (NEW.patient_id, coalesce(NEW.session_date, NEW.created_at), 'pending');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.create_progress IS
    'Trigger: gives a new session its progress (pending, 0 per cent, version 1) and its row in session_list, and counts it. A probe '
    'gets its progress alone';
CREATE OR REPLACE TRIGGER create_progress AFTER INSERT ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.create_progress();

CREATE OR REPLACE FUNCTION app.record_transition() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    worked double precision;
    half double precision;
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.stage_began_at IS NOT NULL AND NEW.attempt = OLD.attempt AND NEW.status <> 'failed'
        AND OLD.stage_half_at IS DISTINCT FROM '-infinity' THEN
        worked := date_part('epoch', NEW.updated_at - OLD.stage_began_at);
        half := date_part('epoch', OLD.stage_half_at - OLD.stage_began_at);
    END IF;
    INSERT INTO session_events (session_id, version, attempt, status, progress, message, error, segments, worked_seconds,
                                half_seconds, at)
    VALUES (NEW.session_id, NEW.version, NEW.attempt, NEW.status, NEW.progress, NEW.message, NEW.error, NEW.segments,
            worked, half, NEW.updated_at);
    IF TG_OP = 'UPDATE' AND NEW.status <> OLD.status THEN
        WITH moved AS (
            UPDATE session_list l SET status = NEW.status WHERE l.session_id = NEW.session_id
            RETURNING l.patient_id, l.held_at
        )
        INSERT INTO session_count_changes (patient_id, held_at, left_status, entered_status)
        SELECT m.patient_id, m.held_at, OLD.status, NEW.status FROM moved m;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_transition IS
    'Trigger: adds the first state and every transition to session_events, with how long the stage took that it ended, and '
    'keeps session_list and the counts current';
CREATE OR REPLACE TRIGGER record_first AFTER INSERT ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.record_transition();
CREATE OR REPLACE TRIGGER record_transition AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN ((OLD.status, OLD.attempt) IS DISTINCT FROM (NEW.status, NEW.attempt))
    EXECUTE FUNCTION app.record_transition();

CREATE OR REPLACE FUNCTION app.is_stale(
    present app.session_progress, status text, progress integer, message text, error text, estimate integer,
    attempt integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT coalesce($7 < $1.attempt, false)
        OR $2 = $1.status AND ($3 < $1.progress OR $1.status = 'processed'
            OR ($3, w.message, CASE WHEN $2 = 'failed' THEN error_line(coalesce($5, $1.error), w.message) END,
                -- Without an estimate, the one of the database stays.
                CASE WHEN s.is_finished THEN NULL
                     WHEN $6 IS NULL AND NOT $1.is_estimate_told THEN $1.estimated_time_remaining ELSE $6 END)
               IS NOT DISTINCT FROM ($1.progress::integer, $1.message, $1.error, $1.estimated_time_remaining))
    FROM (SELECT one_line(coalesce($4, $1.message))) AS w (message), statuses s WHERE s.status = $1.status
$$;
COMMENT ON FUNCTION app.is_stale IS
    'True if a report of the present attempt or an earlier one changes nothing: app.guard_progress would drop it. Only a report '
    'whose lease is wrong needs this question, because it must not reach the guard';

-- Every report about such a session runs this function, and a function with settings or in SQL would take several times as long.
-- All names are therefore qualified. Most reports end at the first question.
CREATE OR REPLACE FUNCTION app.pipeline_fault(
    session_id uuid, present text, next text, caller uuid DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    is_early CONSTANT boolean := app.is_waiting($2);
BEGIN
    IF is_early THEN
        -- An upload may still bring the recording.
        IF NOT EXISTS (SELECT FROM app.therapy_sessions t
                       WHERE t.id = $1 AND t.recording IS NULL AND t.upload_id IS NOT NULL
                         AND app.is_upload_alive(t.upload_id)) THEN
            RETURN NULL;
        END IF;
    ELSIF $3 <> 'pending' THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM app.users u WHERE u.id = $4 AND app.permits(u.role, 'manage')) THEN
        RETURN NULL;
    END IF;
    RETURN CASE WHEN is_early THEN 'upload_unfinished' ELSE 'transition_not_allowed' END;
END
$$;
COMMENT ON FUNCTION app.pipeline_fault IS
    'Why a pipeline may not report the status "next" about a session that is uploading, pending, processed or failed: its upload '
    'is unfinished, or the report would be a retry; null: it may, or the caller is an administrator';

CREATE OR REPLACE FUNCTION app.check_pipeline_report(session_id uuid, present text, next text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    fault CONSTANT text := pipeline_fault($1, $2, $3);
BEGIN
    IF fault = 'upload_unfinished' THEN
        RAISE EXCEPTION 'the upload of the session is unfinished'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'upload_unfinished';
    ELSIF fault IS NOT NULL THEN
        RAISE EXCEPTION 'a session that is % cannot become %', $2, $3
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transition_not_allowed',
                DETAIL = json_build_object('from', $2, 'to', $3);
    END IF;
END
$$;
COMMENT ON FUNCTION app.check_pipeline_report IS 'Raises 23514 for a result of app.pipeline_fault';

CREATE OR REPLACE FUNCTION app.report_progress(
    session_id uuid, status text, progress integer, message text DEFAULT NULL, error text DEFAULT NULL,
    estimated_time_remaining integer DEFAULT NULL, attempt integer DEFAULT NULL, lease text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present_status text;
    present_attempt integer;
    present_version bigint;
    needs_lease boolean := (SELECT s.needs_lease FROM statuses s WHERE s.status = $2);
    fault text;
    result bigint;
BEGIN
    -- One question for a report without a fault.
    IF needs_lease IS NULL OR $3 IS NULL OR $3 NOT BETWEEN 0 AND 100 OR $6 < 0 OR $7 < 1 THEN
        IF needs_lease IS NULL THEN
            RAISE EXCEPTION 'status: is not a known status'
                USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'unknown_status', COLUMN = 'status';
        ELSIF $3 IS NULL OR $3 NOT BETWEEN 0 AND 100 THEN
            RAISE EXCEPTION 'progress: has to be between 0 and 100'
                USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'progress_out_of_range', COLUMN = 'progress';
        ELSIF $6 < 0 THEN
            RAISE EXCEPTION 'estimated_time_remaining: cannot be negative'
                USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'estimate_negative',
                    COLUMN = 'estimated_time_remaining';
        END IF;
        RAISE EXCEPTION 'attempt: has to be at least 1'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'attempt_out_of_range', COLUMN = 'attempt';
    END IF;
    SELECT p.status, p.attempt, p.version INTO present_status, present_attempt, present_version
    FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session'
            USING ERRCODE = 'no_data_found', CONSTRAINT = 'unknown_session';
    END IF;
    IF $7 <> present_attempt THEN
        IF $7 < present_attempt THEN
            RETURN present_version;
        END IF;
        RAISE EXCEPTION 'attempt % has not begun', $7
            USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_not_begun',
                DETAIL = json_build_object('attempt', $7::text);
    END IF;
    -- Most reports are percentages of a stage. They need no look at the upload.
    IF NOT is_at_stage(present_status) AND is_pipeline_calling() THEN
        PERFORM check_pipeline_report($1, present_status, $2);
    END IF;
    -- Most reports are percentages without a lease. They need no look at the queue.
    IF $8 IS NOT NULL OR needs_lease AND NOT is_owner_calling() THEN
        fault := lease_fault(standing_lease($1), $8, needs_lease);
        IF fault IS NOT NULL THEN
            IF (SELECT is_stale(p, $2, $3, $4, $5, $6, $7) FROM session_progress p WHERE p.session_id = $1) THEN
                RETURN present_version;
            END IF;
            PERFORM raise_lease_fault(fault);
        END IF;
    END IF;
    UPDATE session_progress p SET
        status = $2,
        progress = $3,
        -- A report without a message keeps the message of its status. A message does not fit another status.
        message = coalesce($4, CASE WHEN p.status = $2 THEN p.message END),
        error = coalesce($5, CASE WHEN p.status = $2 THEN p.error END),
        estimated_time_remaining = $6,
        is_estimate_told = $6 IS NOT NULL
    WHERE p.session_id = $1
    RETURNING p.version INTO result;
    RETURN coalesce(result, present_version);
END
$$;
COMMENT ON FUNCTION app.report_progress IS
    'Reports progress and returns the version afterwards; a stale report changes nothing. Raises 23514 if the state machine '
    'forbids the report, or a pipeline reports while the upload is unfinished or would retry a session; 42501 without the lease '
    'that it needs, or with one that does not stand; 22023 for a value out of range; P0002 for an unknown session';

REVOKE ALL ON FUNCTION app.one_line, app.error_line, app.is_waiting, app.is_at_stage, app.guard_transition, app.guard_progress,
    app.create_progress,
    app.record_transition, app.is_stale, app.pipeline_fault, app.check_pipeline_report, app.report_progress
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.report_progress TO therapybridge_server, therapybridge_pipeline;

COMMIT;
