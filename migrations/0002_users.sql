-- Users, their sign-ins, and which therapist works with which patient.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    full_name     text NOT NULL CHECK (length(full_name) BETWEEN 1 AND 200),
    role          text NOT NULL CHECK (role IN ('therapist', 'patient', 'admin', 'pipeline')),
    password_hash text,
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX users_email_key ON app.users (lower(email));
COMMENT ON COLUMN app.users.password_hash IS 'scrypt in the PHC string format; null: no sign-in by password';
COMMENT ON COLUMN app.users.is_active IS 'false ends the user''s streams and every right at the commit';

CREATE TABLE app.auth_sessions (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text
);
CREATE INDEX auth_sessions_user_id_idx ON app.auth_sessions (user_id);
COMMENT ON TABLE app.auth_sessions IS 'Sign-ins: each is a family of refresh tokens, and access tokens name it';

CREATE TABLE app.refresh_tokens (
    token_hash      bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    auth_session_id uuid NOT NULL REFERENCES app.auth_sessions ON DELETE CASCADE,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz NOT NULL,
    spent_at        timestamptz
);
CREATE INDEX refresh_tokens_auth_session_id_idx ON app.refresh_tokens (auth_session_id);
COMMENT ON TABLE app.refresh_tokens IS 'SHA-256 of each refresh token. One that comes again after spent_at was stolen';

CREATE TABLE app.therapist_patients (
    therapist_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    patient_id   uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    is_active    boolean NOT NULL DEFAULT true,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    PRIMARY KEY (therapist_id, patient_id)
);
CREATE INDEX therapist_patients_patient_id_idx ON app.therapist_patients (patient_id);
COMMENT ON TABLE app.therapist_patients IS
    'Who works with whom. One row a pair; an end and a new beginning are UPDATEs of is_active';

-- A tie is between a therapist and a patient, and its end has a time, also when somebody only flips is_active in psql.
CREATE FUNCTION app.check_therapist_patient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.therapist_id AND role = 'therapist') THEN
        RAISE EXCEPTION 'therapist_id is not a therapist' USING ERRCODE = 'check_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.patient_id AND role = 'patient') THEN
        RAISE EXCEPTION 'patient_id is not a patient' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.is_active THEN
        IF TG_OP = 'UPDATE' AND NOT OLD.is_active AND NEW.started_at = OLD.started_at THEN
            NEW.started_at := clock_timestamp();
        END IF;
        NEW.ended_at := NULL;
    ELSIF NEW.ended_at IS NULL THEN
        NEW.ended_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_therapist_patient BEFORE INSERT OR UPDATE ON app.therapist_patients
    FOR EACH ROW EXECUTE FUNCTION app.check_therapist_patient();

GRANT SELECT, INSERT ON app.users TO therapybridge_server;
GRANT UPDATE (email, full_name, role, password_hash, is_active, updated_at) ON app.users TO therapybridge_server;
GRANT SELECT, INSERT ON app.auth_sessions TO therapybridge_server;
GRANT UPDATE (expires_at, revoked_at, revoked_reason) ON app.auth_sessions TO therapybridge_server;
GRANT SELECT, INSERT ON app.refresh_tokens TO therapybridge_server;
GRANT UPDATE (spent_at) ON app.refresh_tokens TO therapybridge_server;
GRANT SELECT, INSERT ON app.therapist_patients TO therapybridge_server;
GRANT UPDATE (is_active, started_at, ended_at) ON app.therapist_patients TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (2, 'users');
COMMIT;
