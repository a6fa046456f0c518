-- Who opened, read or changed what, or was refused it, and when.
--
-- A record is written with the access or the change that it tells of, in the same transaction or before: where it cannot be
-- written, the access does not happen. There are no foreign keys: a record outlives what it is about. It names people and
-- sessions by their ids, and holds nobody's words.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.audit_log (
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    id              bigint GENERATED ALWAYS AS IDENTITY,
    action          text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    is_allowed      boolean NOT NULL DEFAULT true,
    user_id         uuid,
    auth_session_id uuid,
    session_id      uuid,
    patient_id      uuid,
    subject_id      uuid,
    request_id      text CHECK (length(request_id) <= 64),
    database_role   text NOT NULL DEFAULT session_user,
    detail          text CHECK (length(detail) <= 200),
    PRIMARY KEY (at, id)
);
-- By session, and whether a sign-in has done the same with it lately.
CREATE INDEX audit_log_session_id_idx ON app.audit_log (session_id, auth_session_id, action, at);
CREATE INDEX audit_log_user_id_idx ON app.audit_log (user_id, at);
CREATE INDEX audit_log_patient_id_idx ON app.audit_log (patient_id, at);
COMMENT ON TABLE app.audit_log IS 'Who did what, and who was refused it. Rows are added and never changed';
COMMENT ON COLUMN app.audit_log.user_id IS 'Who it was; null: nobody signed in, but the database role';
COMMENT ON COLUMN app.audit_log.patient_id IS 'Whose data it was about';
COMMENT ON COLUMN app.audit_log.subject_id IS 'The account that was changed, or the therapist of an assignment';
COMMENT ON COLUMN app.audit_log.request_id IS 'The X-Request-Id of the answer, which the server''s log has, too';
COMMENT ON COLUMN app.audit_log.database_role IS 'The role that was signed in to PostgreSQL';

ALTER TABLE app.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.audit_log FORCE ROW LEVEL SECURITY;
-- Not even the owner has a policy for UPDATE.
CREATE POLICY owner_reads ON app.audit_log FOR SELECT TO therapybridge_owner USING (true);
CREATE POLICY owner_adds ON app.audit_log FOR INSERT TO therapybridge_owner WITH CHECK (true);
CREATE POLICY owner_removes ON app.audit_log FOR DELETE TO therapybridge_owner USING (true);
CREATE POLICY seen ON app.audit_log FOR SELECT TO therapybridge_server USING ((SELECT app.acting_role()) = 'admin');
GRANT SELECT ON app.audit_log TO therapybridge_server;

CREATE FUNCTION app.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is not changed' USING ERRCODE = 'insufficient_privilege',
        HINT = 'To remove what is older than it has to be kept: DELETE FROM app.audit_log WHERE at < …';
END
$$;
CREATE TRIGGER keep_audit BEFORE UPDATE OR TRUNCATE ON app.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION app.keep_audit();

-- What is removed leaves a record of that.
CREATE FUNCTION app.record_removal() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (action, detail)
    SELECT 'audit.remove', count(*) || ' records, until ' || max(r.at) FROM removed r HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER record_removal AFTER DELETE ON app.audit_log REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION app.record_removal();

-- Accesses.

-- Of what may be done over and over (reading; being refused) one record in this time is enough.
CREATE FUNCTION app.audit_interval() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '10 minutes' $$;

CREATE FUNCTION app.is_repeatable(action text, is_allowed boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT NOT is_allowed OR action LIKE '%.read' OR action LIKE '%.list' $$;

-- The answers of app.open_sessions, and the records of what is done with them. All of it is one statement, and so of one
-- snapshot: what is recorded as allowed is what the answer says.
CREATE FUNCTION app.admit(
    user_ids uuid[], auth_session_ids uuid[], session_ids uuid[], actions text[], needs text[], request_ids text[])
RETURNS TABLE (
    ordinal bigint,
    user_found boolean, user_active boolean, user_role text, signed_in boolean,
    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
    session_id uuid, status text, progress smallint, message text, error text, estimated_time_remaining integer,
    version bigint, attempt integer, created_at timestamptz, updated_at timestamptz, rights_epoch bigint,
    is_allowed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH opened AS MATERIALIZED (
            SELECT o.*, w.user_id, w.auth_session_id, w.action, w.request_id,
                   CASE w.need WHEN 'see' THEN o.may_see
                               WHEN 'hear' THEN o.may_see OR o.user_role = 'pipeline' AND o.user_active AND o.signed_in
                                                             AND o.session_found
                               WHEN 'manage' THEN o.may_manage
                               ELSE false END AS is_allowed
            FROM open_sessions($1, $2, $3) AS o
            JOIN unnest($1, $2, $4, $5, $6) WITH ORDINALITY
                AS w (user_id, auth_session_id, action, need, request_id, ordinal) ON w.ordinal = o.ordinal
        ), recorded AS (
            -- Of strangers, and of sessions that there are not, there is nothing to record.
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id)
            SELECT n.action, n.is_allowed, n.user_id, n.auth_session_id, n.session_id,
                   (SELECT t.patient_id FROM therapy_sessions t WHERE t.id = n.session_id), n.request_id
            FROM opened n
            WHERE n.user_found AND n.signed_in AND n.session_found
              AND CASE WHEN is_repeatable(n.action, n.is_allowed)
                       THEN NOT EXISTS (SELECT FROM audit_log l
                                        WHERE l.session_id = n.session_id AND l.auth_session_id = n.auth_session_id
                                          AND l.action = n.action AND l.is_allowed = n.is_allowed
                                          AND l.at > clock_timestamp() - audit_interval())
                       ELSE true END
        )
        SELECT n.ordinal, n.user_found, n.user_active, n.user_role, n.signed_in, n.session_found, n.is_patient,
               n.is_assigned, n.may_see, n.may_manage, n.session_id, n.status, n.progress, n.message, n.error,
               n.estimated_time_remaining, n.version, n.attempt, n.created_at, n.updated_at, n.rights_epoch, n.is_allowed
        FROM opened n ORDER BY n.ordinal;
END
$$;
COMMENT ON FUNCTION app.admit IS
    'app.open_sessions, and records of who does what, or is refused it. A need is see, hear or manage';

-- What is done with no session, or with one that is only just to be.
CREATE FUNCTION app.record_access(
    user_id uuid, auth_session_id uuid, action text, is_allowed boolean, session_id uuid, patient_id uuid, request_id text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    IF is_repeatable($3, $4) THEN
        IF $5 IS NULL THEN
            PERFORM FROM audit_log l
            WHERE l.session_id IS NULL AND l.auth_session_id = $2 AND l.action = $3 AND l.at > since
              AND l.is_allowed = $4 AND l.patient_id IS NOT DISTINCT FROM $6;
        ELSE
            PERFORM FROM audit_log l
            WHERE l.session_id = $5 AND l.auth_session_id = $2 AND l.action = $3 AND l.at > since AND l.is_allowed = $4;
        END IF;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, session_id, patient_id, request_id)
    VALUES ($3, $4, $1, $2, $5, $6, $7);
END
$$;

-- app.open_caseload for somebody who begins to follow. Its first row tells who asks.
CREATE FUNCTION app.admit_caseload(user_id uuid, auth_session_id uuid, action text, request_id text)
RETURNS TABLE (
    user_found boolean, user_active boolean, user_role text, signed_in boolean, patient_ids uuid[],
    rights_epoch bigint, snapshot text,
    patient_id uuid, session_id uuid, status text, progress smallint, message text, error text,
    estimated_time_remaining integer, version bigint, attempt integer, created_at timestamptz, updated_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        WITH opened AS MATERIALIZED (SELECT * FROM open_caseload($1, $2, NULL)), recorded AS (
            INSERT INTO audit_log (action, is_allowed, user_id, auth_session_id, request_id)
            SELECT $3, n.user_active, $1, $2, $4 FROM opened n
            WHERE n.session_id IS NULL AND n.user_found AND n.signed_in
        )
        SELECT * FROM opened;
END
$$;

-- Changes, whoever makes them.

-- Who acts for a user, in the server; in psql nobody does, and the role tells who it was.
CREATE FUNCTION app.acting_user_id() RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT nullif(current_setting('app.user_id', true), '')::uuid $$;

CREATE FUNCTION app.record_sign_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (action, user_id, auth_session_id, detail)
    VALUES (CASE TG_OP WHEN 'INSERT' THEN 'sign_in.begin' ELSE 'sign_in.end' END, NEW.user_id, NEW.id,
            left(NEW.revoked_reason, 200));
    RETURN NULL;
END
$$;
CREATE TRIGGER record_begin AFTER INSERT ON app.auth_sessions
    FOR EACH ROW EXECUTE FUNCTION app.record_sign_in();
CREATE TRIGGER record_end AFTER UPDATE OF revoked_at ON app.auth_sessions
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL) EXECUTE FUNCTION app.record_sign_in();

-- Of an account: what has been changed, and rights with their new values; no name, no address.
CREATE FUNCTION app.record_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    changes text;
    account users;
BEGIN
    account := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    IF TG_OP = 'UPDATE' THEN
        changes := concat_ws(', ',
            CASE WHEN NEW.role <> OLD.role THEN 'role: ' || NEW.role END,
            CASE WHEN NEW.is_active <> OLD.is_active THEN CASE WHEN NEW.is_active THEN 'active' ELSE 'inactive' END END,
            CASE WHEN NEW.password_hash IS DISTINCT FROM OLD.password_hash THEN 'password' END,
            CASE WHEN NEW.full_name <> OLD.full_name THEN 'name' END,
            CASE WHEN NEW.email <> OLD.email THEN 'address' END);
        IF changes = '' THEN
            RETURN NULL;
        END IF;
    ELSE
        changes := 'role: ' || account.role;
    END IF;
    INSERT INTO audit_log (action, user_id, subject_id, patient_id, detail)
    VALUES (CASE TG_OP WHEN 'INSERT' THEN 'user.add' WHEN 'UPDATE' THEN 'user.change' ELSE 'user.remove' END,
            acting_user_id(), account.id, CASE WHEN account.role = 'patient' THEN account.id END, changes);
    RETURN NULL;
END
$$;
CREATE TRIGGER record_user AFTER INSERT OR UPDATE OR DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.record_user();

CREATE FUNCTION app.record_assignment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    tie therapist_patients;
    was_active CONSTANT boolean := CASE TG_OP WHEN 'INSERT' THEN false ELSE OLD.is_active END;
    is_active CONSTANT boolean := CASE TG_OP WHEN 'DELETE' THEN false ELSE NEW.is_active END;
BEGIN
    IF was_active <> is_active THEN
        tie := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        INSERT INTO audit_log (action, user_id, subject_id, patient_id)
        VALUES (CASE WHEN is_active THEN 'assignment.begin' ELSE 'assignment.end' END, acting_user_id(),
                tie.therapist_id, tie.patient_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER record_assignment AFTER INSERT OR UPDATE OR DELETE ON app.therapist_patients
    FOR EACH ROW EXECUTE FUNCTION app.record_assignment();

-- What a user does with a session by the server is recorded before it; this is what is done by hand, and a correction of
-- whose it is.
CREATE FUNCTION app.record_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO audit_log (action, user_id, session_id, patient_id, detail)
        VALUES ('session.correct', acting_user_id(), NEW.id, NEW.patient_id, 'was of ' || OLD.patient_id);
    ELSIF acting_user_id() IS NOT NULL THEN
        NULL;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO audit_log (action, session_id, patient_id) VALUES ('session.add', NEW.id, NEW.patient_id);
    ELSE
        INSERT INTO audit_log (action, session_id, patient_id) VALUES ('session.delete', OLD.id, OLD.patient_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER record_session AFTER INSERT OR DELETE ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.record_session();
CREATE TRIGGER record_correction AFTER UPDATE OF patient_id ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.patient_id <> NEW.patient_id) EXECUTE FUNCTION app.record_session();

GRANT EXECUTE ON FUNCTION app.admit, app.admit_caseload, app.record_access TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (12, 'audit');
COMMIT;
