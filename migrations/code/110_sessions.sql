-- Therapy sessions: who may see, add, change and delete them, and the record of a deletion for the streams.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('110_sessions', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.therapy_sessions;
CREATE POLICY owner ON app.therapy_sessions TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.deleted_sessions;
CREATE POLICY owner ON app.deleted_sessions TO therapybridge_owner USING (true) WITH CHECK (true);

-- Each call about the acting user is a subquery, which PostgreSQL runs once for a statement and not once for a row. Every UPDATE
-- and DELETE of the server also needs this policy, because it names the session that it changes.
DROP POLICY IF EXISTS seen ON app.therapy_sessions;
CREATE POLICY seen ON app.therapy_sessions FOR SELECT TO therapybridge_server
    USING (((SELECT app.acting_may_all('see')) OR patient_id = ANY (ARRAY(SELECT app.acting_patients('see'))))
           AND (probe_of IS NULL OR probe_of = (SELECT app.acting_id())));
-- No user can upload in the name of another.
DROP POLICY IF EXISTS uploaded ON app.therapy_sessions;
CREATE POLICY uploaded ON app.therapy_sessions FOR INSERT TO therapybridge_server
    WITH CHECK (uploaded_by = (SELECT app.acting_id())
                AND ((SELECT app.acting_may_all('upload'))
                     OR patient_id = ANY (ARRAY(SELECT app.acting_patients('upload')))));
-- An upload changes no session that has its recording. Without WITH CHECK, USING also applies to the new row.
DROP POLICY IF EXISTS changed ON app.therapy_sessions;
CREATE POLICY changed ON app.therapy_sessions FOR UPDATE TO therapybridge_server
    USING (recording IS NULL AND ((SELECT app.acting_may_all('upload'))
                                  OR patient_id = ANY (ARRAY(SELECT app.acting_patients('upload')))));
DROP POLICY IF EXISTS managed ON app.therapy_sessions;
CREATE POLICY managed ON app.therapy_sessions FOR DELETE TO therapybridge_server
    USING ((SELECT app.acting_may_all('manage')) OR patient_id = ANY (ARRAY(SELECT app.acting_patients('manage'))));

-- Only app.attach_recording writes the columns recording, bytes and sha256.
REVOKE ALL ON app.therapy_sessions, app.deleted_sessions FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT, DELETE ON app.therapy_sessions TO therapybridge_server;
GRANT INSERT (id, patient_id, therapist_id, session_date, language, filename, uploaded_by, upload_id, upload_key)
    ON app.therapy_sessions TO therapybridge_server;
GRANT UPDATE (session_date, language, filename, upload_id, upload_key) ON app.therapy_sessions TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.change_session(
    session_id uuid, sets_date boolean, session_date timestamptz, sets_language boolean, language text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    UPDATE therapy_sessions t
    SET session_date = CASE WHEN $2 THEN $3 ELSE t.session_date END, language = CASE WHEN $4 THEN $5 ELSE t.language END
    WHERE t.id = $1 AND acting_may('manage', t.patient_id);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.change_session IS
    'Changes the date of a session, its language, or both; null: not known. The progress stays as it is. False: the acting user '
    'manages no such session';

CREATE OR REPLACE FUNCTION app.note_deletion() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO deleted_sessions (session_id, patient_id) VALUES (OLD.id, OLD.patient_id)
    ON CONFLICT (session_id) DO UPDATE
        SET patient_id = excluded.patient_id, xid = excluded.xid, deleted_at = excluded.deleted_at;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.note_deletion IS
    'Trigger: adds a deleted session to deleted_sessions, for the streams of all sessions';
CREATE OR REPLACE TRIGGER note_deletion AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.probe_of IS NULL) EXECUTE FUNCTION app.note_deletion();

CREATE OR REPLACE FUNCTION app.delete_expired_deletions(age interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (DELETE FROM deleted_sessions WHERE deleted_at < clock_timestamp() - age RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_expired_deletions IS
    'Deletes the rows of deleted_sessions that are older than the age and returns their number';

CREATE OR REPLACE FUNCTION app.set_length(
    session_id uuid, duration double precision, announced double precision, has_cut_track boolean DEFAULT false) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp SET jit = off SET enable_seqscan = off AS
$$ UPDATE therapy_sessions SET duration_seconds = $2, announced_seconds = $3, has_cut_track = $4 WHERE id = $1 $$;
COMMENT ON FUNCTION app.set_length IS
    'Stores the length of the audio that a worker has measured, the one that the file announces, and whether a track was cut. '
    'A worker acts for no user';

CREATE OR REPLACE FUNCTION app.recording_length(session_id uuid)
RETURNS TABLE (duration_seconds double precision, announced_seconds double precision, has_cut_track boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp SET jit = off SET enable_seqscan = off AS
$$ SELECT t.duration_seconds, t.announced_seconds, t.has_cut_track FROM therapy_sessions t WHERE t.id = $1 $$;
COMMENT ON FUNCTION app.recording_length IS
    'The length of the audio, the one that the file announces, and whether a track was cut, for a worker. A worker acts for '
    'no user';

CREATE OR REPLACE FUNCTION app.session_language(session_id uuid) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp SET jit = off SET enable_seqscan = off AS
$$ SELECT t.language FROM therapy_sessions t WHERE t.id = $1 $$;
COMMENT ON FUNCTION app.session_language IS 'The language of a session, for a worker. A worker acts for no user';

REVOKE ALL ON FUNCTION app.change_session, app.note_deletion, app.delete_expired_deletions, app.set_length,
    app.recording_length, app.session_language FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.change_session, app.delete_expired_deletions, app.set_length, app.recording_length,
    app.session_language TO therapybridge_server;

COMMIT;
