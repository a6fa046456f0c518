-- The notifications for the servers, all of them on the channel tb_session_v1.
-- revision: 1
--
--   <session id> <version>   the session has this version now
--   <session id> 0           the session was deleted
--   rights <epoch>           a right has changed
--   work                     a session joined the queue for workers
--
-- Any role of the database can NOTIFY any channel. A notification is therefore only a hint: it causes a read, and never
-- replaces or suppresses one. Every commit with a notification takes one lock of the whole cluster, so the triggers notify
-- sparingly.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('040_notifications', 1); END $$;

CREATE OR REPLACE FUNCTION app.announce_progress() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', NEW.session_id || ' ' || NEW.version);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.announce_progress IS
    'Trigger: announces every new session and every transition, and a percentage if app.guard_progress has set notified_at';
CREATE OR REPLACE TRIGGER announce_first AFTER INSERT ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.announce_progress();
CREATE OR REPLACE TRIGGER announce_progress AFTER UPDATE ON app.session_progress
    FOR EACH ROW
    WHEN (OLD.notified_at <> NEW.notified_at OR (OLD.status, OLD.attempt) IS DISTINCT FROM (NEW.status, NEW.attempt))
    EXECUTE FUNCTION app.announce_progress();

CREATE OR REPLACE FUNCTION app.announce_deletion() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', OLD.id || ' 0');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.announce_deletion IS 'Trigger: announces that a session was deleted';
CREATE OR REPLACE TRIGGER announce_deletion AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.announce_deletion();

CREATE OR REPLACE FUNCTION app.announce_work() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tb_session_v1', 'work');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.announce_work IS 'Trigger: announces that a session joined the queue for workers';
CREATE OR REPLACE TRIGGER announce_work AFTER INSERT ON app.session_leases
    FOR EACH ROW EXECUTE FUNCTION app.announce_work();

-- Rights

CREATE OR REPLACE FUNCTION app.raise_rights_epoch() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    present bigint;
BEGIN
    UPDATE rights_epoch SET epoch = epoch + 1 RETURNING epoch INTO present;
    PERFORM pg_notify('tb_session_v1', 'rights ' || present);
END
$$;
COMMENT ON FUNCTION app.raise_rights_epoch IS
    'Raises the epoch of rights and announces it. Every server then checks the rights of all its streams. Therefore the '
    'triggers call this function only for a change that can end or give a right';
REVOKE ALL ON app.rights_epoch FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.rights_epoch TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.rights_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    PERFORM raise_rights_epoch();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.rights_changed IS
    'Trigger: raises the epoch when an assignment is written, a user is deleted, or a session is deleted or moved to another '
    'patient';
CREATE OR REPLACE TRIGGER rights_changed AFTER INSERT OR DELETE OR UPDATE ON app.therapist_patients
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();
CREATE OR REPLACE TRIGGER rights_changed AFTER DELETE ON app.users
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();
CREATE OR REPLACE TRIGGER rights_changed AFTER DELETE OR UPDATE OF patient_id ON app.therapy_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.rights_changed();

CREATE OR REPLACE FUNCTION app.users_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM before b JOIN after a ON a.id = b.id
               WHERE (a.is_active, a.role) IS DISTINCT FROM (b.is_active, b.role)) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.users_changed IS
    'Trigger: raises the epoch when a user is activated or deactivated, or gets another role';
CREATE OR REPLACE TRIGGER users_changed AFTER UPDATE ON app.users
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION app.users_changed();

CREATE OR REPLACE FUNCTION app.sign_ins_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM before b JOIN after a ON a.id = b.id
               WHERE (a.revoked_at IS NULL) <> (b.revoked_at IS NULL) OR a.expires_at < b.expires_at) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.sign_ins_changed IS
    'Trigger: raises the epoch when a sign-in is revoked or restored, or expires earlier than before';
CREATE OR REPLACE TRIGGER sign_ins_changed AFTER UPDATE ON app.auth_sessions
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION app.sign_ins_changed();

CREATE OR REPLACE FUNCTION app.sign_ins_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM removed r WHERE r.revoked_at IS NULL AND r.expires_at > clock_timestamp()) THEN
        PERFORM raise_rights_epoch();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.sign_ins_removed IS
    'Trigger: raises the epoch when a sign-in is deleted that had not ended. An ended sign-in gives no right';
CREATE OR REPLACE TRIGGER sign_ins_removed AFTER DELETE ON app.auth_sessions REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION app.sign_ins_removed();

REVOKE ALL ON FUNCTION app.announce_progress, app.announce_deletion, app.announce_work, app.raise_rights_epoch,
    app.rights_changed, app.users_changed, app.sign_ins_changed, app.sign_ins_removed
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
