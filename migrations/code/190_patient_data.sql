-- The data of one patient: what an erasure removes, in steps.
-- revision: 1
--
-- A step removes a part of the sessions in a transaction of its own. A patient with many sessions therefore keeps nobody waiting
-- for long. Everything about a session goes with its row, as when it is deleted by itself: progress, events, lease, results with
-- their history, and stages' last words. The access log stays: it holds ids and no names.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('190_patient_data', 1); END $$;

CREATE OR REPLACE FUNCTION app.erase_patient_data(patient_id uuid, most integer)
RETURNS TABLE (sessions bigint, recordings bigint, unfinished_uploads bigint, transcripts bigint, notes bigint,
               history bigint, stage_failures bigint, events bigint, files text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    ids uuid[];
    uploads uuid[];
BEGIN
    IF NOT acting_may_all('erase') THEN
        RETURN;
    END IF;
    ids := ARRAY(SELECT t.id FROM therapy_sessions t WHERE t.patient_id = $1 ORDER BY t.id LIMIT $2 FOR UPDATE);
    uploads := ARRAY(
        SELECT t.upload_id FROM therapy_sessions t JOIN session_progress p ON p.session_id = t.id
        WHERE t.id = ANY (ids) AND t.recording IS NULL AND t.upload_id IS NOT NULL AND is_waiting(p.status));
    sessions := cardinality(ids);
    unfinished_uploads := cardinality(uploads);
    files := ARRAY(SELECT t.recording FROM therapy_sessions t WHERE t.id = ANY (ids) AND t.recording IS NOT NULL);
    recordings := cardinality(files);
    transcripts := (SELECT count(*) FROM transcripts r WHERE r.session_id = ANY (ids));
    notes := (SELECT count(*) FROM notes n WHERE n.session_id = ANY (ids));
    history := (SELECT count(*) FROM result_history h WHERE h.session_id = ANY (ids));
    stage_failures := (SELECT count(*) FROM stage_failures f WHERE f.session_id = ANY (ids));
    events := (SELECT count(*) FROM session_events e WHERE e.session_id = ANY (ids));
    -- Triggers end the uploads, list the recordings for removal, and tell the worker and the streams.
    DELETE FROM therapy_sessions t WHERE t.id = ANY (ids);
    -- The files of the uploads that ended are due now, and not after the time that a living upload has.
    UPDATE discarded_recordings d SET discarded_at = clock_timestamp()
    WHERE d.upload_id = ANY (uploads) AND d.removed_at IS NULL AND d.discarded_at > clock_timestamp();
    -- The row of an upload that has ended keeps the name of its file for a day.
    UPDATE resumable_uploads u SET metadata = '' WHERE u.patient_id = $1 AND u.state <> 'open' AND u.metadata <> '';
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION app.erase_patient_data IS
    'Deletes at most "most" sessions of a patient with everything that belongs to them, and returns how much that was, with the '
    'keys of the recordings whose files have to be removed. Uploads and processing end first. Fewer sessions than "most": the '
    'patient has no more. No row: the acting user may not erase';

REVOKE ALL ON FUNCTION app.erase_patient_data FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.erase_patient_data TO therapybridge_server;

COMMIT;
