-- What a large database has shown, and what the server's role could do without a user.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- Who follows everything, and the lists by status, ask for what is not done: a few among a million. A percentage does not
-- touch it.
CREATE INDEX session_progress_unfinished_idx ON app.session_progress (status) WHERE status <> 'processed';

-- As in 0009, but that the transitions are found by their session. The bound on xid that stood here too says nothing that
-- the snapshot does not, and had the planner expect a single row and compare each with each.
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

-- As in 0013, but that only who owns the database begins a sign-in without a password: the server's role was anybody by it.
-- The user's row is held until the sign-in is there, so it either ends with what ends the others, or does not begin.
CREATE OR REPLACE FUNCTION app.begin_sign_in(user_id uuid, password_hash text, refresh_hash bytea, lifetime interval) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    begun auth_sessions;
BEGIN
    IF $2 IS NULL AND NOT pg_has_role(session_user, 'therapybridge_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'a sign-in begins with a password' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO auth_sessions (user_id, expires_at)
    SELECT u.id, clock_timestamp() + $4 FROM (
        SELECT id FROM users WHERE id = $1 AND is_active AND ($2 IS NULL OR password_hash = $2) FOR SHARE) AS u
    RETURNING * INTO begun;
    IF begun.id IS NOT NULL AND $3 IS NOT NULL THEN
        INSERT INTO refresh_tokens (token_hash, auth_session_id, expires_at) VALUES ($3, begun.id, begun.expires_at);
    END IF;
    RETURN begun.id;
END
$$;

-- Who acts in the server is who is signed in: in psql anybody can set a name, and went unrecorded under it.
CREATE OR REPLACE FUNCTION app.acting_user_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ SELECT (acting_user()).id $$;

INSERT INTO app.schema_migrations (version, name) VALUES (17, 'growth');
COMMIT;
