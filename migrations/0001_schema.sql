-- Roles, the schema `app`, and the two ledgers of the files that ran in this database.
--
-- Run this file as a superuser, or as the owner of the database with CREATEROLE. Any member of therapybridge_owner can run the
-- later files and those of code/.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Roles belong to the cluster, not to the database. The migration of another database may create them at the same moment.
-- CREATE ROLE then fails with duplicate_object or, if the other transaction commits in between, with unique_violation.
DO $$
DECLARE
    wanted record;
BEGIN
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
    -- From PostgreSQL 16 on, the creator of a role becomes a member that may grant the role, but may not SET ROLE to it.
    IF NOT pg_has_role(current_user, 'therapybridge_owner',
                       CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
    THEN
        EXECUTE format('GRANT therapybridge_owner TO %I', current_user);
    END IF;
END
$$;

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
