-- Users, their sign-ins, refresh tokens and stream tickets, and the assignments of therapists to patients.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.roles (
    role text PRIMARY KEY
);
COMMENT ON TABLE app.roles IS 'The roles that a user may have. app.permits says what each role may do';
INSERT INTO app.roles (role) VALUES ('therapist'), ('patient'), ('admin'), ('pipeline');

CREATE TABLE app.users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL CHECK (length(email) BETWEEN 3 AND 254) CHECK (email IS NFC NORMALIZED),
    full_name     text NOT NULL CHECK (length(full_name) BETWEEN 1 AND 200),
    role          text NOT NULL REFERENCES app.roles,
    password_hash text,
    is_active     boolean NOT NULL DEFAULT true,
    is_probe      boolean NOT NULL DEFAULT false CHECK (NOT is_probe OR role = 'patient' AND NOT is_active),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- In the collation "C", lower() changes ASCII letters alone, in every locale. Other rules would make one account of two
-- addresses: they turn U+212A, the Kelvin sign, into a k.
CREATE UNIQUE INDEX users_email_key ON app.users (lower(email COLLATE "C"));
-- Lists of patients and of therapists are ordered by name.
CREATE INDEX users_role_full_name_idx ON app.users (role, lower(full_name), id);
ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.users FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.users IS 'Accounts of therapists, patients, administrators and pipelines';
COMMENT ON COLUMN app.users.email IS
    'The address of the account, in the normal form NFC, unique without regard to the case of ASCII letters';
COMMENT ON COLUMN app.users.role IS 'Decides, together with the relation to a session''s patient, what the user may do';
COMMENT ON COLUMN app.users.password_hash IS
    'scrypt in the PHC string format; null: the user cannot sign in with a password. The server''s role cannot read it';
COMMENT ON COLUMN app.users.is_probe IS
    'True for the patient of a probe: nobody signs in to the account, no list shows it, and it goes with the probe''s session';
COMMENT ON COLUMN app.users.is_active IS 'False ends every right and every open stream of the user at the commit';

CREATE TABLE app.auth_sessions (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id        uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    kind           text NOT NULL DEFAULT 'operator' CHECK (kind IN ('password', 'provider', 'operator')),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    last_used_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    user_agent     text CHECK (length(user_agent) <= 500),
    address        inet,
    cluster        bigint NOT NULL DEFAULT (pg_control_system()).system_identifier,
    revoked_at     timestamptz,
    revoked_reason text
);
CREATE INDEX auth_sessions_user_id_idx ON app.auth_sessions (user_id);
CREATE INDEX auth_sessions_expires_at_idx ON app.auth_sessions (expires_at);
-- Counts and lists the sign-ins of an account, which may have ended very many.
CREATE INDEX auth_sessions_standing_idx ON app.auth_sessions (user_id, created_at) WHERE revoked_at IS NULL;
COMMENT ON TABLE app.auth_sessions IS
    'Sign-ins. Each is a family of refresh tokens, and every access token names its sign-in';
COMMENT ON COLUMN app.auth_sessions.kind IS
    'How the sign-in began: with a password, with a token of an identity provider, or by an operator with the command '
    '"token". A sign-in of an operator lasts as long as its token, and does not count against the number per account';
COMMENT ON COLUMN app.auth_sessions.expires_at IS
    'When the last refresh token of the family expires, or the sign-in reaches its greatest age';
COMMENT ON COLUMN app.auth_sessions.last_used_at IS
    'When the sign-in began, was last refreshed, or was last extended by a token of an identity provider';
COMMENT ON COLUMN app.auth_sessions.user_agent IS 'The User-Agent of the request at last_used_at';
COMMENT ON COLUMN app.auth_sessions.address IS 'The network address of the client at last_used_at';
COMMENT ON COLUMN app.auth_sessions.cluster IS
    'The system identifier of the cluster in which the sign-in began. It counts in no other one: a restored dump brings back '
    'sign-ins that have ended since';
COMMENT ON COLUMN app.auth_sessions.revoked_at IS 'When the sign-in ended before its time; null: it was not revoked';
COMMENT ON COLUMN app.auth_sessions.revoked_reason IS
    'signed_out, ended_by_user, ended_by_administrator, refresh_token_reused, account_deactivated, role_changed, '
    'password_changed, too_many_sign_ins or cluster_adopted; for the audit log';

CREATE TABLE app.refresh_tokens (
    token_hash      bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    auth_session_id uuid NOT NULL REFERENCES app.auth_sessions ON DELETE CASCADE,
    predecessor     bytea,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz NOT NULL,
    spent_at        timestamptz,
    spent_from      inet,
    ended_at        timestamptz,
    CHECK (spent_at IS NULL OR ended_at IS NULL)
);
CREATE INDEX refresh_tokens_auth_session_id_idx ON app.refresh_tokens (auth_session_id);
CREATE INDEX refresh_tokens_expires_at_idx ON app.refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_predecessor_idx ON app.refresh_tokens (predecessor);
COMMENT ON TABLE app.refresh_tokens IS
    'Refresh tokens of all sign-ins, as hashes. app.refresh_sign_in describes their states';
COMMENT ON COLUMN app.refresh_tokens.token_hash IS 'SHA-256 of the token';
COMMENT ON COLUMN app.refresh_tokens.predecessor IS
    'The hash of the token that this one was given for; null: the first token of its sign-in';
COMMENT ON COLUMN app.refresh_tokens.spent_at IS 'When the token was first exchanged for another one; null: never';
COMMENT ON COLUMN app.refresh_tokens.spent_from IS 'The network address that first exchanged it';
COMMENT ON COLUMN app.refresh_tokens.ended_at IS
    'When another successor of the same predecessor was used; the token is worthless from then on';

-- The site's own identity providers. The server's role can begin a sign-in without a password only for these.
CREATE TABLE app.identity_providers (
    issuer text PRIMARY KEY
);
COMMENT ON TABLE app.identity_providers IS
    'The issuers whose tokens the servers may accept. The owner adds the value of JWT_ISSUER; with no row, no sign-in begins '
    'without a password';

-- A row exists only while a function changes a password: no transaction commits one.
CREATE UNLOGGED TABLE app.password_changes (
    user_id      uuid PRIMARY KEY REFERENCES app.users ON DELETE CASCADE,
    kept_sign_in uuid
);
COMMENT ON TABLE app.password_changes IS
    'Tells the trigger on app.users which sign-ins a new password hash does not end. Only functions of the owner write it';
COMMENT ON COLUMN app.password_changes.kept_sign_in IS
    'The sign-in under which its own user changes the password; null: all, because the hash is of the same password';

-- Unlogged: a crash empties the table. A spent ticket therefore cannot return with a lost commit. A ticket is valid for
-- seconds only: a client gets a new one.
CREATE UNLOGGED TABLE app.stream_tickets (
    ticket_hash       bytea PRIMARY KEY CHECK (length(ticket_hash) = 32),
    auth_session_id   uuid NOT NULL REFERENCES app.auth_sessions ON DELETE CASCADE,
    session_id        uuid,
    access_expires_at timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL
);
CREATE INDEX stream_tickets_auth_session_id_idx ON app.stream_tickets (auth_session_id);
COMMENT ON TABLE app.stream_tickets IS
    'Unused tickets. A ticket opens one stream once, and its use deletes the row';
COMMENT ON COLUMN app.stream_tickets.ticket_hash IS 'SHA-256 of the ticket';
COMMENT ON COLUMN app.stream_tickets.auth_session_id IS 'The sign-in that asked for the ticket; the stream runs under it';
COMMENT ON COLUMN app.stream_tickets.session_id IS
    'The session whose stream the ticket opens; null: the stream of all sessions. The server checks the right when the stream '
    'opens';
COMMENT ON COLUMN app.stream_tickets.access_expires_at IS
    'When the access token that asked for the ticket expires. The stream ends at the same time';

CREATE TABLE app.therapist_patients (
    therapist_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    patient_id   uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    is_active    boolean NOT NULL DEFAULT true,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    PRIMARY KEY (therapist_id, patient_id)
);
CREATE INDEX therapist_patients_patient_id_idx ON app.therapist_patients (patient_id);
ALTER TABLE app.therapist_patients ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.therapist_patients FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.therapist_patients IS
    'Assignments of therapists to patients. A pair has one row: an UPDATE of is_active ends the assignment or begins it again';
COMMENT ON COLUMN app.therapist_patients.is_active IS
    'True while the therapist may see the patient''s sessions. False ends that right at the commit';
COMMENT ON COLUMN app.therapist_patients.started_at IS 'When the assignment last began';
COMMENT ON COLUMN app.therapist_patients.ended_at IS 'When the assignment ended; null while it is active';

-- Autovacuum never analyses this table, because its rows do not change. Without statistics, the planner would assume a thousand
-- rows.
ANALYZE app.roles;

INSERT INTO app.schema_migrations (version, name) VALUES (2, 'users');
COMMIT;
