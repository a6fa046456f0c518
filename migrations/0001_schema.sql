-- Roles, the schema `app` and the ledger of migrations.
--
-- Runs as a superuser, or as the owner of the database with CREATEROLE. Every later file runs as any member of
-- therapybridge_owner.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Roles belong to the cluster, not to the database: another database's migration may make them at this very moment, and
-- then either of two errors comes back, depending on who saw what.
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
    -- From PostgreSQL 16 on, who makes a role is a member that may grant it, but may not act as it.
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
REVOKE ALL ON SCHEMA app FROM PUBLIC;
GRANT USAGE ON SCHEMA app TO therapybridge_server, therapybridge_pipeline;
-- PostgreSQL lets everybody execute a new function unless this says otherwise.
ALTER DEFAULT PRIVILEGES FOR ROLE therapybridge_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE TABLE app.schema_migrations (
    version    integer PRIMARY KEY CHECK (version > 0),
    name       text NOT NULL,
    checksum   text,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE app.schema_migrations IS
    'The migrations that ran here. The checksum is the SHA-256 of the file, entered by "migrate up"; null when psql ran it';
GRANT SELECT ON app.schema_migrations TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (1, 'schema');
COMMIT;
