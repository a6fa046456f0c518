-- The results of the pipeline, transcripts and notes: who may read them, how a pipeline stores them, how people correct them,
-- and their history.
--
-- A transcript has two forms. The final one is a row of app.transcripts. Before it, the partial one grows in
-- app.transcript_segments, and clients see it unless an earlier attempt has left a final one.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('140_results', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.transcripts;
CREATE POLICY owner ON app.transcripts TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.transcript_segments;
CREATE POLICY owner ON app.transcript_segments TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.notes;
CREATE POLICY owner ON app.notes TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.result_history;
CREATE POLICY owner ON app.result_history TO therapybridge_owner USING (true) WITH CHECK (true);

-- A user who sees a session sees its transcript: the policies of therapy_sessions apply inside these subqueries. Notes need
-- one more right. The server reads partial transcripts by app.partial_transcript alone: with a policy for their many rows, the
-- planner would read all sessions first.
DROP POLICY IF EXISTS seen ON app.transcripts;
CREATE POLICY seen ON app.transcripts FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
DROP POLICY IF EXISTS seen ON app.notes;
CREATE POLICY seen ON app.notes FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t
                   WHERE t.id = session_id
                     AND ((SELECT app.acting_may_all('read_notes'))
                          OR t.patient_id = ANY (ARRAY(SELECT app.acting_patients('read_notes'))))));

-- The history holds notes, and transcripts as they were before a correction.
DROP POLICY IF EXISTS seen ON app.result_history;
CREATE POLICY seen ON app.result_history FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t
                   WHERE t.id = session_id
                     AND ((SELECT app.acting_may_all('read_notes'))
                          OR t.patient_id = ANY (ARRAY(SELECT app.acting_patients('read_notes'))))));

REVOKE ALL ON app.transcripts, app.transcript_segments, app.notes, app.result_history
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.transcripts, app.notes, app.result_history TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.partial_transcript(session uuid, OUT attempt integer, OUT segments jsonb)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    SELECT max(s.attempt), jsonb_agg(s.body ORDER BY s.number) INTO attempt, segments
    FROM transcript_segments s
    WHERE s.session_id = $1 AND (SELECT acting_may('see', t.patient_id) FROM therapy_sessions t WHERE t.id = $1);
END
$$;
COMMENT ON FUNCTION app.partial_transcript IS
    'The partial transcript of a session: the attempt that produced it, and its segments as an array. Nulls if there is none, '
    'or the acting user may not see the session';

-- History

-- With a policy for its many rows, the planner may read all sessions first.
CREATE OR REPLACE FUNCTION app.earlier_results(session uuid) RETURNS TABLE (id bigint, bytes bigint)
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    IF (SELECT acting_may('read_notes', t.patient_id) FROM therapy_sessions t WHERE t.id = $1) THEN
        RETURN QUERY SELECT h.id, h.bytes FROM result_history h WHERE h.session_id = $1 ORDER BY h.id DESC;
    END IF;
END
$$;
COMMENT ON FUNCTION app.earlier_results IS
    'The history of a session, newest first: its rows of result_history, and the lengths of the documents. No row if the acting '
    'user may not read the notes of the session';

CREATE OR REPLACE FUNCTION app.keep_replaced_result() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO result_history (session_id, kind, attempt, body, stored_at, replaced_by)
    VALUES (OLD.session_id, TG_ARGV[0], OLD.attempt, OLD.body::text::json, OLD.stored_at, acting_id());
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.keep_replaced_result IS
    'Trigger: keeps a transcript or notes that another one replaces, from any writer. The argument is the kind';
CREATE OR REPLACE TRIGGER keep_replaced AFTER UPDATE ON app.transcripts
    FOR EACH ROW WHEN (OLD.attempt <> NEW.attempt OR OLD.body <> NEW.body)
    EXECUTE FUNCTION app.keep_replaced_result('transcript');
CREATE OR REPLACE TRIGGER keep_replaced AFTER UPDATE ON app.notes
    FOR EACH ROW WHEN (OLD.attempt <> NEW.attempt OR OLD.body::text <> NEW.body::text)
    EXECUTE FUNCTION app.keep_replaced_result('notes');

CREATE OR REPLACE FUNCTION app.remove_partial_transcript() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    DELETE FROM transcript_segments WHERE session_id = NEW.session_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.remove_partial_transcript IS
    'Trigger: a retry or a takeover begins the transcript anew. app.guard_progress sets the number of segments';
CREATE OR REPLACE TRIGGER remove_partial_transcript AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN (OLD.attempt <> NEW.attempt) EXECUTE FUNCTION app.remove_partial_transcript();

-- Storing

CREATE OR REPLACE FUNCTION app.lock_for_result(session uuid, expected integer, lease text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    present integer;
    fault text;
BEGIN
    SELECT attempt INTO present FROM session_progress WHERE session_id = session FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such session'
            USING ERRCODE = 'no_data_found', CONSTRAINT = 'unknown_session';
    END IF;
    IF lease IS NOT NULL THEN
        fault := lease_fault(standing_lease(session), lease, true);
    ELSIF NOT is_owner_calling() THEN
        fault := 'lease_required';
    END IF;
    IF fault IS NOT NULL THEN
        PERFORM raise_lease_fault(fault);
    ELSIF expected IS DISTINCT FROM present THEN
        RAISE EXCEPTION 'the present attempt is %', present
            USING ERRCODE = 'check_violation', CONSTRAINT = 'attempt_not_present',
                DETAIL = json_build_object('present', present::text);
    END IF;
END
$$;
COMMENT ON FUNCTION app.lock_for_result IS
    'Locks the progress of a session for a worker that stores a result. Raises 42501 without the lease that stands, which a '
    'finished session does not have; members of the owner need no lease. Raises 23514 unless the attempt is the present one, '
    'P0002 for an unknown session';

CREATE OR REPLACE FUNCTION app.transcript_seconds(transcript jsonb, member text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, app, pg_temp
AS $$
DECLARE
    value CONSTANT jsonb := transcript -> member;
BEGIN
    IF value IS NULL OR value = 'null' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(value) <> 'number' OR value::numeric NOT BETWEEN 0 AND 1e9 THEN
        RAISE EXCEPTION 'transcript: "%" has to be a number of seconds', member
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'transcript_malformed', COLUMN = 'transcript';
    END IF;
    RETURN value::double precision;
END
$$;
COMMENT ON FUNCTION app.transcript_seconds IS
    'A member of a transcript that is a number of seconds; null if it is missing. Raises 22023 for another value';

CREATE OR REPLACE FUNCTION app.checked_segments(
    segments jsonb, duration double precision, first integer DEFAULT 0, earliest double precision DEFAULT 0) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, app, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    faulty record;
BEGIN
    IF jsonb_typeof($1) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'transcript: needs a "text" and an array "segments"'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'transcript_malformed', COLUMN = 'transcript';
    END IF;
    -- A number of jsonb may be too large for a double. It is compared as numeric before anything casts it.
    WITH s AS (
        SELECT e.n, e.value, jsonb_typeof(e.value) = 'object' AND jsonb_typeof(e.value -> 'text') = 'string'
                   AND coalesce(jsonb_typeof(e.value -> 'speaker'), 'null') IN ('string', 'null') AS is_shaped,
               CASE WHEN jsonb_typeof(e.value -> 'start') = 'number' THEN (e.value ->> 'start')::numeric END AS begins,
               CASE WHEN jsonb_typeof(e.value -> 'end') = 'number' THEN (e.value ->> 'end')::numeric END AS ends
        FROM jsonb_array_elements($1) WITH ORDINALITY AS e (value, n)
    ), judged AS (
        SELECT s.n, s.ends, CASE
            WHEN s.is_shaped AND s.begins BETWEEN 0 AND 1e9 AND s.ends BETWEEN 0 AND 1e9 THEN CASE
                WHEN s.ends < s.begins THEN 'segment_ends_early'
                WHEN s.begins < lag(s.begins, 1, $4::numeric) OVER (ORDER BY s.n) THEN 'segment_out_of_order'
                WHEN s.ends > $2::numeric + 30 THEN 'segment_past_end' END
            ELSE 'segment_malformed' END AS fault
        FROM s
    )
    SELECT j.n - 1 + $3 AS index, j.fault INTO faulty FROM judged j WHERE j.fault IS NOT NULL ORDER BY j.n LIMIT 1;
    IF faulty.fault = 'segment_malformed' THEN
        RAISE EXCEPTION 'segments[%]: needs a "start" and an "end" in seconds, and a "text"', faulty.index
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'segment_malformed',
                DETAIL = json_build_object('index', faulty.index::text);
    ELSIF faulty.fault = 'segment_ends_early' THEN
        RAISE EXCEPTION 'segments[%]: ends before it starts', faulty.index
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'segment_ends_early',
                DETAIL = json_build_object('index', faulty.index::text);
    ELSIF faulty.fault = 'segment_out_of_order' THEN
        RAISE EXCEPTION 'segments[%]: starts before the segment before it', faulty.index
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'segment_out_of_order',
                DETAIL = json_build_object('index', faulty.index::text);
    ELSIF faulty.fault = 'segment_past_end' THEN
        RAISE EXCEPTION 'segments[%]: ends more than 30 seconds after the recording', faulty.index
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'segment_past_end',
                DETAIL = json_build_object('index', faulty.index::text);
    END IF;
    RETURN (
        SELECT coalesce(jsonb_agg(
            CASE WHEN (e.value ->> 'end')::double precision > $2 THEN
                e.value || jsonb_build_object('end', $2)
                    || CASE WHEN (e.value ->> 'start')::double precision > $2 THEN jsonb_build_object('start', $2)
                            ELSE '{}' END
            ELSE e.value END ORDER BY e.n), '[]')
        FROM jsonb_array_elements($1) WITH ORDINALITY AS e (value, n));
END
$$;
COMMENT ON FUNCTION app.checked_segments IS
    'The segments of a transcript, each with a start and an end in seconds and a text. Every end comes after its start, and every '
    'start after the one before it; "earliest" is the start of the segment before the first. An end up to 30 seconds past the '
    'duration, if that is known, is cut to it: speech recognition often ends its last segment late. Raises 22023 for any '
    'other segments; the message counts from "first"';

CREATE OR REPLACE FUNCTION app.show_segments(session uuid, number integer, brings_others boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    -- The guard drops an UPDATE that changes nothing. It sets the time itself.
    UPDATE session_progress p
    SET segments = $2, updated_at = CASE WHEN $3 THEN clock_timestamp() ELSE p.updated_at END
    WHERE p.session_id = $1;
END
$$;
COMMENT ON FUNCTION app.show_segments IS
    'Sets how many segments the progress of a session shows: one version for each change, with brings_others also if the number '
    'stays, and no transition';

CREATE OR REPLACE FUNCTION app.lock_for_partial(session uuid, expected integer, lease text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    PERFORM lock_for_result($1, $2, $3);
    IF EXISTS (SELECT FROM transcripts t WHERE t.session_id = $1 AND t.attempt = $2) THEN
        RAISE EXCEPTION 'the transcript of this attempt is final'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'transcript_final';
    END IF;
END
$$;
COMMENT ON FUNCTION app.lock_for_partial IS
    'app.lock_for_result for a worker that stores a part of a transcript. Raises 23514 also if the transcript of the attempt is '
    'final';

CREATE OR REPLACE FUNCTION app.insert_segments(session uuid, attempt integer, first integer, segments jsonb) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    INSERT INTO transcript_segments (session_id, number, attempt, body)
    SELECT $1, $3 + e.n - 1, $2, e.value FROM jsonb_array_elements($4) WITH ORDINALITY AS e (value, n);
    -- After a retry, clients see the transcript of an earlier attempt until there is a new final one.
    IF NOT EXISTS (SELECT FROM transcripts t WHERE t.session_id = $1) THEN
        PERFORM show_segments($1, $3 + jsonb_array_length($4), true);
    END IF;
END
$$;
COMMENT ON FUNCTION app.insert_segments IS
    'Inserts checked segments into the partial transcript, which has all segments before "first", and shows their number in the '
    'progress, unless an earlier attempt has left a final transcript';

CREATE OR REPLACE FUNCTION app.store_transcript(
    session_id uuid, attempt integer, transcript jsonb, lease text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    duration double precision := app.transcript_seconds($3, 'duration_seconds');
    announced double precision := app.transcript_seconds($3, 'announced_seconds');
    is_final CONSTANT boolean := coalesce($3 -> 'is_final', 'null') <> 'false';
    has_length CONSTANT boolean := duration IS NOT NULL OR announced IS NOT NULL;
    checked jsonb;
    stored jsonb;
    digest bytea;
BEGIN
    IF jsonb_typeof($3 -> 'segments') IS DISTINCT FROM 'array'
        OR coalesce(jsonb_typeof($3 -> 'text'), 'null') <> 'string' AND (is_final OR $3 ? 'text')
        OR coalesce(jsonb_typeof($3 -> 'is_final'), 'null') NOT IN ('boolean', 'null') THEN
        RAISE EXCEPTION 'transcript: needs a "text" and an array "segments"'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'transcript_malformed', COLUMN = 'transcript';
    END IF;
    -- A session is locked before its progress, as a deletion does.
    IF has_length THEN
        PERFORM FROM therapy_sessions s WHERE s.id = $1 FOR NO KEY UPDATE;
    END IF;
    IF is_final THEN
        PERFORM lock_for_result($1, $2, $4);
    ELSE
        PERFORM lock_for_partial($1, $2, $4);
    END IF;
    -- The length that the session has after the locks: a worker may have measured it while this function waited for one.
    checked := checked_segments($3 -> 'segments', coalesce(
        duration, (SELECT s.duration_seconds FROM therapy_sessions s WHERE s.id = $1)));
    IF has_length THEN
        UPDATE therapy_sessions s
        SET duration_seconds = coalesce(duration, s.duration_seconds),
            announced_seconds = coalesce(announced, s.announced_seconds)
        WHERE s.id = $1 AND (s.duration_seconds IS DISTINCT FROM coalesce(duration, s.duration_seconds)
                             OR s.announced_seconds IS DISTINCT FROM coalesce(announced, s.announced_seconds));
    END IF;
    IF is_final THEN
        stored := $3 - ARRAY['attempt', 'is_final', 'lease'] || jsonb_build_object('segments', checked);
        digest := sha256(convert_to(stored::text, 'UTF8'));
        -- A worker whose answer was lost stores the same transcript again, maybe after a correction. The correction stays.
        INSERT INTO transcripts AS t (session_id, attempt, body, source_digest) VALUES ($1, $2, stored, digest)
        ON CONFLICT (session_id) DO UPDATE
            SET attempt = $2, body = stored, stored_at = clock_timestamp(), source_digest = digest
            WHERE t.attempt <> $2
               OR CASE WHEN $4 IS NULL THEN t.body <> stored ELSE coalesce(t.source_digest <> digest, t.body <> stored) END;
        DELETE FROM transcript_segments g WHERE g.session_id = $1;
        PERFORM show_segments($1, jsonb_array_length(checked));
    ELSIF checked <> (SELECT coalesce(jsonb_agg(g.body ORDER BY g.number), '[]') FROM transcript_segments g
                      WHERE g.session_id = $1) THEN
        DELETE FROM transcript_segments g WHERE g.session_id = $1;
        PERFORM insert_segments($1, $2, 0, checked);
    END IF;
END
$$;
COMMENT ON FUNCTION app.store_transcript IS
    'Stores or replaces the transcript of a session, for the worker with the lease; the same transcript again changes nothing, '
    'also after a correction. '
    'With "is_final": false it replaces the partial transcript, and other segments make a version, be they as many as before. '
    'Its members duration_seconds and announced_seconds become those of the session. '
    'Raises 22023 for a wrong shape, 42501 without the lease that stands, 23514 for another attempt, or for a partial '
    'transcript after the final one, P0002 for an unknown session';

CREATE OR REPLACE FUNCTION app.add_segments(
    session_id uuid, attempt integer, first integer, segments jsonb, lease text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    known integer;
    earliest double precision;
    rest jsonb;
BEGIN
    PERFORM lock_for_partial($1, $2, $5);
    SELECT count(*)::integer, max((g.body ->> 'start')::double precision) INTO known, earliest
    FROM transcript_segments g WHERE g.session_id = $1;
    IF $3 IS NULL OR $3 NOT BETWEEN 0 AND known THEN
        RAISE EXCEPTION 'first: the transcript has % segments', known
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'segments_skipped', COLUMN = 'first',
                DETAIL = json_build_object('known', known::text);
    END IF;
    -- A caller whose answer was lost sends the same segments again.
    SELECT jsonb_agg(e.value ORDER BY e.n) INTO rest
    FROM jsonb_array_elements(CASE jsonb_typeof($4) WHEN 'array' THEN $4 END) WITH ORDINALITY AS e (value, n)
    WHERE e.n > known - $3;
    IF rest IS NULL THEN
        RETURN;
    END IF;
    PERFORM insert_segments($1, $2, known, checked_segments(
        rest, (SELECT s.duration_seconds FROM therapy_sessions s WHERE s.id = $1), known, coalesce(earliest, 0)));
END
$$;
COMMENT ON FUNCTION app.add_segments IS
    'Appends segments to the partial transcript of a session, for the worker with the lease. "first" is the index of the first '
    'of them; those that the transcript has already are passed over. Raises as app.store_transcript does, and 22023 if the '
    'transcript lacks segments before "first"';

CREATE OR REPLACE FUNCTION app.store_notes(
    session_id uuid, attempt integer, notes json, lease text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    digest CONSTANT bytea := sha256(convert_to($3::text, 'UTF8'));
BEGIN
    IF json_typeof($3) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'notes: have to be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'notes_malformed', COLUMN = 'notes';
    END IF;
    PERFORM lock_for_result($1, $2, $4);
    INSERT INTO notes AS n (session_id, attempt, body, source_digest) VALUES ($1, $2, $3, digest)
    ON CONFLICT (session_id) DO UPDATE SET attempt = $2, body = $3, stored_at = clock_timestamp(), source_digest = digest
        WHERE n.attempt <> $2
           OR CASE WHEN $4 IS NULL THEN n.body::text <> $3::text
                   ELSE coalesce(n.source_digest <> digest, n.body::text <> $3::text) END;
END
$$;
COMMENT ON FUNCTION app.store_notes IS
    'Stores or replaces the notes of a session, for the worker with the lease; the same notes again change nothing, also after '
    'a correction. Raises 22023 unless the notes are a JSON object, 42501 without the lease that stands, 23514 for another '
    'attempt, P0002 for an unknown session';

CREATE OR REPLACE FUNCTION app.claimed_transcript(session_id uuid, attempt integer, lease text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM lock_for_result($1, $2, $3);
    RETURN (SELECT t.body FROM transcripts t WHERE t.session_id = $1);
END
$$;
COMMENT ON FUNCTION app.claimed_transcript IS
    'The final transcript of a session, for the worker with the lease, which acts for no user; null: there is none. Raises as '
    'app.lock_for_result';

-- Corrections

CREATE OR REPLACE FUNCTION app.history_limits(OUT versions bigint, OUT bytes bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 1000::bigint, 268435456::bigint $$;
COMMENT ON FUNCTION app.history_limits IS
    'How many earlier results of a session there are, and how many bytes they have, when the server takes no correction any more';

CREATE OR REPLACE FUNCTION app.require_history_room(session uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    PERFORM FROM history_limits() AS l
    WHERE (SELECT count(*) >= l.versions OR coalesce(sum(h.bytes), 0) >= l.bytes
           FROM result_history h WHERE h.session_id = session);
    IF FOUND THEN
        RAISE EXCEPTION 'the history of the session is full'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'history_full';
    END IF;
END
$$;
COMMENT ON FUNCTION app.require_history_room IS
    'Raises 23514 if the history of a session has reached one of app.history_limits';

CREATE OR REPLACE FUNCTION app.lock_for_correction(session_id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- A caller without the right neither waits for a lock nor holds one.
    IF NOT EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND acting_may('correct', t.patient_id)) THEN
        RETURN false;
    END IF;
    -- The lock of a worker that stores a result. A deletion takes it before it deletes the results.
    PERFORM FROM session_progress p WHERE p.session_id = $1 FOR NO KEY UPDATE;
    -- The right may have ended while this function waited for the lock.
    RETURN EXISTS (SELECT FROM therapy_sessions t WHERE t.id = $1 AND acting_may('correct', t.patient_id));
END
$$;
COMMENT ON FUNCTION app.lock_for_correction IS
    'Keeps the results of a session as they are until the end of the transaction, for a user who corrects them. False: the '
    'acting user may correct no such session';

CREATE OR REPLACE FUNCTION app.correct_transcript(session_id uuid, corrections jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present jsonb;
    corrected jsonb;
    faulty bigint;
BEGIN
    IF NOT lock_for_correction($1) THEN
        RETURN false;
    END IF;
    SELECT t.body -> 'segments' INTO present FROM transcripts t WHERE t.session_id = $1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF jsonb_typeof($2) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'segments: have to be an array'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'corrections_malformed', COLUMN = 'segments';
    END IF;
    WITH c AS MATERIALIZED (
        SELECT e.n, e.value,
               CASE WHEN jsonb_typeof(e.value -> 'index') = 'number' THEN (e.value ->> 'index')::numeric END AS index
        FROM jsonb_array_elements($2) WITH ORDINALITY AS e (value, n)
    ), s AS MATERIALIZED (
        SELECT e.n, e.value FROM jsonb_array_elements(present) WITH ORDINALITY AS e (value, n)
    ), judged AS (
        SELECT c.n, s.n IS NULL OR jsonb_typeof(s.value) <> 'object' OR count(*) OVER (PARTITION BY c.index) > 1
                   OR coalesce(jsonb_typeof(c.value -> 'text'), 'string') <> 'string'
                   OR coalesce(jsonb_typeof(c.value -> 'speaker'), 'null') NOT IN ('string', 'null') AS is_faulty
        FROM c LEFT JOIN s ON (s.n - 1)::numeric = c.index
    )
    SELECT min(j.n) - 1 INTO faulty FROM judged j WHERE j.is_faulty;
    IF faulty IS NOT NULL THEN
        RAISE EXCEPTION 'segments[%]: corrects no segment', faulty
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'correction_malformed',
                DETAIL = json_build_object('index', faulty::text);
    END IF;
    WITH c AS MATERIALIZED (
        SELECT (e.value ->> 'index')::numeric AS index, coalesce(e.value -> 'speaker' = 'null', false) AS has_no_speaker,
               -- No other member of a segment can be corrected.
               jsonb_strip_nulls(jsonb_build_object('text', e.value -> 'text', 'speaker', e.value -> 'speaker')) AS members
        FROM jsonb_array_elements($2) AS e (value)
    )
    SELECT coalesce(jsonb_agg(
        CASE WHEN c.index IS NULL THEN e.value
             WHEN c.has_no_speaker THEN (e.value - 'speaker') || c.members
             ELSE e.value || c.members END ORDER BY e.n), '[]') INTO corrected
    FROM jsonb_array_elements(present) WITH ORDINALITY AS e (value, n) LEFT JOIN c ON c.index = (e.n - 1)::numeric;
    IF corrected <> present THEN
        PERFORM require_history_room($1);
        UPDATE transcripts t
        SET body = t.body || jsonb_build_object('segments', corrected, 'text', (
                SELECT coalesce(string_agg(e.value ->> 'text', ' ' ORDER BY e.n), '')
                FROM jsonb_array_elements(corrected) WITH ORDINALITY AS e (value, n))),
            stored_at = clock_timestamp()
        WHERE t.session_id = $1;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.correct_transcript IS
    'Corrects the final transcript of a session: each {index, text?, speaker?} replaces the text and the speaker of one segment, '
    'and "speaker": null removes the speaker. The text of the transcript becomes the texts of its segments. False: the acting '
    'user may correct no such session, or it has no final transcript. Raises 22023 for a correction of no segment or of one '
    'twice, 23514 if the history is full';

CREATE OR REPLACE FUNCTION app.correct_notes(session_id uuid, notes json) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present text;
BEGIN
    IF json_typeof($2) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'notes: have to be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'notes_malformed', COLUMN = 'notes';
    ELSIF NOT lock_for_correction($1) THEN
        RETURN false;
    END IF;
    SELECT n.body::text INTO present FROM notes n WHERE n.session_id = $1;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF present <> $2::text THEN
        PERFORM require_history_room($1);
        UPDATE notes n SET body = $2, stored_at = clock_timestamp() WHERE n.session_id = $1;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.correct_notes IS
    'Replaces the notes of a session by those of a person; the same notes change nothing. False: the acting user may correct no '
    'such session, or it has no notes. Raises 22023 unless the notes are a JSON object, 23514 if the history is full';

REVOKE ALL ON FUNCTION app.partial_transcript, app.earlier_results, app.keep_replaced_result,
    app.remove_partial_transcript, app.lock_for_result, app.lock_for_partial, app.transcript_seconds, app.checked_segments, app.show_segments, app.insert_segments,
    app.store_transcript, app.add_segments, app.store_notes, app.claimed_transcript, app.history_limits,
    app.require_history_room, app.lock_for_correction, app.correct_transcript, app.correct_notes
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.store_transcript, app.store_notes TO therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.partial_transcript, app.earlier_results, app.add_segments, app.claimed_transcript,
    app.lock_for_correction, app.correct_transcript, app.correct_notes TO therapybridge_server;

COMMIT;
