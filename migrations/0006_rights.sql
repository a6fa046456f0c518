-- The epoch of rights. When it grows, every server checks the rights of its watchers again.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.rights_epoch (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    epoch   bigint NOT NULL
);
COMMENT ON TABLE app.rights_epoch IS
    'Counts the changes of rights, in its only row. A server reads the epoch in the same snapshot as progress. If the '
    'epoch has grown, the server checks the rights of its watchers before it shows the progress';
COMMENT ON COLUMN app.rights_epoch.is_only IS 'Always true. The primary key therefore keeps the table at one row';
INSERT INTO app.rights_epoch (epoch) VALUES (1);

-- Autovacuum analyses a table only after 50 changes. Until then the planner would assume about two thousand rows.
ANALYZE app.rights_epoch;

INSERT INTO app.schema_migrations (version, name) VALUES (6, 'rights');
COMMIT;
