-- What streams read after their opening: each function reads for many streams at once.
-- revision: 1
--
-- The functions check no rights. The server passes ids that app.open_sessions and app.open_caseload have given it, and each
-- answer brings the epoch of rights, by which the server notices that it has to ask those again first.
--
-- A position in the stream of all sessions is a snapshot (pg_snapshot) and not a number: a transaction that took its number
-- early may commit late, and would slip behind.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('180_stream_reads', 1); END $$;

CREATE OR REPLACE FUNCTION app.read_changes(session_ids uuid[], versions bigint[])
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
    'The sessions that are newer than the given versions, one row for each transition since or one without a transition, and the '
    'sessions that do not exist. Always at least one row, for the epoch of rights';

CREATE OR REPLACE FUNCTION app.read_transitions(session_ids uuid[], versions bigint[], most integer)
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
COMMENT ON FUNCTION app.read_transitions IS
    'The transitions of each session after a version, oldest first; of each session at most the newest "most"';

CREATE OR REPLACE FUNCTION app.read_feed(since text, session_ids uuid[])
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
                ON e.session_id = p.session_id AND NOT pg_visible_in_snapshot(e.xid, earlier)
        ) ON true
        ORDER BY w.id, e.version;
END
$$;
COMMENT ON FUNCTION app.read_feed IS
    'Every session with transitions since a snapshot, and those named, each with these transitions; and deletions since. Always '
    'at least one row, for the epoch of rights and the present snapshot';

CREATE OR REPLACE FUNCTION app.read_missed(since text, until text, patient_ids uuid[], most integer)
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
    'The transitions that the later snapshot shows and the earlier one does not, as progress, oldest first, at most "most"; of '
    'these patients, or with null of all';

CREATE OR REPLACE FUNCTION app.read_missed_deletions(since text, until text, patient_ids uuid[]) RETURNS SETOF uuid
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
COMMENT ON FUNCTION app.read_missed_deletions IS
    'The sessions whose deletion the later snapshot shows and the earlier one does not; of these patients, or with null of all';

CREATE OR REPLACE FUNCTION app.read_lost(user_id uuid, patient_ids uuid[], session_ids uuid[], present uuid[])
RETURNS SETOF uuid
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
    'The sessions that a user has lost sight of: those of the patients who were taken away, deleted ones included, and those of '
    'session_ids whose patient is not among "present", because the session was moved to another patient';

REVOKE ALL ON FUNCTION app.read_changes, app.read_transitions, app.read_feed, app.read_missed, app.read_missed_deletions,
    app.read_lost FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.read_changes, app.read_transitions, app.read_feed, app.read_missed, app.read_missed_deletions,
    app.read_lost TO therapybridge_server;

COMMIT;
