-- The audit log: who opened, read or changed what, who was refused, and when.
--
-- A record is written before the access, or in one transaction with the change. If it cannot be written, the access does not
-- happen. There are no foreign keys: a record outlives the rows that it names. Records name people and sessions by id and hold
-- no names, addresses or messages.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.audit_log (
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    id              bigint GENERATED ALWAYS AS IDENTITY,
    action          text NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    is_allowed      boolean NOT NULL DEFAULT true,
    user_id         uuid,
    auth_session_id uuid,
    session_id      uuid,
    patient_id      uuid,
    subject_id      uuid,
    request_id      text CHECK (length(request_id) <= 64),
    database_role   text NOT NULL DEFAULT session_user,
    detail          text CHECK (length(detail) <= 200),
    PRIMARY KEY (at, id)
);
-- Finds the records of a session, and whether a sign-in has done the same with it in the last minutes.
CREATE INDEX audit_log_session_id_idx ON app.audit_log (session_id, auth_session_id, action, at);
CREATE INDEX audit_log_user_id_idx ON app.audit_log (user_id, at);
CREATE INDEX audit_log_patient_id_idx ON app.audit_log (patient_id, at);
ALTER TABLE app.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.audit_log FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.audit_log IS
    'Who did what, and who was refused. Rows are added and never changed; the owner may delete old ones';
COMMENT ON COLUMN app.audit_log.action IS 'What was done, as object.verb: stream.open, transcript.read, user.change';
COMMENT ON COLUMN app.audit_log.is_allowed IS 'False: the user was refused';
COMMENT ON COLUMN app.audit_log.user_id IS
    'The user who did it; null: no user was signed in, and database_role tells who did it';
COMMENT ON COLUMN app.audit_log.auth_session_id IS 'The sign-in under which it was done';
COMMENT ON COLUMN app.audit_log.patient_id IS 'The patient whose data it was about';
COMMENT ON COLUMN app.audit_log.subject_id IS 'The account that was changed, or the therapist of an assignment';
COMMENT ON COLUMN app.audit_log.request_id IS 'The X-Request-Id of the response; the server''s log has it too';
COMMENT ON COLUMN app.audit_log.database_role IS 'The role that was connected to PostgreSQL';
COMMENT ON COLUMN app.audit_log.detail IS 'What was changed, in codes and ids';

INSERT INTO app.schema_migrations (version, name) VALUES (8, 'audit');
COMMIT;
