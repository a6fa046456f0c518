-- Sign-ins and their refresh tokens: begin, refresh, list, end, and removal after expiry.
-- revision: 1
--
-- Lock order: the user, then a sign-in. The tokens of a sign-in change only under the lock on its row.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('060_sign_ins', 1); END $$;

REVOKE ALL ON app.auth_sessions, app.refresh_tokens FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

-- Begin

CREATE OR REPLACE FUNCTION app.end_surplus_sign_ins(user_id uuid, most integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'too_many_sign_ins'
    WHERE id IN (
        SELECT s.id FROM auth_sessions s
        WHERE s.user_id = $1 AND s.kind <> 'operator' AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
        ORDER BY s.created_at DESC, s.id DESC OFFSET $2);
END
$$;
COMMENT ON FUNCTION app.end_surplus_sign_ins IS
    'Ends the oldest sign-ins of an account beyond a number. The caller holds the lock on the user''s row: concurrent calls '
    'count one after the other';

CREATE OR REPLACE FUNCTION app.begin_sign_in(
    user_id uuid, presented text, refresh_hash bytea, lifetime interval, max_age interval, most integer,
    user_agent text, address inet)
RETURNS TABLE (sign_in uuid, ends_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    -- The user's row stays locked until the sign-in exists. A concurrent deactivation or new password therefore ends this
    -- sign-in with the others, or prevents it.
    PERFORM FROM users u WHERE u.id = $1 AND u.is_active AND is_same_hash(u.password_hash, $2) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO auth_sessions (user_id, kind, expires_at, user_agent, address)
    VALUES ($1, 'password', clock_timestamp() + least($4, $5), $7, $8)
    RETURNING id, expires_at INTO sign_in, ends_at;
    INSERT INTO refresh_tokens (token_hash, auth_session_id, expires_at) VALUES ($3, sign_in, ends_at);
    PERFORM end_surplus_sign_ins($1, $6);
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION app.begin_sign_in IS
    'Begins a sign-in with the hash that the server has computed from the password, and ends the oldest sign-ins beyond '
    '"most". No row: the user is gone or inactive, or the hash is not the stored one';

CREATE OR REPLACE FUNCTION app.begin_operator_sign_in(user_id uuid, lifetime interval) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    begun uuid;
BEGIN
    PERFORM FROM users u WHERE u.id = $1 AND u.is_active FOR SHARE;
    IF FOUND THEN
        INSERT INTO auth_sessions (user_id, kind, expires_at) VALUES ($1, 'operator', clock_timestamp() + $2)
        RETURNING id INTO begun;
    END IF;
    RETURN begun;
END
$$;
COMMENT ON FUNCTION app.begin_operator_sign_in IS
    'Begins a sign-in without a password, for the command "token"; null if the user is gone or inactive. Only members of the '
    'owner may call it';

CREATE OR REPLACE FUNCTION app.is_registered_provider(issuer text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    SELECT EXISTS (SELECT FROM identity_providers p WHERE p.issuer = $1)
$$;
COMMENT ON FUNCTION app.is_registered_provider IS
    'True if the owner has registered the identity provider. A server asks when it starts';

CREATE OR REPLACE FUNCTION app.admit_sign_in(
    sign_in uuid, issuer text, email text, expires_at timestamptz, max_age interval, most integer,
    user_agent text, address inet)
RETURNS TABLE (user_id uuid, is_active boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    is_settled boolean;
BEGIN
    -- The database cannot verify the provider's signature. Without a registered provider, this function begins no sign-in.
    IF NOT is_registered_provider($2) THEN
        RAISE EXCEPTION 'the identity provider is not registered'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'provider_not_registered',
                HINT = 'As the owner: INSERT INTO app.identity_providers (issuer) VALUES (…), with the value of JWT_ISSUER.';
    END IF;
    SELECT u.id, u.is_active,
           coalesce(s.user_id <> u.id OR s.revoked_at IS NOT NULL OR s.expires_at >= least($4, s.created_at + $5)
                    OR s.cluster <> this_cluster(), false)
    INTO admit_sign_in.user_id, admit_sign_in.is_active, is_settled
    FROM users u LEFT JOIN auth_sessions s ON s.id = $1
    WHERE lower(u.email COLLATE "C") = lower($3 COLLATE "C");
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF admit_sign_in.is_active AND NOT is_settled THEN
        PERFORM FROM users u WHERE u.id = admit_sign_in.user_id AND u.is_active FOR NO KEY UPDATE;
        IF FOUND THEN
            -- An ended sign-in stays ended, even if it ended a moment ago.
            INSERT INTO auth_sessions AS s (id, user_id, kind, expires_at, user_agent, address)
            VALUES ($1, admit_sign_in.user_id, 'provider', least($4, clock_timestamp() + $5), $7, $8)
            ON CONFLICT (id) DO UPDATE
                SET expires_at = least($4, s.created_at + $5), last_used_at = clock_timestamp(),
                    user_agent = excluded.user_agent, address = excluded.address
                WHERE s.user_id = excluded.user_id AND s.revoked_at IS NULL
                  AND s.expires_at < least($4, s.created_at + $5);
            PERFORM end_surplus_sign_ins(admit_sign_in.user_id, $6);
        END IF;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION app.admit_sign_in IS
    'The user of a token of a registered identity provider, by e-mail address; no row: no account has the address. Creates '
    'the sign-in, or extends it to the end of the token, but not beyond its greatest age, unless it has ended. Raises 42501 '
    'for an issuer that is not in app.identity_providers';

-- Refresh
--
-- A refresh token is in one of these states. To use a token means to present it here.
--
--   fresh   It gives a new pair, and becomes spent. Its siblings, the other successors of its predecessor, become ended.
--   spent   For the grace after it was spent, and while none of its successors is spent, it gives a fresh pair each time: the
--           answer of the first time may have been lost, or two tabs may have asked at once. Any other use revokes the sign-in.
--   ended   Its use is refused for the grace after its end, and later revokes the sign-in.

CREATE OR REPLACE FUNCTION app.customer_of(address inet) RETURNS inet
LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE family($1) WHEN 6 THEN network(set_masklen($1, 64)) ELSE $1 END $$;
COMMENT ON FUNCTION app.customer_of IS
    'The part of a network address that one customer of a network controls: the first 64 bits of an IPv6 address, whose other '
    'bits a host changes by itself, or the whole IPv4 address';

CREATE OR REPLACE FUNCTION app.refresh_sign_in(
    token_hash bytea, new_hash bytea, lifetime interval, max_age interval, grace interval, user_agent text, address inet)
RETURNS TABLE (outcome text, sign_in uuid, ends_at timestamptz, id uuid, email text, full_name text, role text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    family auth_sessions;
    token refresh_tokens;
    account users;
    present timestamptz;
BEGIN
    -- This lock alone orders everything that happens to the tokens of one sign-in.
    SELECT s.* INTO family FROM auth_sessions s
    WHERE s.id = (SELECT t.auth_session_id FROM refresh_tokens t WHERE t.token_hash = $1)
    FOR NO KEY UPDATE;
    -- New statements: they see what has committed while this one waited for the lock.
    SELECT t.* INTO token FROM refresh_tokens t WHERE t.token_hash = $1;
    SELECT u.* INTO account FROM users u WHERE u.id = family.user_id;
    present := clock_timestamp();
    sign_in := family.id;
    ends_at := least(present + $3, family.created_at + $4);

    outcome := CASE
        WHEN token.token_hash IS NULL OR account.id IS NULL OR family.expires_at <= present OR ends_at <= present
             OR family.cluster <> this_cluster()
            THEN 'refused'
        WHEN NOT account.is_active AND (family.revoked_at IS NULL OR family.revoked_reason = 'account_deactivated')
            THEN 'inactive'
        WHEN family.revoked_at IS NOT NULL THEN 'refused'
        WHEN token.ended_at IS NOT NULL
            THEN CASE WHEN present < token.ended_at + $5 THEN 'refused' ELSE 'reused' END
        WHEN token.spent_at IS NOT NULL
            THEN CASE WHEN present < token.spent_at + $5
                           AND NOT EXISTS (SELECT FROM refresh_tokens s WHERE s.predecessor = $1 AND s.spent_at IS NOT NULL)
                      THEN 'repeated' ELSE 'reused' END
        WHEN token.expires_at <= present THEN 'refused'
        ELSE 'renewed' END;

    IF outcome = 'reused' THEN
        UPDATE auth_sessions SET revoked_at = present, revoked_reason = 'refresh_token_reused' WHERE id = family.id;
    ELSIF outcome IN ('renewed', 'repeated') THEN
        IF outcome = 'renewed' THEN
            UPDATE refresh_tokens SET spent_at = present, spent_from = $7 WHERE token_hash = $1;
            UPDATE refresh_tokens SET ended_at = present
            WHERE predecessor = token.predecessor AND spent_at IS NULL AND ended_at IS NULL;
        ELSIF customer_of($7) IS DISTINCT FROM customer_of(token.spent_from) THEN
            INSERT INTO audit_log (action, user_id, auth_session_id, address, detail)
            VALUES ('sign_in.repeat', family.user_id, family.id, customer_of($7),
                    'a spent refresh token, from another address');
        END IF;
        INSERT INTO refresh_tokens (token_hash, auth_session_id, predecessor, expires_at)
        VALUES ($2, family.id, $1, ends_at);
        UPDATE auth_sessions SET expires_at = ends_at, last_used_at = present, user_agent = $6, address = $7
        WHERE id = family.id;
        id := account.id;
        email := account.email;
        full_name := account.full_name;
        role := account.role;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION app.refresh_sign_in IS
    'Exchanges a refresh token for a new one. The outcome is one of: renewed, with the user; repeated, the same for a token '
    'that was spent within the grace; reused, and the whole sign-in is revoked; inactive, for a deactivated user; refused, for '
    'any other token';

-- End

CREATE OR REPLACE FUNCTION app.end_sign_in(sign_in uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out'
    WHERE id = $1 AND revoked_at IS NULL
$$;
COMMENT ON FUNCTION app.end_sign_in IS 'Revokes a sign-in, unless it has ended';

CREATE OR REPLACE FUNCTION app.end_sign_in_of(token_hash bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    family uuid;
BEGIN
    SELECT t.auth_session_id INTO family FROM refresh_tokens t WHERE t.token_hash = $1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM end_sign_in(family);
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.end_sign_in_of IS
    'Revokes the sign-in of a refresh token, even of a spent or expired one. False: no such token exists';

CREATE OR REPLACE FUNCTION app.end_sign_ins_of_changed_account() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    reason CONSTANT text := CASE WHEN OLD.is_active AND NOT NEW.is_active THEN 'account_deactivated'
                                 WHEN OLD.role <> NEW.role THEN 'role_changed'
                                 ELSE 'password_changed' END;
    kept uuid;
BEGIN
    IF reason = 'password_changed' THEN
        SELECT c.kept_sign_in INTO kept FROM password_changes c WHERE c.user_id = NEW.id;
        IF FOUND AND kept IS NULL THEN
            -- The hash is of the same password.
            RETURN NULL;
        END IF;
    END IF;
    UPDATE auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = reason
    WHERE user_id = NEW.id AND revoked_at IS NULL AND id IS DISTINCT FROM kept;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.end_sign_ins_of_changed_account IS
    'Trigger: a deactivation, a new role and a new password end the sign-ins of the account for good, from any '
    'role. app.password_changes names the exceptions';
-- PostgreSQL fires triggers in the order of their names. This one comes after record_user, which needs the acting user's
-- sign-in.
CREATE OR REPLACE TRIGGER sign_ins_end AFTER UPDATE ON app.users FOR EACH ROW
    WHEN (OLD.is_active AND NOT NEW.is_active OR OLD.role <> NEW.role OR OLD.password_hash IS DISTINCT FROM NEW.password_hash)
    EXECUTE FUNCTION app.end_sign_ins_of_changed_account();

-- The sign-ins of an account, for its user and for administrators. Both functions work for the acting user.

CREATE OR REPLACE FUNCTION app.sign_ins_of(user_id uuid)
RETURNS TABLE (id uuid, created_at timestamptz, last_used_at timestamptz, user_agent text, address text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    IF acting_id() = $1 OR acting_may_all('see_accounts') THEN
        RETURN QUERY
            SELECT s.id, s.created_at, s.last_used_at, s.user_agent, host(s.address)
            FROM auth_sessions s JOIN valid_sign_ins v ON v.id = s.id
            WHERE s.user_id = $1 AND NOT v.is_suspended
            ORDER BY s.created_at DESC, s.id;
    END IF;
END
$$;
COMMENT ON FUNCTION app.sign_ins_of IS
    'The sign-ins of an account that have not ended, the newest first. The acting user has to be the account''s own, or one '
    'who may see all accounts';

CREATE OR REPLACE FUNCTION app.end_sign_ins_of(user_id uuid, sign_in uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    actor CONSTANT uuid := acting_id();
BEGIN
    IF actor IS NULL OR actor <> $1 AND NOT acting_may_all('manage_accounts') THEN
        RETURN false;
    END IF;
    PERFORM FROM users u WHERE u.id = $1 FOR NO KEY UPDATE;
    IF NOT FOUND OR $2 IS NOT NULL AND NOT EXISTS (SELECT FROM auth_sessions s WHERE s.id = $2 AND s.user_id = $1) THEN
        RETURN false;
    END IF;
    UPDATE auth_sessions
    SET revoked_at = clock_timestamp(),
        revoked_reason = CASE WHEN actor = $1 THEN 'ended_by_user' ELSE 'ended_by_administrator' END
    WHERE user_id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR id = $2);
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.end_sign_ins_of IS
    'Ends one sign-in of an account, or all. The acting user has to be the account''s own, or one who may manage accounts. '
    'False: the acting user may not, or the account or its sign-in does not exist';

-- Removal

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

REVOKE ALL ON FUNCTION app.end_surplus_sign_ins, app.begin_sign_in, app.begin_operator_sign_in,
    app.is_registered_provider, app.admit_sign_in, app.customer_of, app.refresh_sign_in, app.end_sign_in,
    app.end_sign_in_of, app.end_sign_ins_of_changed_account, app.sign_ins_of, app.end_sign_ins_of, app.delete_expired_sign_ins
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.begin_sign_in, app.is_registered_provider, app.admit_sign_in,
    app.refresh_sign_in, app.end_sign_in, app.end_sign_in_of, app.sign_ins_of, app.end_sign_ins_of, app.delete_expired_sign_ins
    TO therapybridge_server;

COMMIT;
