-- Tickets: a ticket opens one stream once, for a client that can send neither a header nor a cookie.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('070_tickets', 1); END $$;

REVOKE ALL ON app.stream_tickets FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.issue_ticket(
    ticket_hash bytea, user_id uuid, sign_in uuid, session_id uuid, access_expires_at timestamptz, lifetime interval,
    most bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The lock on the sign-in: concurrent calls count one after the other.
    PERFORM FROM valid_sign_ins s WHERE s.id = $3 AND s.user_id = $2 AND NOT s.is_suspended FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 'not signed in';
    END IF;
    DELETE FROM stream_tickets WHERE auth_session_id = $3 AND expires_at <= clock_timestamp();
    IF (SELECT count(*) FROM stream_tickets WHERE auth_session_id = $3) >= $7 THEN
        RETURN 'too many';
    END IF;
    INSERT INTO stream_tickets (ticket_hash, auth_session_id, session_id, access_expires_at, expires_at)
    VALUES ($1, $3, $4, $5, clock_timestamp() + $6);
    RETURN 'issued';
END
$$;
COMMENT ON FUNCTION app.issue_ticket IS
    'Stores a new ticket of a sign-in. Returns "issued"; "not signed in" if the sign-in has ended; or "too many" if it has '
    '"most" unused tickets';

CREATE OR REPLACE FUNCTION app.spend_ticket(ticket_hash bytea, session_id uuid)
RETURNS TABLE (user_id uuid, sign_in uuid, access_expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- One of several concurrent calls deletes the row, and the others find no row.
    RETURN QUERY
        DELETE FROM stream_tickets t USING auth_sessions s
        WHERE t.ticket_hash = $1 AND t.session_id IS NOT DISTINCT FROM $2 AND t.expires_at > clock_timestamp()
          AND s.id = t.auth_session_id
        RETURNING s.user_id, s.id, t.access_expires_at;
END
$$;
COMMENT ON FUNCTION app.spend_ticket IS
    'Spends a ticket on the stream of a session (null: of all sessions) and returns its user and sign-in. No row: the ticket '
    'is unknown, spent or expired, or it is for another stream and stays good for that one';

CREATE OR REPLACE FUNCTION app.peek_ticket(ticket_hash bytea, session_id uuid)
RETURNS TABLE (user_id uuid, sign_in uuid, access_expires_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.user_id, s.id, t.access_expires_at
        FROM stream_tickets t JOIN auth_sessions s ON s.id = t.auth_session_id
        WHERE t.ticket_hash = $1 AND t.session_id IS NOT DISTINCT FROM $2 AND t.expires_at > clock_timestamp();
END
$$;
COMMENT ON FUNCTION app.peek_ticket IS 'Returns the same as app.spend_ticket and does not spend the ticket';

CREATE OR REPLACE FUNCTION app.delete_expired_tickets() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (DELETE FROM stream_tickets WHERE expires_at <= clock_timestamp() RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_expired_tickets IS 'Deletes the expired tickets and returns their number';

REVOKE ALL ON FUNCTION app.issue_ticket, app.spend_ticket, app.peek_ticket, app.delete_expired_tickets
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.issue_ticket, app.spend_ticket, app.peek_ticket, app.delete_expired_tickets
    TO therapybridge_server;

COMMIT;
