-- Sign-ins and refresh tokens that have long been over are forgotten.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- In the order in which a refresh locks them.
LOCK TABLE app.refresh_tokens, app.auth_sessions IN ACCESS EXCLUSIVE MODE;

CREATE INDEX auth_sessions_expires_at_idx ON app.auth_sessions (expires_at);
CREATE INDEX refresh_tokens_expires_at_idx ON app.refresh_tokens (expires_at);

-- Whoever changes nothing wakes nobody: of a change of rights, every server asks anew about every stream.
CREATE FUNCTION app.raise_rights_epoch() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    present bigint;
BEGIN
    UPDATE rights_epoch SET epoch = epoch + 1 RETURNING epoch INTO present;
    PERFORM pg_notify('tb_session_v1', 'rights ' || present);
END
$$;

CREATE OR REPLACE FUNCTION app.rights_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM raise_rights_epoch();
    RETURN NULL;
END
$$;

CREATE FUNCTION app.sign_ins_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM before b JOIN after a ON a.id = b.id WHERE (a.revoked_at IS NULL) <> (b.revoked_at IS NULL)) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;

-- A sign-in that has ended gave no right any more: that its row goes changes none.
CREATE FUNCTION app.sign_ins_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM removed r WHERE r.revoked_at IS NULL AND r.expires_at > clock_timestamp()) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER rights_changed ON app.auth_sessions;
CREATE TRIGGER sign_ins_changed AFTER UPDATE ON app.auth_sessions
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION app.sign_ins_changed();
CREATE TRIGGER sign_ins_removed AFTER DELETE ON app.auth_sessions REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION app.sign_ins_removed();

CREATE FUNCTION app.users_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM before b JOIN after a ON a.id = b.id
               WHERE (a.is_active, a.role) IS DISTINCT FROM (b.is_active, b.role)) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER rights_changed ON app.users;
CREATE TRIGGER users_changed AFTER UPDATE ON app.users
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION app.users_changed();
CREATE TRIGGER rights_changed AFTER DELETE ON app.users
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();

-- At most so many rows of each at once, so that a first time on a full table is no long transaction. A refresh token that
-- has expired can renew nothing, whoever has it, and a sign-in lasts as long as the last of its tokens. They go first: who
-- presents a token locks it and then its sign-in, and so nobody waits in a ring. Nothing younger than a day goes, whoever asks.
CREATE FUNCTION app.forget_sign_ins(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
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
COMMENT ON FUNCTION app.forget_sign_ins IS
    'Removes sign-ins and refresh tokens whose time was over so long ago; the audit log keeps what was done under them';

GRANT EXECUTE ON FUNCTION app.forget_sign_ins TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (15, 'forget_sign_ins');
COMMIT;
