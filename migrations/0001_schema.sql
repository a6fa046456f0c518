-- Roles, the schema `app`, and the two ledgers of the files that ran in this database.
--
-- Run this file as a superuser, or as the owner of the database with CREATEROLE. Any member of therapybridge_owner can run the
-- later files and those of code/.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Begin of the roles: "migrate roles" runs this block alone.
--
-- Roles belong to the cluster, not to the database. A member of therapybridge_owner reads every database whose objects that role
-- owns. One cluster therefore holds one installation. The block refuses a second one. It also refuses roles that exist with rights
-- that they must not have. An operator can say that all databases of the cluster are one trust domain. The block then refuses
-- nothing:
--   PGOPTIONS='-c therapybridge.shared_cluster=on' psql …, or "migrate up --shared-cluster"
DO $$
DECLARE
    ours constant name[] := ARRAY['therapybridge_owner', 'therapybridge_server', 'therapybridge_pipeline'];
    is_shared constant boolean :=
        coalesce(nullif(current_setting('therapybridge.shared_cluster', true), ''), 'off')::boolean;
    other record;
    wanted record;
BEGIN
    IF NOT is_shared THEN
        SELECT d.datname INTO other
        FROM pg_catalog.pg_shdepend s
        JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid AND r.rolname = 'therapybridge_owner'
        -- A database is itself a shared object: its dbid is 0.
        JOIN pg_catalog.pg_database d
            ON d.oid = CASE WHEN s.classid = 'pg_catalog.pg_database'::regclass THEN s.objid ELSE s.dbid END
        WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.deptype = 'o' AND d.datname <> current_database()
        ORDER BY d.datname LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION
                'objects of database "%" belong to therapybridge_owner, and its operators would read this database, too',
                other.datname
                USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'cluster_shared',
                    HINT = 'Use another cluster; or, if both databases are one trust domain, migrate with --shared-cluster, '
                        'or by psql with PGOPTIONS=''-c therapybridge.shared_cluster=on''.';
        END IF;

        SELECT r.rolname, f.fault INTO other
        FROM pg_catalog.pg_roles r
        CROSS JOIN LATERAL (
            SELECT 1 AS place, a.attribute AS fault
            FROM (VALUES ('SUPERUSER', r.rolsuper), ('BYPASSRLS', r.rolbypassrls), ('CREATEROLE', r.rolcreaterole),
                         ('CREATEDB', r.rolcreatedb), ('REPLICATION', r.rolreplication),
                         ('LOGIN', r.rolcanlogin AND r.rolname = 'therapybridge_owner')) AS a (attribute, is_set)
            WHERE a.is_set
            UNION ALL
            SELECT 2, format('membership in %I', g.rolname)
            FROM pg_catalog.pg_roles g
            WHERE g.oid <> r.oid AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
              AND (g.rolname = ANY (ours) OR g.rolsuper OR g.rolbypassrls OR g.rolcreaterole OR g.rolcreatedb
                   OR g.rolreplication
                   OR g.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files',
                                    'pg_execute_server_program', 'pg_create_subscription', 'pg_maintain'))
        ) AS f
        WHERE r.rolname = ANY (ours)
        ORDER BY r.rolname, f.place, f.fault LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'role % exists with %, which it must not have', other.rolname, other.fault
                USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'role_attributes',
                    HINT = 'Take it away with ALTER ROLE or REVOKE; or, if this is meant, migrate with --shared-cluster, or by '
                        'psql with PGOPTIONS=''-c therapybridge.shared_cluster=on''.';
        END IF;
    END IF;

    -- The migration of another database may create the roles at the same moment. CREATE ROLE then fails with duplicate_object or,
    -- if the other transaction commits in between, with unique_violation.
    FOR wanted IN
        SELECT * FROM (VALUES ('therapybridge_owner', 'NOLOGIN'),
                              ('therapybridge_server', 'LOGIN'),
                              ('therapybridge_pipeline', 'LOGIN')) AS r (name, attribute)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r.name)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attribute);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
    -- These settings apply through a pooler, too, and to a pipeline in any language. They win over those of the cluster and of the
    -- database, some of which would break every statement, such as row_security = off. A value that an operator has set stays. The
    -- migration of another database may change the same row of the cluster at this moment. PostgreSQL then raises unique_violation
    -- or, as an internal error, "tuple concurrently updated", and the next round sees the row.
    FOR wanted IN
        SELECT * FROM (VALUES ('therapybridge_server', 'default_transaction_isolation', 'read committed'),
                              ('therapybridge_server', 'default_transaction_read_only', 'off'),
                              ('therapybridge_server', 'idle_session_timeout', '0'),
                              ('therapybridge_server', 'jit', 'off'),
                              ('therapybridge_server', 'lock_timeout', '2s'),
                              ('therapybridge_server', 'row_security', 'on'),
                              ('therapybridge_server', 'search_path', 'pg_catalog'),
                              ('therapybridge_pipeline', 'default_transaction_isolation', 'read committed'),
                              ('therapybridge_pipeline', 'default_transaction_read_only', 'off'),
                              ('therapybridge_pipeline', 'idle_in_transaction_session_timeout', '30s'),
                              ('therapybridge_pipeline', 'row_security', 'on')) AS r (name, setting, value)
    LOOP
        FOR turn IN 1..20 LOOP
            EXIT WHEN EXISTS (
                SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles o ON o.oid = s.setrole,
                    unnest(s.setconfig) AS c (setting)
                WHERE o.rolname = wanted.name AND s.setdatabase = 0 AND c.setting LIKE wanted.setting || '=%');
            BEGIN
                EXECUTE format('ALTER ROLE %I SET %I = %L', wanted.name, wanted.setting, wanted.value);
            EXCEPTION WHEN unique_violation OR internal_error THEN
                IF turn = 20 THEN
                    RAISE;
                END IF;
            END;
        END LOOP;
    END LOOP;
    -- From PostgreSQL 16 on, the creator of a role becomes a member that may grant the role, but may not SET ROLE to it.
    IF NOT pg_has_role(current_user, 'therapybridge_owner',
                       CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    THEN
        EXECUTE format('GRANT therapybridge_owner TO %I', current_user);
    END IF;
END
$$;
-- End of the roles.

CREATE SCHEMA app AUTHORIZATION therapybridge_owner;
SET LOCAL ROLE therapybridge_owner;

COMMENT ON SCHEMA app IS 'TherapyBridge: users, therapy sessions and the progress of their processing';
-- By default PostgreSQL lets PUBLIC execute every new function. Here a function can be executed only where code/ grants it.
ALTER DEFAULT PRIVILEGES FOR ROLE therapybridge_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE TABLE app.schema_migrations (
    version    integer PRIMARY KEY CHECK (version > 0),
    name       text NOT NULL,
    checksum   text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE app.schema_migrations IS 'The numbered files that ran in this database, one row a file';
COMMENT ON COLUMN app.schema_migrations.version IS 'The number at the beginning of the file''s name';
COMMENT ON COLUMN app.schema_migrations.name IS 'The rest of the file''s name, without its extension';
COMMENT ON COLUMN app.schema_migrations.checksum IS
    'SHA-256 of the file in hexadecimal, entered by "migrate up"; null until then if psql ran the file';

CREATE TABLE app.schema_code (
    name       text PRIMARY KEY,
    revision   integer NOT NULL CHECK (revision > 0),
    checksum   text,
    is_stale   boolean NOT NULL DEFAULT false,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE app.schema_code IS
    'The files of code/ that are applied in this database, one row a file, with their present revision';
COMMENT ON COLUMN app.schema_code.name IS
    'The file''s name without its extension; the order of names is the order of dependence';
COMMENT ON COLUMN app.schema_code.revision IS
    'The revision in the head of the file. A file of a lower revision is of an older release and is refused';
COMMENT ON COLUMN app.schema_code.checksum IS
    'SHA-256 of the file in hexadecimal, entered by "migrate up"; null until then if psql ran the file';
COMMENT ON COLUMN app.schema_code.is_stale IS
    'True if an earlier file has risen to a new revision since this one was applied: this one has to be applied again';

INSERT INTO app.schema_migrations (version, name) VALUES (1, 'schema');
COMMIT;
