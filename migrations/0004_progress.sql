-- The progress of each session and the state machine that every writer is held to: our worker, a pipeline in another
-- language, or a person in psql.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.statuses (
    status      text PRIMARY KEY,
    floor       smallint NOT NULL CHECK (floor BETWEEN 0 AND 100),
    is_finished boolean NOT NULL
);
COMMENT ON COLUMN app.statuses.floor IS 'Where a worker that takes a session over in this status begins, per cent';
INSERT INTO app.statuses (status, floor, is_finished) VALUES
    ('uploading', 0, false), ('pending', 20, false), ('preprocessing', 20, false), ('transcribing', 20, false),
    ('diarizing', 55, false), ('transcribed', 60, false), ('extracting_notes', 60, false), ('processed', 100, true),
    ('failed', 0, true);

CREATE TABLE app.status_transitions (
    from_status text NOT NULL REFERENCES app.statuses,
    to_status   text NOT NULL REFERENCES app.statuses,
    PRIMARY KEY (from_status, to_status)
);
COMMENT ON TABLE app.status_transitions IS 'The state machine: what is not here is refused, whoever writes';
INSERT INTO app.status_transitions (from_status, to_status) VALUES
    ('pending', 'uploading'), ('uploading', 'pending'),
    ('pending', 'preprocessing'), ('pending', 'transcribing'), ('preprocessing', 'transcribing'),
    ('transcribing', 'diarizing'), ('transcribing', 'transcribed'), ('diarizing', 'transcribed'),
    ('transcribed', 'extracting_notes'), ('transcribed', 'processed'), ('extracting_notes', 'processed'),
    ('uploading', 'failed'), ('pending', 'failed'), ('preprocessing', 'failed'), ('transcribing', 'failed'),
    ('diarizing', 'failed'), ('transcribed', 'failed'), ('extracting_notes', 'failed'),
    ('failed', 'pending');

-- The hot row. It has no index but its key and half of each page is free, so that an update stays on its page (HOT).
CREATE TABLE app.session_progress (
    session_id               uuid PRIMARY KEY REFERENCES app.therapy_sessions ON DELETE CASCADE,
    status                   text NOT NULL DEFAULT 'pending',
    progress                 smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    message                  text,
    error                    text,
    estimated_time_remaining integer CHECK (estimated_time_remaining >= 0),
    version                  bigint NOT NULL DEFAULT 1,
    attempt                  integer NOT NULL DEFAULT 1,
    created_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    notified_at              timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON COLUMN app.session_progress.version IS 'Starts at 1; the guard adds one for every change';
COMMENT ON COLUMN app.session_progress.notified_at IS 'When this session was last announced; a percentage waits 500 ms';

-- Whoever writes progress holds this row's lock. What is written with it refers to this row and not to the session, whose
-- lock a deletion holds while it waits for this one: the two would wait for each other in a ring.
CREATE TABLE app.session_events (
    session_id uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    version    bigint NOT NULL,
    attempt    integer NOT NULL,
    status     text NOT NULL,
    progress   smallint NOT NULL,
    message    text,
    error      text,
    at         timestamptz NOT NULL,
    PRIMARY KEY (session_id, version)
);
COMMENT ON TABLE app.session_events IS 'Each transition of each session, never changed: what Last-Event-ID replays';

-- Words for people go into one line of an event stream and of a log: no control characters, and not without end.
CREATE FUNCTION app.one_line(words text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT left(regexp_replace(words, '[\x01-\x1f\x7f]+', ' ', 'g'), 2000) $$;

-- The guard. It holds every write to the state machine, counts the version and decides whether to announce it. What
-- changes nothing, comes late or goes back is dropped (the trigger returns null), so that nobody is told.
CREATE FUNCTION app.guard_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    is_transition boolean;
BEGIN
    IF NEW.session_id <> OLD.session_id THEN
        RAISE EXCEPTION 'progress cannot move to another session' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        RETURN NULL;
    END IF;
    is_transition := (NEW.status, NEW.attempt) IS DISTINCT FROM (OLD.status, OLD.attempt);

    IF NEW.status <> OLD.status THEN
        IF NOT EXISTS (SELECT FROM status_transitions WHERE from_status = OLD.status AND to_status = NEW.status) THEN
            RAISE EXCEPTION 'a session that is % cannot become %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.status = 'failed' THEN
            NEW.attempt := OLD.attempt + 1;
            -- The share of the upload is kept, when there is an upload.
            NEW.progress := CASE WHEN EXISTS (SELECT FROM therapy_sessions
                                              WHERE id = NEW.session_id AND recording IS NOT NULL)
                                 THEN 20 ELSE 0 END;
        ELSE
            NEW.progress := CASE WHEN NEW.status = 'processed' THEN 100
                                 ELSE greatest(NEW.progress, OLD.progress) END;
        END IF;
    ELSIF NEW.attempt > OLD.attempt THEN
        -- A worker takes the session over: same status, next attempt.
        IF OLD.status IN ('processed', 'failed') THEN
            RAISE EXCEPTION 'a session that is % cannot be taken over', OLD.status USING ERRCODE = 'check_violation';
        END IF;
        NEW.progress := (SELECT floor FROM statuses WHERE status = OLD.status);
    ELSIF NEW.progress < OLD.progress OR OLD.status = 'processed' THEN
        RETURN NULL;
    END IF;
    IF NEW.attempt > OLD.attempt + 1 THEN
        RAISE EXCEPTION 'the attempt after % is %', OLD.attempt, OLD.attempt + 1 USING ERRCODE = 'check_violation';
    END IF;

    NEW.message := one_line(NEW.message);
    NEW.error := CASE WHEN NEW.status = 'failed'
                      THEN coalesce(nullif(one_line(NEW.error), ''), nullif(NEW.message, ''), 'Processing failed') END;
    IF NEW.status IN ('processed', 'failed') THEN
        NEW.estimated_time_remaining := NULL;
    END IF;
    IF NOT is_transition
        AND (NEW.progress, NEW.message, NEW.error, NEW.estimated_time_remaining)
            IS NOT DISTINCT FROM (OLD.progress, OLD.message, OLD.error, OLD.estimated_time_remaining) THEN
        RETURN NULL;
    END IF;

    NEW.version := OLD.version + 1;
    NEW.created_at := OLD.created_at;
    -- A clock that was set back does not make a version older than the one before it.
    NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at);
    -- Every announcement takes a lock that the whole cluster shares until it is on disk. So a transition is announced at
    -- once, a percentage only when the last announcement of this session is 500 ms old; the server reads again after news.
    -- An announcement in the future is one of before the clock was set back.
    NEW.notified_at := CASE WHEN is_transition OR clock_timestamp() - OLD.notified_at >= interval '500 ms'
                              OR OLD.notified_at > clock_timestamp()
                            THEN clock_timestamp() ELSE OLD.notified_at END;
    RETURN NEW;
END
$$;

-- A session begins as pending, 0 %, version 1, whatever the INSERT says.
CREATE FUNCTION app.begin_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_progress (session_id, created_at) VALUES (NEW.id, NEW.created_at);
    RETURN NULL;
END
$$;

CREATE FUNCTION app.record_transition() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_events (session_id, version, attempt, status, progress, message, error, at)
    VALUES (NEW.session_id, NEW.version, NEW.attempt, NEW.status, NEW.progress, NEW.message, NEW.error, NEW.updated_at);
    RETURN NULL;
END
$$;

CREATE TRIGGER begin_progress AFTER INSERT ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.begin_progress();
CREATE TRIGGER guard_progress BEFORE UPDATE ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.guard_progress();
CREATE TRIGGER record_first AFTER INSERT ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.record_transition();
CREATE TRIGGER record_transition AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN ((OLD.status, OLD.attempt) IS DISTINCT FROM (NEW.status, NEW.attempt))
    EXECUTE FUNCTION app.record_transition();

CREATE FUNCTION app.report_progress(
    session_id uuid, status text, progress integer, message text DEFAULT NULL, error text DEFAULT NULL,
    estimated_time_remaining integer DEFAULT NULL, attempt integer DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present session_progress;
    result bigint;
BEGIN
    IF $2 IS NULL OR NOT EXISTS (SELECT FROM statuses s WHERE s.status = $2) THEN
        RAISE EXCEPTION 'status: is none of the known ones' USING ERRCODE = 'invalid_parameter_value';
    ELSIF $3 IS NULL OR $3 NOT BETWEEN 0 AND 100 THEN
        RAISE EXCEPTION 'progress: has to be between 0 and 100' USING ERRCODE = 'invalid_parameter_value';
    ELSIF $6 < 0 THEN
        RAISE EXCEPTION 'estimated_time_remaining: may not be negative' USING ERRCODE = 'invalid_parameter_value';
    ELSIF $7 < 1 THEN
        RAISE EXCEPTION 'attempt: has to be at least 1' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO present FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session' USING ERRCODE = 'no_data_found';
    END IF;
    IF $7 < present.attempt THEN
        RETURN present.version;
    ELSIF $7 > present.attempt THEN
        RAISE EXCEPTION 'attempt % has not begun', $7 USING ERRCODE = 'check_violation';
    END IF;
    UPDATE session_progress p SET
        status = $2,
        progress = $3,
        -- Without a message the one of the same status stays; it says nothing of another status.
        message = coalesce($4, CASE WHEN p.status = $2 THEN p.message END),
        error = coalesce($5, CASE WHEN p.status = $2 THEN p.error END),
        estimated_time_remaining = $6
    WHERE p.session_id = $1
    RETURNING p.version INTO result;
    RETURN coalesce(result, present.version);
END
$$;
COMMENT ON FUNCTION app.report_progress IS
    'Reports progress and returns the version that stands then. Stale reports change nothing. '
    '23514: the state machine forbids it; 22023: out of range; P0002: no such session';

-- Uploads whose server died, at whatever point. Each row is locked before it is judged: an upload that completes at this very
-- moment is not failed.
CREATE FUNCTION app.fail_abandoned_uploads(age interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    abandoned uuid;
    total integer := 0;
BEGIN
    FOR abandoned IN
        SELECT p.session_id FROM session_progress p JOIN therapy_sessions t ON t.id = p.session_id
        WHERE p.updated_at < clock_timestamp() - age
          AND (p.status = 'uploading' OR p.status = 'pending' AND t.recording IS NULL AND t.uploaded_by IS NOT NULL)
        FOR NO KEY UPDATE OF p SKIP LOCKED
    LOOP
        UPDATE session_progress
        SET status = 'failed', message = NULL, error = 'The upload broke off before the recording was complete.'
        WHERE session_id = abandoned;
        total := total + 1;
    END LOOP;
    RETURN total;
END
$$;
GRANT EXECUTE ON FUNCTION app.fail_abandoned_uploads TO therapybridge_server;

GRANT SELECT ON app.statuses, app.status_transitions, app.session_progress, app.session_events TO therapybridge_server;
GRANT EXECUTE ON FUNCTION app.report_progress TO therapybridge_server, therapybridge_pipeline;

INSERT INTO app.schema_migrations (version, name) VALUES (4, 'progress');
COMMIT;
