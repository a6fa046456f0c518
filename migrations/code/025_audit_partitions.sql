-- The partitions of the audit log: one a month, made ahead of time and removed as a whole.
-- revision: 1
--
-- A trigger or policy of a partitioned table does not bind a statement that names a partition. Each partition therefore has its
-- own.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('025_audit_partitions', 1); END $$;

CREATE OR REPLACE FUNCTION app.guard_audit_partition(partition regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp SET client_min_messages = warning AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', $1);
    -- pg_dump reads each partition by its name, and a restore of the data alone adds rows by it.
    EXECUTE format('DROP POLICY IF EXISTS owner_reads ON %s', $1);
    EXECUTE format('CREATE POLICY owner_reads ON %s FOR SELECT TO therapybridge_owner USING (true)', $1);
    EXECUTE format('DROP POLICY IF EXISTS owner_adds ON %s', $1);
    EXECUTE format('CREATE POLICY owner_adds ON %s FOR INSERT TO therapybridge_owner WITH CHECK (true)', $1);
    EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, therapybridge_server, therapybridge_pipeline', $1);
    EXECUTE format('CREATE OR REPLACE TRIGGER protect_audit BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                   'FOR EACH STATEMENT EXECUTE FUNCTION app.protect_audit()', $1);
END
$$;
COMMENT ON FUNCTION app.guard_audit_partition IS
    'Protects a partition of the audit log against statements that name it, as the log itself is protected';

DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'app.audit_log'::regclass LOOP
        PERFORM app.guard_audit_partition(partition);
    END LOOP;
END
$$;
-- app.add_audit_partition moves rows out of it.
DROP POLICY IF EXISTS owner_moves ON app.audit_log_default;
CREATE POLICY owner_moves ON app.audit_log_default FOR DELETE TO therapybridge_owner USING (true);

CREATE OR REPLACE FUNCTION app.audit_partition_name(month timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS
$$ SELECT 'audit_log_' || to_char($1, 'YYYY_MM') $$;
COMMENT ON FUNCTION app.audit_partition_name IS 'The name of the partition for the month of a time, in UTC';

CREATE OR REPLACE FUNCTION app.next_audit_month(months_ahead integer) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz := date_trunc('month', clock_timestamp());
BEGIN
    FOR ahead IN 0..least($1, 12) LOOP
        IF to_regclass('app.' || audit_partition_name(month + make_interval(months => ahead))) IS NULL THEN
            RETURN month + make_interval(months => ahead);
        END IF;
    END LOOP;
    month := '-infinity';
    LOOP
        month := date_trunc('month', (SELECT d.at FROM audit_log_default d WHERE d.at >= month AND isfinite(d.at) ORDER BY d.at LIMIT 1));
        IF month IS NULL OR to_regclass('app.' || audit_partition_name(month)) IS NULL THEN
            RETURN month;
        END IF;
        month := month + interval '1 month';
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.next_audit_month IS
    'The next month to get a partition: first the present one or a month after it, then a month with rows in the default '
    'partition; null: no month needs one';

-- The lock timeout is short, because a transaction that waits for these locks makes others wait for the same tables. The
-- caller tries again later.
CREATE OR REPLACE FUNCTION app.add_audit_partition(months_ahead integer DEFAULT 3) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET timezone = 'UTC' SET lock_timeout = '100ms' SET jit = off
AS $$
DECLARE
    month timestamptz;
    next timestamptz;
    name text;
    move text;
BEGIN
    -- One server at a time: the others have nothing to add.
    IF NOT pg_try_advisory_xact_lock(hashtext('app.add_audit_partition'), 0) THEN
        RETURN NULL;
    END IF;
    month := next_audit_month($1);
    IF month IS NULL THEN
        RETURN NULL;
    END IF;
    next := month + interval '1 month';
    name := audit_partition_name(month);
    -- The partition is filled as a table of its own. Attaching it then locks the log against no reader and no writer. The check
    -- saves a scan of its rows.
    EXECUTE format('CREATE TABLE app.%I (LIKE app.audit_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', name);
    EXECUTE format('ALTER TABLE app.%I ADD CONSTRAINT of_month CHECK (at >= %L AND at < %L)', name, month, next);
    move := format('WITH moved AS (DELETE FROM app.audit_log_default WHERE at >= $1 AND at < $2 RETURNING *) '
                   'INSERT INTO app.%I SELECT * FROM moved', name);
    PERFORM set_config('app.audit_move', pg_current_xact_id()::text, true);
    -- Until the commit, others find the rows where they were, and add further ones there.
    EXECUTE move USING month, next;
    -- ATTACH takes this lock, too. Only the rows that were added meanwhile are moved under it.
    LOCK TABLE app.audit_log_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE move USING month, next;
    PERFORM set_config('app.audit_move', '', true);
    PERFORM guard_audit_partition(format('app.%I', name)::regclass);
    EXECUTE format('ALTER TABLE app.audit_log ATTACH PARTITION app.%I FOR VALUES FROM (%L) TO (%L)', name, month, next);
    EXECUTE format('ALTER TABLE app.%I DROP CONSTRAINT of_month', name);
    EXECUTE format('COMMENT ON TABLE app.%I IS %L', name, 'The audit records of one month');
    RETURN name;
END
$$;
COMMENT ON FUNCTION app.add_audit_partition IS
    'Adds the next partition that the audit log needs, and moves the rows of its month out of the default partition. Returns its '
    'name; null: there is nothing to add, or another transaction adds one. Raises 55P03 if a lock is not free at once';

CREATE OR REPLACE FUNCTION app.drop_audit_partition(month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET timezone = 'UTC' SET lock_timeout = '500ms'
AS $$
#variable_conflict use_column
DECLARE
    first CONSTANT timestamptz := date_trunc('month', $1::timestamptz);
    partition CONSTANT regclass := to_regclass('app.' || audit_partition_name(first));
    total bigint;
BEGIN
    -- Repeats are recorded a little later than they happen.
    IF first + interval '1 month 1 day' > clock_timestamp() THEN
        RAISE EXCEPTION 'month: has not ended, or only today'
            USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'audit_month_present', COLUMN = 'month';
    END IF;
    PERFORM FROM pg_inherits i WHERE i.inhparent = 'app.audit_log'::regclass AND i.inhrelid = partition;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'month: has no partition'
            USING ERRCODE = 'no_data_found', CONSTRAINT = 'audit_month_unknown', COLUMN = 'month';
    END IF;
    EXECUTE format('SELECT count(*) FROM %s', partition) INTO total;
    EXECUTE format('DROP TABLE %s', partition);
    INSERT INTO audit_log (action, detail)
    VALUES ('audit.remove', total || ' records of ' || to_char(first, 'YYYY-MM'));
    RETURN total;
END
$$;
COMMENT ON FUNCTION app.drop_audit_partition IS
    'Removes the audit records of a whole month, leaves one record of that, and returns their number. For the owner alone. Raises '
    '22023 for a month that has not ended a day ago, P0002 for one without a partition, 55P03 if the log is not free at once';

REVOKE ALL ON FUNCTION app.guard_audit_partition, app.audit_partition_name, app.next_audit_month, app.add_audit_partition,
    app.drop_audit_partition FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.add_audit_partition TO therapybridge_server;

-- The partitions exist before the first record: no row has to be moved later.
DO $$
BEGIN
    WHILE app.add_audit_partition() IS NOT NULL LOOP NULL; END LOOP;
END
$$;

COMMIT;
