-- Therapy sessions, their recordings, and the charges for the upload limits of users.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.therapy_sessions (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    patient_id       uuid NOT NULL REFERENCES app.users,
    therapist_id     uuid REFERENCES app.users,
    -- The times that RFC 3339 can write: no infinity, no year before 1 or after 9999.
    session_date     timestamptz DEFAULT now()
                     CHECK (session_date >= '0001-01-01Z' AND session_date < '10000-01-01Z'),
    -- A well-formed tag by the grammar of RFC 5646, 2.1, in any case. Swift's LanguageTag reads the same, and a test compares them.
    language         text CHECK (length(language) <= 100 AND language COLLATE "C" ~ $re$(?xi)^(
                         ( [a-z]{2,3} (-[a-z]{3}){0,3} | [a-z]{4,8} )           # language, with extended languages
                         (-[a-z]{4})? (-([a-z]{2}|[0-9]{3}))?                   # script, region
                         (-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*                   # variants
                         (-[0-9a-wyz](-[a-z0-9]{2,8})+)* (-x(-[a-z0-9]{1,8})+)? # extensions, private use
                         | x(-[a-z0-9]{1,8})+
                         | en-gb-oed | sgn-be-fr | sgn-be-nl | sgn-ch-de
                         | i-(ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
                     )$$re$),
    uploaded_by      uuid REFERENCES app.users,
    upload_id        uuid,
    upload_key       text,
    recording        text,
    filename         text CHECK (length(filename) <= 255),
    media_type       text CHECK (length(media_type) <= 255),
    bytes            bigint CHECK (bytes >= 0),
    sha256           bytea CHECK (length(sha256) = 32),
    duration_seconds double precision CHECK (duration_seconds >= 0 AND duration_seconds < 'infinity'),
    announced_seconds double precision CHECK (announced_seconds >= 0 AND announced_seconds < 'infinity'),
    has_cut_track    boolean NOT NULL DEFAULT false,
    probe_of         uuid REFERENCES app.users ON DELETE CASCADE,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT probe_has_no_recording CHECK (probe_of IS NULL OR recording IS NULL)
);
-- Lists are read newest first, for a patient or for everybody.
CREATE INDEX therapy_sessions_patient_id_idx ON app.therapy_sessions (patient_id, created_at DESC, id DESC);
CREATE INDEX therapy_sessions_created_at_idx ON app.therapy_sessions (created_at DESC, id DESC);
-- A recording belongs to one session.
CREATE UNIQUE INDEX therapy_sessions_recording_idx ON app.therapy_sessions (recording) WHERE recording IS NOT NULL;
-- At most a few: probes that are under way, or were left over.
CREATE INDEX therapy_sessions_probe_idx ON app.therapy_sessions (created_at) WHERE probe_of IS NOT NULL;
ALTER TABLE app.therapy_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.therapy_sessions FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.therapy_sessions IS
    'Therapy sessions and their recordings. An INSERT also creates the row of session_progress';
COMMENT ON COLUMN app.therapy_sessions.therapist_id IS
    'The therapist who held the session. It gives no right to see the session: only an active row of therapist_patients '
    'does';
COMMENT ON COLUMN app.therapy_sessions.session_date IS 'When the session took place; null: it is not known';
COMMENT ON COLUMN app.therapy_sessions.language IS
    'The language that is spoken in the recording, as a BCP 47 tag; null: it is not known';
COMMENT ON COLUMN app.therapy_sessions.uploaded_by IS
    'The user who uploads the recording; null: the session was created without an upload';
COMMENT ON COLUMN app.therapy_sessions.upload_id IS
    'The upload that brings the recording, or has brought it: the id of its row in upload_charges';
COMMENT ON COLUMN app.therapy_sessions.upload_key IS 'The key that the recording of the present upload will have';
COMMENT ON COLUMN app.therapy_sessions.recording IS
    'The key of the recording in UPLOAD_DIR; null until the whole recording is stored. Only app.attach_recording sets it';
COMMENT ON COLUMN app.therapy_sessions.filename IS 'The name that the uploader gave the file';
COMMENT ON COLUMN app.therapy_sessions.media_type IS
    'The format of the recording, as the server found it in the bytes; null until the recording is stored';
COMMENT ON COLUMN app.therapy_sessions.bytes IS 'The size of the recording in bytes';
COMMENT ON COLUMN app.therapy_sessions.sha256 IS 'SHA-256 of the recording as it was uploaded';
COMMENT ON COLUMN app.therapy_sessions.duration_seconds IS
    'The length of the audio in seconds: first as a worker measured it, later as the transcript says it';
COMMENT ON COLUMN app.therapy_sessions.announced_seconds IS
    'The length in seconds that the headers of the file announce; null: they announce none';
COMMENT ON COLUMN app.therapy_sessions.has_cut_track IS
    'True if one of several audio tracks ends before its own header says, which the length of the longest one may hide';

COMMENT ON COLUMN app.therapy_sessions.probe_of IS
    'The administrator whose probe the session is, the only user who sees it; null: a real session';

CREATE TABLE app.discarded_recordings (
    recording    text PRIMARY KEY,
    upload_id    uuid,
    discarded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at     timestamptz,
    removed_at   timestamptz
);
CREATE INDEX discarded_recordings_discarded_at_idx ON app.discarded_recordings (discarded_at) WHERE removed_at IS NULL;
COMMENT ON TABLE app.discarded_recordings IS
    'Recordings whose files have to be removed: those of deleted sessions, and those of uploads until they complete. A '
    'transaction cannot remove a file: a server does it later. The row stays, so that no other recording ever gets the '
    'key';
COMMENT ON COLUMN app.discarded_recordings.recording IS 'The key of the recording in UPLOAD_DIR';
COMMENT ON COLUMN app.discarded_recordings.upload_id IS 'The upload that may still write the file; null: no upload does';
COMMENT ON COLUMN app.discarded_recordings.discarded_at IS 'The file may be removed from this time on';
COMMENT ON COLUMN app.discarded_recordings.taken_at IS
    'When a server began to remove the file. From then on app.attach_recording refuses the key';
COMMENT ON COLUMN app.discarded_recordings.removed_at IS 'When the file was removed; null: it is still to be removed';

CREATE TABLE app.upload_charges (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    bytes        bigint NOT NULL CHECK (bytes >= 0),
    reserved     bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    begun_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    charged_at   timestamptz,
    leased_until timestamptz,
    beat_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    heard_at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
CREATE INDEX upload_charges_user_id_idx ON app.upload_charges (user_id, begun_at);
COMMENT ON TABLE app.upload_charges IS
    'Uploads of the last day, one row each. The limits of a user count these rows. Older rows may be deleted';
COMMENT ON COLUMN app.upload_charges.bytes IS 'The bytes that arrived';
COMMENT ON COLUMN app.upload_charges.reserved IS 'The most bytes that the request under way may still bring';
COMMENT ON COLUMN app.upload_charges.charged_at IS
    'When bytes were last added to a resumable upload; all its bytes count for a day from then on. Null: from begun_at on';
COMMENT ON COLUMN app.upload_charges.leased_until IS
    'Until when the upload counts as under way, unless its server extends this; null: no request is under way';
COMMENT ON COLUMN app.upload_charges.beat_at IS 'When the server last extended leased_until, which it does every second';
COMMENT ON COLUMN app.upload_charges.heard_at IS 'When bytes of the upload last arrived from the client';

CREATE TABLE app.deleted_sessions (
    session_id uuid PRIMARY KEY,
    patient_id uuid NOT NULL,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deleted_sessions_xid_idx ON app.deleted_sessions (xid);
CREATE INDEX deleted_sessions_patient_id_idx ON app.deleted_sessions (patient_id);
ALTER TABLE app.deleted_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.deleted_sessions FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.deleted_sessions IS
    'Deleted sessions and their patients, for the streams of all sessions. No stream needs a row that is older than the '
    'longest life of a stream';
COMMENT ON COLUMN app.deleted_sessions.xid IS
    'The transaction that deleted the session. Streams compare it with their last snapshot';

CREATE TABLE app.deleted_session_ids (
    session_id uuid PRIMARY KEY
);
ALTER TABLE app.deleted_session_ids ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.deleted_session_ids FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.deleted_session_ids IS
    'The ids of all deleted sessions. The rows name no patient and stay for ever: no session gets the id of a deleted one';

INSERT INTO app.schema_migrations (version, name) VALUES (3, 'sessions');
COMMIT;
