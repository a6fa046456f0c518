-- The audit log: who opened, read or changed what, who was refused, and when.
--
-- A record is written before the access, or in one transaction with the change. If it cannot be written, the access does not
-- happen. There are no foreign keys: a record outlives the rows that it names. Records name people and sessions by id and hold
-- no names, e-mail addresses or messages.
--
-- Each month has a partition, which is removed as a whole. app.add_audit_partition makes them ahead of time. The default
-- partition takes the records of months without one: without it, PostgreSQL would refuse them, and with them every access.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- A sequence, and no identity column: until release 17, PostgreSQL gives a partition no identity of its own.
CREATE SEQUENCE app.audit_log_id_seq;
CREATE TABLE app.audit_log (
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    id              bigint NOT NULL DEFAULT nextval('app.audit_log_id_seq'),
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
    address         inet,
    repeats         bigint CHECK (repeats > 0),
    until           timestamptz,
    PRIMARY KEY (at, id),
    CHECK ((repeats IS NULL) = (until IS NULL)),
    CHECK (until >= at)
) PARTITION BY RANGE (at);
ALTER SEQUENCE app.audit_log_id_seq OWNED BY app.audit_log.id;
-- Finds the records of a session, and whether a sign-in has done the same with it in the last minutes.
CREATE INDEX audit_log_session_id_idx ON app.audit_log (session_id, auth_session_id, action, at);
CREATE INDEX audit_log_user_id_idx ON app.audit_log (user_id, at);
CREATE INDEX audit_log_patient_id_idx ON app.audit_log (patient_id, at);
-- Finds the records of a rare action, and the refusals, without reading the whole log.
CREATE INDEX audit_log_action_idx ON app.audit_log (action, at);
CREATE INDEX audit_log_refused_idx ON app.audit_log (at, id) WHERE NOT is_allowed;
CREATE TABLE app.audit_log_default PARTITION OF app.audit_log DEFAULT;
ALTER TABLE app.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.audit_log FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.audit_log IS
    'Who did what, and who was refused. Rows are added and never changed; the owner may delete old ones. Each month has a '
    'partition, audit_log_YYYY_MM';
COMMENT ON TABLE app.audit_log_default IS 'The records of months that have no partition';
COMMENT ON COLUMN app.audit_log.at IS 'The time of the action; for repeats, of the first of them';
COMMENT ON COLUMN app.audit_log.action IS 'What was done, as object.verb: stream.open, transcript.read, user.change';
COMMENT ON COLUMN app.audit_log.is_allowed IS 'False: the user was refused';
COMMENT ON COLUMN app.audit_log.user_id IS
    'The user who acted; null: no user was signed in, and database_role shows which program acted';
COMMENT ON COLUMN app.audit_log.auth_session_id IS 'The sign-in under which the user acted';
COMMENT ON COLUMN app.audit_log.patient_id IS 'The patient whose data the action concerned';
COMMENT ON COLUMN app.audit_log.subject_id IS 'The account that was changed, or the therapist of an assignment';
COMMENT ON COLUMN app.audit_log.request_id IS 'The X-Request-Id of the response; the server''s log has it too';
COMMENT ON COLUMN app.audit_log.database_role IS 'The role that was connected to PostgreSQL';
COMMENT ON COLUMN app.audit_log.detail IS 'What was changed, in codes and ids';
COMMENT ON COLUMN app.audit_log.address IS 'The IP address of the client; of an IPv6 address the first 64 bits';
COMMENT ON COLUMN app.audit_log.repeats IS
    'The number of accesses that this record stands for: repeats of an access that has a record of its own; null: one access';
COMMENT ON COLUMN app.audit_log.until IS 'The time of the last of the repeats';

INSERT INTO app.schema_migrations (version, name) VALUES (8, 'audit');
COMMIT;
