-- Who the users are, and who works with whom: under row-level security, as what belongs to a session is since 0009.
--
-- Whoever signs in is nobody yet. So what signing in, refreshing and tickets need goes through functions that each answer
-- one question about one account; hashes of passwords, sign-ins, refresh tokens and tickets are read by nothing else.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE FUNCTION app.acting_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ SELECT (acting_user()).id $$;
COMMENT ON FUNCTION app.acting_id IS 'The id of the acting user; null when nobody acts';
GRANT EXECUTE ON FUNCTION app.acting_id TO therapybridge_server;

ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.users FORCE ROW LEVEL SECURITY;
ALTER TABLE app.therapist_patients ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.therapist_patients FORCE ROW LEVEL SECURITY;

CREATE POLICY owner ON app.users TO therapybridge_owner USING (true) WITH CHECK (true);
CREATE POLICY owner ON app.therapist_patients TO therapybridge_owner USING (true) WITH CHECK (true);

-- Oneself, and for a therapist the patients of the present.
CREATE POLICY seen ON app.users FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin' OR id = (SELECT app.acting_id())
           OR id = ANY (ARRAY(SELECT app.acting_patients())));
CREATE POLICY added ON app.users FOR INSERT TO therapybridge_server
    WITH CHECK ((SELECT app.acting_role()) = 'admin');
CREATE POLICY changed ON app.users FOR UPDATE TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin') WITH CHECK ((SELECT app.acting_role()) = 'admin');

CREATE POLICY seen ON app.therapist_patients FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin' OR (SELECT app.acting_id()) IN (therapist_id, patient_id));
CREATE POLICY assigned ON app.therapist_patients FOR INSERT TO therapybridge_server
    WITH CHECK ((SELECT app.acting_role()) = 'admin');
CREATE POLICY changed ON app.therapist_patients FOR UPDATE TO therapybridge_server
    USING ((SELECT app.acting_role()) = 'admin') WITH CHECK ((SELECT app.acting_role()) = 'admin');

-- Nobody, an administrator included, has a use for the hash of a password but to hold a password against it.
REVOKE SELECT, UPDATE ON app.users FROM therapybridge_server;
REVOKE UPDATE (email, full_name, role, password_hash, is_active, updated_at) ON app.users FROM therapybridge_server;
GRANT SELECT (id, email, full_name, role, is_active, created_at, updated_at) ON app.users TO therapybridge_server;
GRANT UPDATE (full_name, role, is_active, updated_at) ON app.users TO therapybridge_server;
REVOKE SELECT, INSERT ON app.auth_sessions, app.refresh_tokens FROM therapybridge_server;
REVOKE UPDATE (expires_at, revoked_at, revoked_reason) ON app.auth_sessions FROM therapybridge_server;
REVOKE UPDATE (spent_at) ON app.refresh_tokens FROM therapybridge_server;
REVOKE SELECT, INSERT, DELETE ON app.stream_tickets FROM therapybridge_server;

-- Signing in

CREATE FUNCTION app.account_by_address(address text)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean, password_hash text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active, u.password_hash FROM users u
        WHERE lower(u.email) = lower($1);
END
$$;
COMMENT ON FUNCTION app.account_by_address IS
    'The account that goes by an address, with what a password is held against: one at a time, for whoever knows the address';

CREATE FUNCTION app.account_signed_in(user_id uuid, sign_in uuid)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active FROM users u JOIN auth_sessions s ON s.user_id = u.id
        WHERE u.id = $1 AND s.id = $2 AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp();
END
$$;
COMMENT ON FUNCTION app.account_signed_in IS 'The account behind a sign-in that stands, be it active or not';

CREATE FUNCTION app.replace_password_hash(user_id uuid, old text, new text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 $$;
COMMENT ON FUNCTION app.replace_password_hash IS 'Another hash of the same password, from who knows the present one';

-- The user's row is held until the sign-in is there, so it either ends with what ends the others, or does not begin.
CREATE FUNCTION app.begin_sign_in(user_id uuid, password_hash text, refresh_hash bytea, lifetime interval) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    begun auth_sessions;
BEGIN
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
COMMENT ON FUNCTION app.begin_sign_in IS
    'Begins a sign-in; null when the user is gone, inactive or has another password. A null hash is not asked about';

CREATE FUNCTION app.admit_sign_in(sign_in uuid, address text, expires_at timestamptz)
RETURNS TABLE (user_id uuid, is_active boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    is_settled boolean;
BEGIN
    SELECT u.id, u.is_active, coalesce(s.user_id <> u.id OR s.revoked_at IS NOT NULL OR s.expires_at >= $3, false)
    INTO admit_sign_in.user_id, admit_sign_in.is_active, is_settled
    FROM users u LEFT JOIN auth_sessions s ON s.id = $1
    WHERE lower(u.email) = lower($2);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- One that has ended is left as it is, also when that happened a moment ago.
    IF admit_sign_in.is_active AND NOT is_settled THEN
        INSERT INTO auth_sessions AS s (id, user_id, expires_at)
        SELECT $1, u.id, $3 FROM (
            SELECT id FROM users WHERE id = admit_sign_in.user_id AND is_active FOR SHARE) AS u
        ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
        WHERE s.user_id = excluded.user_id AND s.revoked_at IS NULL AND s.expires_at < excluded.expires_at;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION app.admit_sign_in IS
    'The user whom an identity provider vouches for; notes the sign-in, and how long it lasts, unless it has ended';

-- The token's row is locked first: of two clients that present it at once, the second finds it spent.
CREATE FUNCTION app.refresh_sign_in(token_hash bytea, new_hash bytea, lifetime interval)
RETURNS TABLE (outcome text, sign_in uuid, id uuid, email text, full_name text, role text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    found_outcome text;
    family uuid;
    owner_id uuid;
    new_end timestamptz := clock_timestamp() + $3;
BEGIN
    SELECT s.id, u.id,
           CASE WHEN t.spent_at IS NOT NULL THEN 'reused'
                WHEN s.revoked_at IS NOT NULL OR s.expires_at <= clock_timestamp() OR t.expires_at <= clock_timestamp()
                    THEN 'refused'
                WHEN NOT u.is_active THEN 'inactive'
                ELSE 'renewed' END
    INTO family, owner_id, found_outcome
    FROM refresh_tokens t JOIN auth_sessions s ON s.id = t.auth_session_id JOIN users u ON u.id = s.user_id
    WHERE t.token_hash = $1
    FOR UPDATE OF t;
    IF found_outcome = 'reused' THEN
        UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'refresh_token_reused'
        WHERE id = family AND revoked_at IS NULL;
    ELSIF found_outcome = 'renewed' THEN
        UPDATE refresh_tokens SET spent_at = clock_timestamp() WHERE token_hash = $1;
        UPDATE auth_sessions SET expires_at = new_end WHERE id = family;
        INSERT INTO refresh_tokens (token_hash, auth_session_id, expires_at) VALUES ($2, family, new_end);
    END IF;
    RETURN QUERY
        SELECT coalesce(found_outcome, 'refused'), family, u.id, u.email, u.full_name, u.role
        FROM (VALUES (true)) AS always LEFT JOIN users u ON u.id = owner_id AND found_outcome = 'renewed';
END
$$;
COMMENT ON FUNCTION app.refresh_sign_in IS
    'Spends a refresh token: renewed, with the user; reused, and then the sign-in has ended; inactive; refused';

CREATE FUNCTION app.end_sign_in(sign_in uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out'
    WHERE id = $1 AND revoked_at IS NULL
$$;

-- Tickets

-- The row of the sign-in is locked first, so that those who come at once are counted one after the other.
CREATE FUNCTION app.issue_ticket(
    ticket_hash bytea, user_id uuid, sign_in uuid, session_id uuid, access_expires_at timestamptz, lifetime interval,
    most bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM auth_sessions s
    WHERE s.id = $3 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
    FOR NO KEY UPDATE;
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

-- Of those who delete a row at once, one has deleted it, and the others find none.
CREATE FUNCTION app.spend_ticket(ticket_hash bytea, session_id uuid)
RETURNS TABLE (user_id uuid, sign_in uuid, access_expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        DELETE FROM stream_tickets t USING auth_sessions s
        WHERE t.ticket_hash = $1 AND t.session_id IS NOT DISTINCT FROM $2 AND t.expires_at > clock_timestamp()
          AND s.id = t.auth_session_id
        RETURNING s.user_id, s.id, t.access_expires_at;
END
$$;

CREATE FUNCTION app.look_at_ticket(ticket_hash bytea, session_id uuid)
RETURNS TABLE (user_id uuid, sign_in uuid, access_expires_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT s.user_id, s.id, t.access_expires_at
        FROM stream_tickets t JOIN auth_sessions s ON s.id = t.auth_session_id
        WHERE t.ticket_hash = $1 AND t.session_id IS NOT DISTINCT FROM $2 AND t.expires_at > clock_timestamp();
END
$$;

CREATE FUNCTION app.forget_tickets() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    WITH forgotten AS (DELETE FROM stream_tickets WHERE expires_at <= clock_timestamp() RETURNING 1)
    SELECT count(*) FROM forgotten
$$;

GRANT EXECUTE ON FUNCTION app.account_by_address, app.account_signed_in, app.replace_password_hash, app.begin_sign_in,
    app.admit_sign_in, app.refresh_sign_in, app.end_sign_in, app.issue_ticket, app.spend_ticket, app.look_at_ticket,
    app.forget_tickets TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (13, 'user_security');
COMMIT;
