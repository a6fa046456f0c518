-- The notifications for the servers, all of them on the channel tb_session_v1.
-- revision: 1
--
--   <session id> <version>   the session has this version now
--   <session id> 0           the session was deleted
--   rights                   rights have changed
--   work                     a session joined the queue for workers
--
-- Any role of the database can NOTIFY any channel. A notification is therefore only a hint: it causes a read, and never
-- replaces or suppresses one. Every commit with a notification takes one lock of the whole cluster. The triggers therefore
-- notify sparingly. What they announce about sessions is also in app.hint_log, for servers that miss the notification.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('040_notifications', 1); END $$;

-- Every announced report runs this function, and a function that sets search_path takes several microseconds more. All names are
-- therefore qualified. Only functions of the owner write to session_progress: the function may therefore write to the log.
CREATE OR REPLACE FUNCTION app.announce_progress() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.hint_log (session_id, version) VALUES (NEW.session_id, NEW.version);
    PERFORM pg_catalog.pg_notify('tb_session_v1', NEW.session_id || ' ' || NEW.version);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.announce_progress IS
    'Trigger: announces every new session, and every change for which app.guard_progress has set notified_at: all transitions, '
    'and some percentages';
CREATE OR REPLACE TRIGGER announce_first AFTER INSERT ON app.session_progress
    FOR EACH ROW EXECUTE FUNCTION app.announce_progress();
-- app.guard_transition gives each transition another time. Each comparison here costs every report some microseconds.
CREATE OR REPLACE TRIGGER announce_progress AFTER UPDATE ON app.session_progress
    FOR EACH ROW WHEN (OLD.notified_at <> NEW.notified_at) EXECUTE FUNCTION app.announce_progress();

CREATE OR REPLACE FUNCTION app.announce_deletion() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO hint_log (session_id, version) VALUES (OLD.id, 0);
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

REVOKE ALL ON FUNCTION app.announce_progress, app.announce_deletion, app.announce_work
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
