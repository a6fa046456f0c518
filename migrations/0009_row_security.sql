-- Row-level security behind the server's own checks: what a route asks for, it asks as somebody, and gets what that user may
-- see, whatever the route has forgotten to check.
--
-- The acting user is set for one transaction: set_config('app.user_id', …, true), set_config('app.sign_in_id', …, true).
-- Without both there are no rows. The server's reads for all streams together go through the functions below, which take
-- ids from app.open_sessions and app.open_caseload, where the rule is applied.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- Who acts: the account is active and the sign-in stands, or it is nobody.
CREATE FUNCTION app.acting_user() RETURNS app.users
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT u FROM users u JOIN auth_sessions s ON s.user_id = u.id
    WHERE u.id = nullif(current_setting('app.user_id', true), '')::uuid
      AND s.id = nullif(current_setting('app.sign_in_id', true), '')::uuid
      AND u.is_active AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
$$;

CREATE FUNCTION app.acting_role() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ SELECT (acting_user()).role $$;
COMMENT ON FUNCTION app.acting_role IS 'The role of the acting user; null when nobody acts';

CREATE FUNCTION app.acting_patients() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT w.id FROM acting_user() w WHERE w.role = 'patient'
    UNION ALL
    SELECT a.patient_id FROM acting_user() w JOIN therapist_patients a ON a.therapist_id = w.id
    WHERE w.role = 'therapist' AND a.is_active
$$;
COMMENT ON FUNCTION app.acting_patients IS
    'The patients whose sessions the acting user may see; an admin sees those of all, and none are listed here';

ALTER TABLE app.therapy_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.therapy_sessions FORCE ROW LEVEL SECURITY;
ALTER TABLE app.session_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_progress FORCE ROW LEVEL SECURITY;
ALTER TABLE app.session_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_events FORCE ROW LEVEL SECURITY;
ALTER TABLE app.transcripts ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.transcripts FORCE ROW LEVEL SECURITY;
ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.notes FORCE ROW LEVEL SECURITY;
ALTER TABLE app.deleted_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.deleted_sessions FORCE ROW LEVEL SECURITY;

-- FORCE holds for the owner, too, as whom the functions and triggers of this schema run.
CREATE POLICY owner ON app.therapy_sessions TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.session_progress TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.session_events TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.transcripts TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.notes TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.deleted_sessions TO therapybridge_owner USING (true) WITH CHECK (true);

-- Each question about the acting user stands in a subquery of its own, which is asked once a statement and not once a row.
CREATE POLICY seen ON app.therapy_sessions FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients())));
CREATE POLICY uploaded ON app.therapy_sessions FOR INSERT TO therapybridge_server
    WITH CHECK ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients())));
CREATE POLICY changed ON app.therapy_sessions FOR UPDATE TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients())))
    WITH CHECK ((SELECT app.acting_role()) = 'admin' OR patient_id = ANY (ARRAY(SELECT app.acting_patients())));
CREATE POLICY managed ON app.therapy_sessions FOR DELETE TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin'
           OR (SELECT app.acting_role()) = 'therapist' AND patient_id = ANY (ARRAY(SELECT app.acting_patients())));

-- What belongs to a session is seen with it; in these subqueries the policies above hold.
CREATE POLICY seen ON app.session_progress FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
CREATE POLICY seen ON app.session_events FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
CREATE POLICY seen ON app.transcripts FOR SELECT TO therapybridge_server
    USING (EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
CREATE POLICY seen ON app.notes FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_role()) IN ('therapist', 'admin')
           AND EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = session_id));
REVOKE SELECT ON app.deleted_sessions, app.session_leases FROM therapybridge_server;

-- The recording of a session is heard by whoever sees the session, and by a pipeline, which sees no session.
CREATE FUNCTION app.acting_recording(session_id uuid)
RETURNS TABLE (recording text, filename text, media_type text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT t.recording, t.filename, t.media_type FROM therapy_sessions t
        WHERE t.id = $1 AND t.recording IS NOT NULL
          AND (acting_role() IN ('admin', 'pipeline') OR t.patient_id IN (SELECT acting_patients()));
END
$$;

-- A worker notes what it has found; it acts for no user.
CREATE FUNCTION app.set_duration(session_id uuid, seconds double precision) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ UPDATE therapy_sessions SET duration_seconds = $2 WHERE id = $1 $$;

-- The reads for streams. Each takes what many ask for together, and plans once.

CREATE FUNCTION app.read_changes(session_ids uuid[], versions bigint[])
RETURNS TABLE (
    rights_epoch bigint, asked uuid,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz,
    e_version bigint, e_attempt integer, e_status text, e_progress smallint, e_message text, e_error text,
    e_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT r.epoch, w.id,
               p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
               p.version, p.attempt, p.created_at, p.updated_at,
               e.version, e.attempt, e.status, e.progress, e.message, e.error, e.at
        FROM rights_epoch r
        LEFT JOIN (
            unnest($1, $2) AS w (id, known)
            LEFT JOIN session_progress p ON p.session_id = w.id
            LEFT JOIN session_events e ON e.session_id = w.id AND e.version > w.known AND p.version > w.known
        ) ON p.session_id IS NULL OR p.version > w.known
        ORDER BY w.id, e.version;
END
$$;
COMMENT ON FUNCTION app.read_changes IS
    'Those of the sessions that are newer than known, with their transitions since, and those that do not exist';

CREATE FUNCTION app.read_transitions(session_ids uuid[], versions bigint[], most integer)
RETURNS TABLE (
    ordinal bigint, version bigint, attempt integer, status text, progress smallint, message text, error text,
    at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT w.ordinal, e.version, e.attempt, e.status, e.progress, e.message, e.error, e.at
        FROM unnest($1, $2) WITH ORDINALITY AS w (id, known, ordinal)
        CROSS JOIN LATERAL (
            SELECT * FROM session_events e WHERE e.session_id = w.id AND e.version > w.known
            ORDER BY e.version DESC LIMIT $3) AS e
        ORDER BY w.ordinal, e.version;
END
$$;

CREATE FUNCTION app.read_feed(since text, session_ids uuid[])
RETURNS TABLE (
    rights_epoch bigint, snapshot text, asked uuid, deleted_patient uuid, patient_id uuid,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz,
    e_version bigint, e_attempt integer, e_status text, e_progress smallint, e_message text, e_error text,
    e_at timestamptz, e_transaction bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
BEGIN
    RETURN QUERY
        SELECT r.epoch, pg_current_snapshot()::text, w.id, w.deleted_patient, t.patient_id,
               p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
               p.version, p.attempt, p.created_at, p.updated_at,
               e.version, e.attempt, e.status, e.progress, e.message, e.error, e.at, e.xid::text::bigint
        FROM rights_epoch r
        LEFT JOIN (
            (SELECT n.session_id, NULL::uuid FROM session_events n
             WHERE n.xid >= pg_snapshot_xmin(earlier) AND NOT pg_visible_in_snapshot(n.xid, earlier)
             UNION SELECT s.id, NULL FROM unnest($2) AS s (id)
             UNION ALL SELECT d.session_id, d.patient_id FROM deleted_sessions d
             WHERE d.xid >= pg_snapshot_xmin(earlier) AND NOT pg_visible_in_snapshot(d.xid, earlier)
            ) AS w (id, deleted_patient)
            LEFT JOIN (session_progress p JOIN therapy_sessions t ON t.id = p.session_id)
                ON p.session_id = w.id AND w.deleted_patient IS NULL
            LEFT JOIN session_events e
                ON e.session_id = p.session_id AND e.xid >= pg_snapshot_xmin(earlier)
                   AND NOT pg_visible_in_snapshot(e.xid, earlier)
        ) ON true
        ORDER BY w.id, e.version;
END
$$;
COMMENT ON FUNCTION app.read_feed IS
    'Every session with transitions since a snapshot, those named, and deletions; always one row at least';

CREATE FUNCTION app.read_missed(since text, until text, patient_ids uuid[], most integer)
RETURNS TABLE (
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    later CONSTANT pg_snapshot := $2::pg_snapshot;
BEGIN
    RETURN QUERY
        SELECT e.session_id, e.status, e.progress, e.message, e.error, NULL::integer,
               e.version, e.attempt, t.created_at, e.at
        FROM session_events e JOIN therapy_sessions t ON t.id = e.session_id
        WHERE e.xid >= pg_snapshot_xmin(earlier) AND NOT pg_visible_in_snapshot(e.xid, earlier)
          AND pg_visible_in_snapshot(e.xid, later)
          AND ($3 IS NULL OR t.patient_id = ANY ($3))
        ORDER BY e.at, e.session_id, e.version LIMIT $4;
END
$$;
COMMENT ON FUNCTION app.read_missed IS
    'The transitions that a later snapshot shows and an earlier one does not, of these patients; null: of all';

CREATE FUNCTION app.read_missed_deletions(since text, until text, patient_ids uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    later CONSTANT pg_snapshot := $2::pg_snapshot;
BEGIN
    RETURN QUERY
        SELECT d.session_id FROM deleted_sessions d
        WHERE d.xid >= pg_snapshot_xmin(earlier) AND NOT pg_visible_in_snapshot(d.xid, earlier)
          AND pg_visible_in_snapshot(d.xid, later)
          AND ($3 IS NULL OR d.patient_id = ANY ($3));
END
$$;

CREATE FUNCTION app.read_lost(user_id uuid, patient_ids uuid[], session_ids uuid[], present uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RETURN QUERY
        SELECT t.id FROM therapist_patients a
        JOIN therapy_sessions t ON t.patient_id = a.patient_id AND t.created_at <= a.ended_at
        WHERE a.therapist_id = $1 AND a.patient_id = ANY ($2) AND NOT a.is_active
        UNION SELECT d.session_id FROM deleted_sessions d WHERE d.patient_id = ANY ($2)
        UNION SELECT t.id FROM therapy_sessions t WHERE t.id = ANY ($3) AND NOT t.patient_id = ANY ($4);
END
$$;
COMMENT ON FUNCTION app.read_lost IS
    'The sessions that a user could see until these patients were taken away, and those of these that are of nobody present';

GRANT EXECUTE ON FUNCTION app.acting_role, app.acting_patients, app.acting_recording, app.set_duration,
    app.read_changes, app.read_transitions, app.read_feed, app.read_missed, app.read_missed_deletions, app.read_lost
    TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (9, 'row_security');
COMMIT;
