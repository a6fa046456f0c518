-- The reads of open streams: each function reads for many streams at once.
-- revision: 1
--
-- The functions check no rights. The server passes ids that app.authorize_sessions and app.authorize_caseload have returned.
-- An answer begins with what app.rights_since returns, from the same snapshot. The server first checks the rights of the streams
-- that those changes concern.
--
-- A position in the stream of all sessions is a snapshot (pg_snapshot) and not a number. A transaction that took its number
-- early may commit late, and readers would miss it.
--
-- The functions read every table by an index, in LATERAL subqueries that OFFSET 0 keeps apart. Neither statistics nor their
-- absence can then lead to another plan.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('180_stream_reads', 1); END $$;

CREATE OR REPLACE FUNCTION app.events_since(earlier pg_snapshot) RETURNS SETOF app.session_events
LANGUAGE sql STABLE AS $$
    SELECT e.* FROM app.session_events e
    WHERE e.xid >= pg_catalog.pg_snapshot_xmax($1)
      AND e.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    UNION ALL
    SELECT e.* FROM pg_catalog.pg_snapshot_xip($1) AS x (xid)
    CROSS JOIN LATERAL (SELECT * FROM app.session_events s WHERE s.xid = x.xid OFFSET 0) AS e
$$;
COMMENT ON FUNCTION app.events_since IS
    'The transitions that a snapshot does not show: those of transactions that began after it or were in progress. Rows of '
    'another cluster, whose transactions have not begun here, are passed over. PostgreSQL inlines this function, because it '
    'has no settings of its own';

CREATE OR REPLACE FUNCTION app.deletions_since(earlier pg_snapshot) RETURNS SETOF app.deleted_sessions
LANGUAGE sql STABLE AS $$
    SELECT d.* FROM app.deleted_sessions d
    WHERE d.xid >= pg_catalog.pg_snapshot_xmax($1)
      AND d.xid < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    UNION ALL
    SELECT d.* FROM pg_catalog.pg_snapshot_xip($1) AS x (xid)
    CROSS JOIN LATERAL (SELECT * FROM app.deleted_sessions s WHERE s.xid = x.xid OFFSET 0) AS d
$$;
COMMENT ON FUNCTION app.deletions_since IS
    'The deletions that a snapshot does not show, like app.events_since. PostgreSQL inlines this function too';

CREATE OR REPLACE FUNCTION app.read_changes(session_ids uuid[], versions bigint[], rights_since text)
RETURNS TABLE (
    cluster bigint, timeline integer, snapshot text, horizon bigint,
    changed_in bigint, changed_user uuid, changed_sign_in uuid, changed_patient uuid, changed_session uuid,
    asked uuid, patient_id uuid,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    segments integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz,
    e_version bigint, e_attempt integer, e_status text, e_progress smallint, e_message text, e_error text,
    e_segments integer, e_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    FOR cluster, timeline, snapshot, horizon, changed_in, changed_user, changed_sign_in, changed_patient, changed_session IN
        SELECT * FROM rights_since($3)
    LOOP
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
        SELECT NULL::bigint, NULL::integer, NULL::text, NULL::bigint,
               NULL::bigint, NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid,
               w.id, t.patient_id,
               p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
               p.segments, p.version, p.attempt, p.created_at, p.updated_at,
               e.version, e.attempt, e.status, e.progress, e.message, e.error, e.segments, e.at
        FROM unnest($1, $2) AS w (id, known)
        LEFT JOIN LATERAL (SELECT * FROM session_progress s WHERE s.session_id = w.id OFFSET 0) AS p ON true
        LEFT JOIN LATERAL (
            SELECT s.patient_id FROM therapy_sessions s WHERE s.id = w.id AND p.version > w.known OFFSET 0) AS t ON true
        LEFT JOIN LATERAL (
            SELECT * FROM session_events s
            WHERE s.session_id = w.id AND s.version > w.known AND p.version > w.known OFFSET 0) AS e ON true
        WHERE p.session_id IS NULL OR p.version > w.known
        ORDER BY w.id, e.version;
END
$$;
COMMENT ON FUNCTION app.read_changes IS
    'First the rows of app.rights_since. Then the sessions that are newer than the given versions, with one row for each '
    'transition since, or one row without a transition; and the sessions that do not exist. Each changed session has its patient, '
    'who may be another than before';

CREATE OR REPLACE FUNCTION app.read_transitions(session_ids uuid[], versions bigint[], most integer)
RETURNS TABLE (
    ordinal bigint, version bigint, attempt integer, status text, progress smallint, message text, error text,
    segments integer, at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT w.ordinal, e.version, e.attempt, e.status, e.progress, e.message, e.error, e.segments, e.at
        FROM unnest($1, $2) WITH ORDINALITY AS w (id, known, ordinal)
        CROSS JOIN LATERAL (
            SELECT * FROM session_events e WHERE e.session_id = w.id AND e.version > w.known
            ORDER BY e.version DESC LIMIT $3) AS e
        ORDER BY w.ordinal, e.version;
END
$$;
COMMENT ON FUNCTION app.read_transitions IS
    'The transitions of each session after a version, oldest first; at most the newest "most" of each session';

CREATE OR REPLACE FUNCTION app.read_feed(since text, session_ids uuid[], rights_since text)
RETURNS TABLE (
    cluster bigint, timeline integer, snapshot text, horizon bigint,
    changed_in bigint, changed_user uuid, changed_sign_in uuid, changed_patient uuid, changed_session uuid,
    asked uuid, deleted_patient uuid, patient_id uuid,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    segments integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz,
    e_version bigint, e_attempt integer, e_status text, e_progress smallint, e_message text, e_error text,
    e_segments integer, e_at timestamptz, e_transaction bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
BEGIN
    FOR cluster, timeline, snapshot, horizon, changed_in, changed_user, changed_sign_in, changed_patient, changed_session IN
        SELECT * FROM rights_since($3)
    LOOP
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
        SELECT NULL::bigint, NULL::integer, NULL::text, NULL::bigint,
               NULL::bigint, NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid,
               w.id, w.deleted_patient, p.patient_id,
               p.session_id, p.status, p.progress, p.message, p.error, p.estimated_time_remaining,
               p.segments, p.version, p.attempt, p.created_at, p.updated_at,
               (w.event).version, (w.event).attempt, (w.event).status, (w.event).progress, (w.event).message,
               (w.event).error, (w.event).segments, (w.event).at, (w.event).xid::text::bigint
        FROM (
            SELECT e.session_id, NULL::uuid, e FROM events_since(earlier) AS e
            UNION ALL SELECT DISTINCT s.id, NULL::uuid, NULL::session_events FROM unnest($2) AS s (id)
            UNION ALL SELECT d.session_id, d.patient_id, NULL::session_events FROM deletions_since(earlier) AS d
        ) AS w (id, deleted_patient, event)
        LEFT JOIN LATERAL (
            SELECT s.*, t.patient_id FROM session_progress s JOIN therapy_sessions t ON t.id = s.session_id
            WHERE s.session_id = w.id AND t.id = w.id AND t.probe_of IS NULL AND w.deleted_patient IS NULL OFFSET 0) AS p ON true
        ORDER BY w.id, (w.event).version;
END
$$;
COMMENT ON FUNCTION app.read_feed IS
    'First the rows of app.rights_since. Then what happened since a snapshot: one row for each transition, with the present '
    'progress of its session; one row for each deletion; and one row without a transition for each session of session_ids. The '
    'rows of a probe have no progress: no stream of all sessions shows it';

CREATE OR REPLACE FUNCTION app.read_missed(since text, until text, patient_ids uuid[], most integer)
RETURNS TABLE (
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    segments integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    later CONSTANT pg_snapshot := $2::pg_snapshot;
    -- For an old, perhaps forged position, the sessions of these patients are fewer than all transitions since.
    starts_from_patients CONSTANT boolean := $3 IS NOT NULL AND EXISTS (
        SELECT FROM session_events e WHERE e.xid >= pg_snapshot_xmax(earlier) OFFSET 10000);
BEGIN
    RETURN QUERY
        SELECT m.session_id, m.status, m.progress, m.message, m.error, NULL::integer,
               m.segments, m.version, m.attempt, m.created_at, m.at
        FROM (
            SELECT e.*, t.created_at FROM events_since(earlier) AS e
            CROSS JOIN LATERAL (
                SELECT s.created_at FROM therapy_sessions s
                WHERE s.id = e.session_id AND s.probe_of IS NULL AND ($3 IS NULL OR s.patient_id = ANY ($3)) OFFSET 0) AS t
            WHERE NOT starts_from_patients AND pg_visible_in_snapshot(e.xid, later)
            UNION ALL
            SELECT e.*, t.created_at FROM unnest($3) AS p (id)
            CROSS JOIN LATERAL (SELECT * FROM therapy_sessions s WHERE s.patient_id = p.id OFFSET 0) AS t
            CROSS JOIN LATERAL (
                SELECT * FROM session_events s
                WHERE s.session_id = t.id AND NOT pg_visible_in_snapshot(s.xid, earlier) OFFSET 0) AS e
            WHERE starts_from_patients AND pg_visible_in_snapshot(e.xid, later)
            LIMIT $4
        ) AS m
        ORDER BY m.at, m.session_id, m.version;
END
$$;
COMMENT ON FUNCTION app.read_missed IS
    'The transitions that the later snapshot shows and the earlier one does not, as progress, oldest first; for these '
    'patients, or with null for all. If there are more than "most", any "most" of them. The caller then starts again with the '
    'caseload';

CREATE OR REPLACE FUNCTION app.read_missed_deletions(since text, until text, patient_ids uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    later CONSTANT pg_snapshot := $2::pg_snapshot;
BEGIN
    RETURN QUERY
        SELECT d.session_id FROM deletions_since(earlier) AS d
        WHERE pg_visible_in_snapshot(d.xid, later) AND ($3 IS NULL OR d.patient_id = ANY ($3));
END
$$;
COMMENT ON FUNCTION app.read_missed_deletions IS
    'The sessions whose deletion the later snapshot shows and the earlier one does not; for these patients, or with null for '
    'all';

CREATE OR REPLACE FUNCTION app.read_revoked(user_id uuid, patient_ids uuid[], session_ids uuid[], present uuid[])
RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT t.id FROM unnest($2) AS p (id)
        CROSS JOIN LATERAL (
            SELECT * FROM assigned_patients s
            WHERE s.user_id = $1 AND s.patient_id = p.id AND NOT s.is_active OFFSET 0) AS a
        CROSS JOIN LATERAL (
            SELECT s.id FROM therapy_sessions s WHERE s.patient_id = p.id AND s.created_at <= a.ended_at OFFSET 0) AS t
        UNION
        SELECT d.session_id FROM unnest($2) AS p (id)
        CROSS JOIN LATERAL (SELECT * FROM deleted_sessions s WHERE s.patient_id = p.id OFFSET 0) AS d
        UNION
        SELECT t.id FROM unnest($3) AS w (id)
        CROSS JOIN LATERAL (
            SELECT s.id FROM therapy_sessions s WHERE s.id = w.id AND NOT s.patient_id = ANY ($4) OFFSET 0) AS t;
END
$$;
COMMENT ON FUNCTION app.read_revoked IS
    'The sessions that a user can no longer see: those of patient_ids, deleted ones included, whose assignments have ended; '
    'and those of session_ids whose patient is not among "present", because the session was moved to another patient';

REVOKE ALL ON FUNCTION app.events_since, app.deletions_since, app.read_changes, app.read_transitions, app.read_feed,
    app.read_missed, app.read_missed_deletions, app.read_revoked FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.read_changes, app.read_transitions, app.read_feed, app.read_missed, app.read_missed_deletions,
    app.read_revoked TO therapybridge_server;

COMMIT;
