-- Sign-ins and their refresh tokens: begin, refresh, end, and removal after expiry.
-- revision: 1
--
-- Lock order: the refresh token first, then its sign-in.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('060_sign_ins', 1); END $$;

REVOKE ALL ON app.auth_sessions, app.refresh_tokens FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.begin_sign_in(user_id uuid, password_hash text, refresh_hash bytea, lifetime interval)
RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    begun auth_sessions;
BEGIN
    -- Without this check, the server's role could become any user.
    IF $2 IS NULL AND NOT pg_has_role(session_user, 'therapybridge_owner', 'MEMBER') THEN
        RAISE EXCEPTION 'a sign-in needs a password'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'password_required';
    END IF;
    -- The user's row stays locked until the sign-in exists. A concurrent deactivation or new password therefore ends this
    -- sign-in with the others, or prevents it.
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
    'Begins a sign-in and returns its id; null if the user is gone, inactive, or has another password hash by now. Raises '
    '42501 for a null password hash, unless the caller is a member of the owner';

CREATE OR REPLACE FUNCTION app.admit_sign_in(sign_in uuid, address text, expires_at timestamptz)
RETURNS TABLE (user_id uuid, is_active boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
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
    -- An ended sign-in stays ended, even if it ended a moment ago.
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
    'The user of a token of an identity provider, by e-mail address; no row: no account has the address. Creates the '
    'sign-in, or extends it to the given end, unless it has ended';

CREATE OR REPLACE FUNCTION app.refresh_sign_in(token_hash bytea, new_hash bytea, lifetime interval)
RETURNS TABLE (outcome text, sign_in uuid, id uuid, email text, full_name text, role text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    found_outcome text;
    family uuid;
    owner_id uuid;
    new_end timestamptz := clock_timestamp() + $3;
BEGIN
    -- The lock on the token's row: the second of two clients that present the token at once finds it spent.
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
    'Exchanges a refresh token for a new one. The outcome is one of: renewed, with the user; reused, and the whole sign-in '
    'is revoked; inactive, for a deactivated user; refused, for any other token';

CREATE OR REPLACE FUNCTION app.end_sign_in(sign_in uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out'
    WHERE id = $1 AND revoked_at IS NULL
$$;
COMMENT ON FUNCTION app.end_sign_in IS 'Revokes a sign-in, unless it has ended';

CREATE OR REPLACE FUNCTION app.end_sign_in_of(token_hash bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    family uuid;
BEGIN
    -- The same lock as for a refresh. A concurrent refresh commits before this statement, or finds the sign-in revoked.
    SELECT t.auth_session_id INTO family FROM refresh_tokens t WHERE t.token_hash = $1 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM end_sign_in(family);
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.end_sign_in_of IS
    'Revokes the sign-in of a refresh token, even of a spent or expired one. False: no such token exists';

CREATE OR REPLACE FUNCTION app.delete_expired_sign_ins(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    tokens bigint;
    sign_ins bigint;
BEGIN
    DELETE FROM refresh_tokens WHERE token_hash IN (
        SELECT t.token_hash FROM refresh_tokens t WHERE t.expires_at < clock_timestamp() - greatest($1, interval '1 day')
        ORDER BY t.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS tokens = ROW_COUNT;
    DELETE FROM auth_sessions WHERE id IN (
        SELECT s.id FROM auth_sessions s
        WHERE s.expires_at < clock_timestamp() - greatest($1, interval '1 day')
          AND NOT EXISTS (SELECT FROM refresh_tokens t WHERE t.auth_session_id = s.id)
        ORDER BY s.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS sign_ins = ROW_COUNT;
    RETURN tokens + sign_ins;
END
$$;
COMMENT ON FUNCTION app.delete_expired_sign_ins IS
    'Deletes refresh tokens and sign-ins that expired longer ago than the age, at least a day, and returns their number. '
    'At most "most" of each, to keep the transaction short. The audit log keeps its records about them';

REVOKE ALL ON FUNCTION app.begin_sign_in, app.admit_sign_in, app.refresh_sign_in, app.end_sign_in, app.end_sign_in_of,
    app.delete_expired_sign_ins
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.begin_sign_in, app.admit_sign_in, app.refresh_sign_in, app.end_sign_in, app.end_sign_in_of,
    app.delete_expired_sign_ins
    TO therapybridge_server;

COMMIT;
