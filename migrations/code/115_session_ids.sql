-- The ids of sessions: no session ever gets the id of a deleted one, from any writer.
-- revision: 1
--
-- Clients, files and audit records outlive a session, and name it by its id. Under a second session with that id, they would
-- name another patient.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('115_session_ids', 1); END $$;

-- The owner has no policy for UPDATE or DELETE.
DROP POLICY IF EXISTS owner_reads ON app.deleted_session_ids;
CREATE POLICY owner_reads ON app.deleted_session_ids FOR SELECT TO therapybridge_owner USING (true);
DROP POLICY IF EXISTS owner_adds ON app.deleted_session_ids;
CREATE POLICY owner_adds ON app.deleted_session_ids FOR INSERT TO therapybridge_owner WITH CHECK (true);
REVOKE ALL ON app.deleted_session_ids FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.protect_deleted_ids() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the ids of deleted sessions stay for ever'
        USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'deleted_ids_immutable';
END
$$;
COMMENT ON FUNCTION app.protect_deleted_ids IS
    'Trigger: refuses UPDATE, DELETE and TRUNCATE of deleted_session_ids to every role';
CREATE OR REPLACE TRIGGER protect_deleted_ids BEFORE UPDATE OR DELETE OR TRUNCATE ON app.deleted_session_ids
    FOR EACH STATEMENT EXECUTE FUNCTION app.protect_deleted_ids();

CREATE OR REPLACE FUNCTION app.keep_session_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO deleted_session_ids (session_id) SELECT t.id FROM therapy_sessions t ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO deleted_session_ids (session_id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.keep_session_id IS 'Trigger: adds the id of a deleted session to deleted_session_ids';
-- No client chooses the id of a probe, and there may be one every minute.
CREATE OR REPLACE TRIGGER keep_session_id AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.probe_of IS NULL) EXECUTE FUNCTION app.keep_session_id();
CREATE OR REPLACE TRIGGER keep_changed_session_id AFTER UPDATE OF id ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION app.keep_session_id();
CREATE OR REPLACE TRIGGER keep_session_ids BEFORE TRUNCATE ON app.therapy_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.keep_session_id();

CREATE OR REPLACE FUNCTION app.refuse_deleted_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    -- The INSERT has waited for a transaction that was deleting the session with this id. This new statement sees what that
    -- transaction has committed, unless the isolation level keeps an older snapshot.
    PERFORM FROM deleted_session_ids d WHERE d.session_id = NEW.id;
    IF NOT FOUND THEN
        IF current_setting('transaction_isolation') = 'read committed' THEN
            RETURN NULL;
        END IF;
        -- A unique index ignores snapshots. The error takes the new row back if the id was free.
        BEGIN
            INSERT INTO deleted_session_ids (session_id) VALUES (NEW.id);
            RAISE SQLSTATE 'TB000';
        EXCEPTION
            WHEN SQLSTATE 'TB000' THEN
                RETURN NULL;
            WHEN unique_violation THEN
                NULL;
        END;
    END IF;
    RAISE EXCEPTION 'the id belonged to a session that was deleted'
        USING ERRCODE = 'TB001', CONSTRAINT = 'session_id_deleted';
END
$$;
COMMENT ON FUNCTION app.refuse_deleted_id IS
    'Trigger: raises TB001 if a new session has the id of a deleted one. The check comes after the row is there, so that a '
    'deletion that commits at the same moment counts';
-- By its name, this trigger comes before the one that adds the progress.
CREATE OR REPLACE TRIGGER check_deleted_id AFTER INSERT ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.refuse_deleted_id();
CREATE OR REPLACE TRIGGER check_changed_id AFTER UPDATE OF id ON app.therapy_sessions
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION app.refuse_deleted_id();

REVOKE ALL ON FUNCTION app.protect_deleted_ids, app.keep_session_id, app.refuse_deleted_id
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

COMMIT;
