-- The results of the pipeline, transcripts and notes: who may read them, how a pipeline stores them, and their history.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('140_results', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.transcripts;
CREATE POLICY owner ON app.transcripts TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.notes;
CREATE POLICY owner ON app.notes TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.result_history;
CREATE POLICY owner ON app.result_history TO therapybridge_owner USING (true) WITH CHECK (true);

-- A user who sees a session sees its transcript: the policies of therapy_sessions apply inside these subqueries. Notes need
-- one more right.
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

REVOKE ALL ON app.transcripts, app.notes, app.result_history FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.transcripts, app.notes, app.result_history TO therapybridge_server;

-- History

CREATE OR REPLACE FUNCTION app.keep_replaced_result() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO result_history (session_id, kind, attempt, body, stored_at, replaced_by)
    VALUES (OLD.session_id, TG_ARGV[0], OLD.attempt, OLD.body::text::json, OLD.stored_at, acting_id());
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.keep_replaced_result IS
    'Trigger: keeps a transcript or notes that another one replaces, whoever writes it. The argument is the kind';
CREATE OR REPLACE TRIGGER keep_replaced AFTER UPDATE ON app.transcripts
    FOR EACH ROW WHEN (OLD.attempt <> NEW.attempt OR OLD.body <> NEW.body)
    EXECUTE FUNCTION app.keep_replaced_result('transcript');
CREATE OR REPLACE TRIGGER keep_replaced AFTER UPDATE ON app.notes
    FOR EACH ROW WHEN (OLD.attempt <> NEW.attempt OR OLD.body::text <> NEW.body::text)
    EXECUTE FUNCTION app.keep_replaced_result('notes');

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

CREATE OR REPLACE FUNCTION app.store_transcript(    session_id uuid, attempt integer, transcript jsonb, lease text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    duration CONSTANT double precision := app.transcript_seconds($3, 'duration_seconds');
    announced CONSTANT double precision := app.transcript_seconds($3, 'announced_seconds');
BEGIN
    IF jsonb_typeof($3 -> 'text') IS DISTINCT FROM 'string'
        OR jsonb_typeof($3 -> 'segments') IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'transcript: needs a "text" and an array "segments"'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'transcript_malformed', COLUMN = 'transcript';
    END IF;
    IF duration IS NOT NULL OR announced IS NOT NULL THEN
        -- A session is locked before its progress, as a deletion does.
        PERFORM FROM therapy_sessions s WHERE s.id = $1 FOR NO KEY UPDATE;
    END IF;
    PERFORM lock_for_result($1, $2, $4);
    UPDATE therapy_sessions s SET
        duration_seconds = coalesce(duration, s.duration_seconds),
        announced_seconds = coalesce(announced, s.announced_seconds)
    WHERE s.id = $1 AND (s.duration_seconds IS DISTINCT FROM coalesce(duration, s.duration_seconds)
                         OR s.announced_seconds IS DISTINCT FROM coalesce(announced, s.announced_seconds));
    INSERT INTO transcripts AS t (session_id, attempt, body) VALUES ($1, $2, $3)
    ON CONFLICT (session_id) DO UPDATE SET attempt = $2, body = $3, stored_at = clock_timestamp()
        WHERE t.attempt <> $2 OR t.body <> $3;
END
$$;
COMMENT ON FUNCTION app.store_transcript IS
    'Stores or replaces the transcript of a session, for the worker with the lease; the same transcript again changes nothing. '
    'Its members duration_seconds and announced_seconds become those of the session. '
    'Raises 22023 for a wrong shape, 42501 without the lease that stands, 23514 for another attempt, P0002 for an unknown '
    'session';

CREATE OR REPLACE FUNCTION app.store_notes(
    session_id uuid, attempt integer, notes json, lease text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    IF json_typeof($3) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'notes: have to be a JSON object'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'notes_malformed', COLUMN = 'notes';
    END IF;
    PERFORM lock_for_result($1, $2, $4);
    INSERT INTO notes AS n (session_id, attempt, body) VALUES ($1, $2, $3)
    ON CONFLICT (session_id) DO UPDATE SET attempt = $2, body = $3, stored_at = clock_timestamp()
        WHERE n.attempt <> $2 OR n.body::text <> $3::text;
END
$$;
COMMENT ON FUNCTION app.store_notes IS
    'Stores or replaces the notes of a session, for the worker with the lease; the same notes again change nothing. Raises '
    '22023 unless the notes are a JSON object, 42501 without the lease that stands, 23514 for another attempt, P0002 for an '
    'unknown session';

REVOKE ALL ON FUNCTION app.keep_replaced_result, app.lock_for_result, app.transcript_seconds, app.store_transcript, app.store_notes
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.store_transcript, app.store_notes TO therapybridge_server, therapybridge_pipeline;

COMMIT;
