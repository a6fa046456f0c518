-- The logs that servers read by snapshot: which rights have changed, and which hints were sent.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- Transactions only add rows, and readers compare snapshots. No counter is locked: commits that change rights do not wait
-- for each other.
CREATE TABLE app.rights_log (
    xid             xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_id         uuid,
    auth_session_id uuid,
    patient_id      uuid,
    session_id      uuid
);
CREATE INDEX rights_log_xid_idx ON app.rights_log (xid);
COMMENT ON TABLE app.rights_log IS
    'Every change that ends or begins a right, and whom it concerns. With each read of progress, a server also reads '
    'the changes that were committed since its last read. Before it sends the progress, it checks the rights of the streams '
    'that the changes concern. A row without user, patient and session concerns all streams';
COMMENT ON COLUMN app.rights_log.xid IS
    'The transaction that changed the right. A reader compares it with the snapshot of its last read';
COMMENT ON COLUMN app.rights_log.user_id IS
    'The user whose right changed: the owner of the account or of the sign-in, or the therapist of the assignment';
COMMENT ON COLUMN app.rights_log.auth_session_id IS 'The sign-in, if only its streams are concerned';
COMMENT ON COLUMN app.rights_log.patient_id IS
    'The patient of the assignment, or a patient of the session, before or after it moved';
COMMENT ON COLUMN app.rights_log.session_id IS 'The session that was deleted, or moved to another patient';

-- A sequence, because it can be read and written without a lock, and without waiting for other transactions.
CREATE SEQUENCE app.rights_announced_at MINVALUE 0 START 0;
COMMENT ON SEQUENCE app.rights_announced_at IS
    'Its last value is the time when a transaction last announced a change of rights, in milliseconds since 1970';

-- A copy of each hint, for the poll, which therefore need not read each watched session.
CREATE TABLE app.hint_log (
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    session_id uuid NOT NULL,
    version    bigint NOT NULL
);
CREATE INDEX hint_log_xid_idx ON app.hint_log (xid);
COMMENT ON TABLE app.hint_log IS
    'Every hint that NOTIFY announced about a session. The poll of a server reads the hints that were committed since the '
    'last poll. It thus finds the changes whose notification was lost';
COMMENT ON COLUMN app.hint_log.version IS 'The version that the session has reached; 0 if it was deleted';

CREATE TABLE app.log_horizon (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    xid     xid8 NOT NULL
);
COMMENT ON TABLE app.log_horizon IS
    'The greatest transaction whose rows were removed from rights_log or hint_log, in the only row. A reader whose last '
    'snapshot does not show all transactions up to it may have missed a row';
COMMENT ON COLUMN app.log_horizon.is_only IS 'Always true. The primary key therefore keeps the table at one row';
INSERT INTO app.log_horizon (xid) VALUES ('0');

CREATE TABLE app.installation (
    is_only      boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    adopted_by   bigint NOT NULL DEFAULT (pg_control_system()).system_identifier,
    adopted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    positions_of bigint NOT NULL DEFAULT (pg_control_system()).system_identifier
);
INSERT INTO app.installation DEFAULT VALUES;
ALTER TABLE app.installation ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.installation FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.installation IS
    'Which clusters this database belongs to, in the only row. A dump that is restored into another cluster brings the row along';
COMMENT ON COLUMN app.installation.is_only IS 'Always true. The primary key therefore keeps the table at one row';
COMMENT ON COLUMN app.installation.adopted_by IS
    'The system identifier of the cluster that was made this database''s own, by the first migration or by an operator';
COMMENT ON COLUMN app.installation.adopted_at IS 'When it was';
COMMENT ON COLUMN app.installation.positions_of IS
    'The system identifier of the cluster whose transaction numbers the logs hold';

-- Autovacuum analyses a table only after 50 changes. Until then the planner would assume about two thousand rows.
ANALYZE app.log_horizon;

INSERT INTO app.schema_migrations (version, name) VALUES (6, 'logs');
COMMIT;
