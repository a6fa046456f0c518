-- The logs that servers read by snapshot: which rights have changed, and which hints were sent.
-- revision: 1
--
-- Triggers write the log of rights after each change. A server reads it in the snapshot in which it reads progress, and
-- checks the rights of the streams concerned before it shows that progress.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('045_logs', 1); END $$;

REVOKE ALL ON app.rights_log, app.hint_log, app.log_horizon, app.rights_announced_at FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.log_rights_of_assignment() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO rights_log (user_id, patient_id) VALUES (OLD.therapist_id, OLD.patient_id);
    END IF;
    IF TG_OP = 'INSERT'
       OR TG_OP = 'UPDATE' AND (OLD.therapist_id, OLD.patient_id) <> (NEW.therapist_id, NEW.patient_id) THEN
        INSERT INTO rights_log (user_id, patient_id) VALUES (NEW.therapist_id, NEW.patient_id);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.log_rights_of_assignment IS 'Trigger: an assignment was written. It concerns the therapist';
CREATE OR REPLACE TRIGGER log_rights AFTER INSERT OR UPDATE OR DELETE ON app.therapist_patients
    FOR EACH ROW EXECUTE FUNCTION app.log_rights_of_assignment();

CREATE OR REPLACE FUNCTION app.log_rights_of_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO rights_log (user_id) VALUES (OLD.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.log_rights_of_user IS
    'Trigger: a user was activated or deactivated, got another role, or was deleted';
CREATE OR REPLACE TRIGGER log_rights AFTER UPDATE ON app.users FOR EACH ROW
    WHEN ((OLD.is_active, OLD.role) IS DISTINCT FROM (NEW.is_active, NEW.role))
    EXECUTE FUNCTION app.log_rights_of_user();
CREATE OR REPLACE TRIGGER log_rights_of_deleted AFTER DELETE ON app.users
    FOR EACH ROW EXECUTE FUNCTION app.log_rights_of_user();

CREATE OR REPLACE FUNCTION app.log_rights_of_sign_in() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO rights_log (user_id, auth_session_id) VALUES (OLD.user_id, OLD.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.log_rights_of_sign_in IS
    'Trigger: a sign-in was revoked or restored, expires earlier than before, or was deleted before it had ended';
CREATE OR REPLACE TRIGGER log_rights AFTER UPDATE ON app.auth_sessions FOR EACH ROW
    WHEN ((OLD.revoked_at IS NULL) <> (NEW.revoked_at IS NULL) OR NEW.expires_at < OLD.expires_at)
    EXECUTE FUNCTION app.log_rights_of_sign_in();
CREATE OR REPLACE TRIGGER log_rights_of_deleted AFTER DELETE ON app.auth_sessions FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > clock_timestamp())
    EXECUTE FUNCTION app.log_rights_of_sign_in();

CREATE OR REPLACE FUNCTION app.log_rights_of_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO rights_log (session_id) VALUES (OLD.id);
    ELSE
        INSERT INTO rights_log (session_id, patient_id) VALUES (OLD.id, OLD.patient_id), (NEW.id, NEW.patient_id);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.log_rights_of_session IS
    'Trigger: a session was deleted, or moved to another patient. A deletion names no patient: streams of all sessions find '
    'it without a check of their rights';
CREATE OR REPLACE TRIGGER log_rights AFTER UPDATE ON app.therapy_sessions FOR EACH ROW
    WHEN (OLD.patient_id <> NEW.patient_id) EXECUTE FUNCTION app.log_rights_of_session();
CREATE OR REPLACE TRIGGER log_rights_of_deleted AFTER DELETE ON app.therapy_sessions
    FOR EACH ROW EXECUTE FUNCTION app.log_rights_of_session();

CREATE OR REPLACE FUNCTION app.log_rights_of_everybody() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO rights_log DEFAULT VALUES;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.log_rights_of_everybody IS 'Trigger: a table that gives rights was emptied by TRUNCATE';
CREATE OR REPLACE TRIGGER log_rights_of_everybody AFTER TRUNCATE ON app.therapist_patients
    FOR EACH STATEMENT EXECUTE FUNCTION app.log_rights_of_everybody();
CREATE OR REPLACE TRIGGER log_rights_of_everybody AFTER TRUNCATE ON app.users
    FOR EACH STATEMENT EXECUTE FUNCTION app.log_rights_of_everybody();
CREATE OR REPLACE TRIGGER log_rights_of_everybody AFTER TRUNCATE ON app.auth_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.log_rights_of_everybody();
CREATE OR REPLACE TRIGGER log_rights_of_everybody AFTER TRUNCATE ON app.therapy_sessions
    FOR EACH STATEMENT EXECUTE FUNCTION app.log_rights_of_everybody();

-- A commit that notifies holds a lock of the whole cluster until it is on disk. Commits of rights would queue for it, and
-- changes of progress behind them. Therefore only one transaction in 10 ms notifies. A server that gets the notification reads
-- the log at once, again after 20 ms, and so on as long as it finds changes. These reads find the other changes. If the announcing
-- transaction fails, or another one takes longer to commit, the poll finds the change.
CREATE OR REPLACE FUNCTION app.announce_rights() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    present CONSTANT bigint := extract(epoch FROM clock_timestamp()) * 1000;
BEGIN
    -- The clock may have been set back since the last announcement.
    IF (SELECT present - a.last_value NOT BETWEEN 0 AND 9 FROM rights_announced_at a) THEN
        PERFORM setval('app.rights_announced_at', present), pg_notify('tb_session_v1', 'rights');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.announce_rights IS
    'Trigger, at the end of the transaction: announces a change of rights, unless another transaction did so less than 10 ms ago';
-- PostgreSQL cannot replace a constraint trigger.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'app.rights_log'::regclass AND tgname = 'announce_rights') THEN
        CREATE CONSTRAINT TRIGGER announce_rights AFTER INSERT ON app.rights_log DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION app.announce_rights();
    END IF;
END
$$;

-- Transaction ids mean nothing in another cluster, or on another timeline of the same one. Each read therefore says where it
-- was made. A standby may be behind: no server reads progress from it.
-- Every read of open streams begins with this function. It has no settings of its own, because to set and reset them takes as
-- long as the rest of it. Its callers have them.
CREATE OR REPLACE FUNCTION app.rights_since(since text)
RETURNS TABLE (
    cluster bigint, timeline integer, snapshot text, horizon bigint,
    changed_in bigint, changed_user uuid, changed_sign_in uuid, changed_patient uuid, changed_session uuid)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    present CONSTANT pg_snapshot := pg_current_snapshot();
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'the database is in recovery' USING ERRCODE = '25006', CONSTRAINT = 'in_recovery';
    END IF;
    cluster := (SELECT c.system_identifier FROM pg_control_system() AS c);
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer;
    snapshot := present::text;
    horizon := (SELECT h.xid::text::bigint FROM log_horizon h WHERE h.is_only);
    RETURN NEXT;
    IF earlier IS NULL THEN
        RETURN;
    END IF;
    -- Rows of transactions that have not begun come from another cluster, by a restore.
    RETURN QUERY
        SELECT NULL::bigint, NULL::integer, NULL::text, NULL::bigint,
               l.xid::text::bigint, l.user_id, l.auth_session_id, l.patient_id, l.session_id
        FROM (
            SELECT r.* FROM rights_log r
            WHERE r.xid >= pg_snapshot_xmax(earlier) AND r.xid < pg_snapshot_xmax(present)
            UNION ALL
            SELECT s.* FROM pg_snapshot_xip(earlier) AS x (xid)
            CROSS JOIN LATERAL (SELECT * FROM rights_log r WHERE r.xid = x.xid OFFSET 0) AS s
        ) AS l;
END
$$;
COMMENT ON FUNCTION app.rights_since IS
    'The first row says where and when the read was made: cluster, timeline, snapshot, and the horizon of the logs. The '
    'other rows are the changes of rights that the snapshot "since" does not show; none if "since" is null. For functions that '
    'pin the search_path';

CREATE OR REPLACE FUNCTION app.read_rights(since text)
RETURNS TABLE (
    cluster bigint, timeline integer, snapshot text, horizon bigint,
    changed_in bigint, changed_user uuid, changed_sign_in uuid, changed_patient uuid, changed_session uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$ BEGIN RETURN QUERY SELECT * FROM rights_since($1); END $$;
COMMENT ON FUNCTION app.read_rights IS 'The rows of app.rights_since, for the server';

CREATE OR REPLACE FUNCTION app.read_hints(since text, rights_since text, most integer)
RETURNS TABLE (
    cluster bigint, timeline integer, snapshot text, horizon bigint,
    changed_in bigint, changed_user uuid, changed_sign_in uuid, changed_patient uuid, changed_session uuid,
    session_id uuid, version bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    earlier CONSTANT pg_snapshot := $1::pg_snapshot;
    present CONSTANT pg_snapshot := pg_current_snapshot();
BEGIN
    FOR cluster, timeline, snapshot, horizon, changed_in, changed_user, changed_sign_in, changed_patient, changed_session IN
        SELECT * FROM rights_since($2)
    LOOP
        RETURN NEXT;
    END LOOP;
    IF earlier IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT NULL::bigint, NULL::integer, NULL::text, NULL::bigint,
               NULL::bigint, NULL::uuid, NULL::uuid, NULL::uuid, NULL::uuid,
               l.session_id, l.version
        FROM (
            SELECT h.session_id, h.version FROM hint_log h
            WHERE h.xid >= pg_snapshot_xmax(earlier) AND h.xid < pg_snapshot_xmax(present)
            UNION ALL
            SELECT s.session_id, s.version FROM pg_snapshot_xip(earlier) AS x (xid)
            CROSS JOIN LATERAL (SELECT * FROM hint_log h WHERE h.xid = x.xid OFFSET 0) AS s
        ) AS l
        LIMIT $3;
END
$$;
COMMENT ON FUNCTION app.read_hints IS
    'First the rows of app.rights_since. Then the hints that the snapshot "since" does not show, at most "most" of them; none if '
    '"since" is null';

CREATE OR REPLACE FUNCTION app.delete_expired_logs(age interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
DECLARE
    oldest CONSTANT xid8 := pg_snapshot_xmin(pg_current_snapshot());
    next CONSTANT xid8 := pg_snapshot_xmax(pg_current_snapshot());
    total bigint;
BEGIN
    -- A row of a transaction that has not begun comes from another cluster, by a restore. No reader of this cluster needs it.
    WITH rights AS (
        DELETE FROM rights_log WHERE xid < oldest AND at < clock_timestamp() - $1 OR xid >= next RETURNING xid),
    hints AS (
        DELETE FROM hint_log WHERE xid < oldest AND at < clock_timestamp() - $1 OR xid >= next RETURNING xid),
    removed AS (SELECT r.xid FROM rights r UNION ALL SELECT h.xid FROM hints h),
    moved AS (
        UPDATE log_horizon h SET xid = r.xid
        FROM (SELECT d.xid FROM removed d WHERE d.xid < oldest ORDER BY d.xid DESC LIMIT 1) AS r WHERE r.xid > h.xid)
    SELECT count(*) INTO total FROM removed;
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.delete_expired_logs IS
    'Removes the rows of rights_log and hint_log that are older than the age and that every new snapshot shows, raises the '
    'horizon to the last of them, and returns their number';

REVOKE ALL ON FUNCTION app.log_rights_of_assignment, app.log_rights_of_user, app.log_rights_of_sign_in,
    app.log_rights_of_session, app.log_rights_of_everybody, app.announce_rights, app.rights_since, app.read_rights, app.read_hints,
    app.delete_expired_logs FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.read_rights, app.read_hints, app.delete_expired_logs TO therapybridge_server;

COMMIT;
