-- Uploads that can be resumed.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.resumable_uploads (
    id            uuid PRIMARY KEY,
    session_id    uuid NOT NULL,
    patient_id    uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    user_id       uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    metadata      text NOT NULL CHECK (length(metadata) <= 16384),
    length        bigint NOT NULL CHECK (length > 0),
    arrived       bigint NOT NULL DEFAULT 0 CHECK (arrived BETWEEN 0 AND length),
    parts         text[] NOT NULL DEFAULT '{}',
    part_bytes    bigint[] NOT NULL DEFAULT '{}',
    is_recognized boolean NOT NULL DEFAULT false,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'complete', 'ended')),
    writer        uuid,
    leased_until  timestamptz,
    heard_at      timestamptz,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz NOT NULL,
    CHECK (cardinality(parts) = cardinality(part_bytes)),
    CHECK ((writer IS NULL) = (leased_until IS NULL) AND (writer IS NULL) = (heard_at IS NULL)),
    CHECK (state <> 'complete' OR arrived = length)
) WITH (fillfactor = 50);
-- A session waits for one upload.
CREATE UNIQUE INDEX resumable_uploads_session_id_idx ON app.resumable_uploads (session_id) WHERE state = 'open';
CREATE INDEX resumable_uploads_expires_at_idx ON app.resumable_uploads (expires_at);
ALTER TABLE app.resumable_uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.resumable_uploads FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.resumable_uploads IS
    'Resumable uploads, one row each. Any server can continue an upload: the row says which bytes are durable, and which '
    'request writes';
COMMENT ON COLUMN app.resumable_uploads.id IS
    'The upload: upload_id of its session, and the id of its row in upload_charges';
COMMENT ON COLUMN app.resumable_uploads.session_id IS
    'The session whose recording the upload brings. Not a foreign key: the row outlives a deleted session';
COMMENT ON COLUMN app.resumable_uploads.user_id IS 'The user who began the upload. Nobody else may see or continue it';
COMMENT ON COLUMN app.resumable_uploads.metadata IS 'The Upload-Metadata of the creation, as the client sent it';
COMMENT ON COLUMN app.resumable_uploads.length IS 'The size of the whole recording in bytes';
COMMENT ON COLUMN app.resumable_uploads.arrived IS 'How many bytes are durable: where the upload continues';
COMMENT ON COLUMN app.resumable_uploads.parts IS
    'The files with these bytes, in their order, in the folder of the upload under UPLOAD_DIR. Only one request writes to a file';
COMMENT ON COLUMN app.resumable_uploads.part_bytes IS
    'The durable bytes of each file. A file may hold more: those are not part of the upload';
COMMENT ON COLUMN app.resumable_uploads.is_recognized IS 'True once the first bytes have shown that this is a recording';
COMMENT ON COLUMN app.resumable_uploads.state IS
    'open: waits for bytes; complete: the session has the recording; ended: cancelled, expired, refused, or the session is gone';
COMMENT ON COLUMN app.resumable_uploads.writer IS 'The request that writes: a random id; null: no request does';
COMMENT ON COLUMN app.resumable_uploads.leased_until IS
    'Until when the writer holds the upload. Its server extends this every second. If that server dies, another one can go on';
COMMENT ON COLUMN app.resumable_uploads.heard_at IS
    'When bytes of the writer last arrived. Another request may take over from a writer that is silent';
COMMENT ON COLUMN app.resumable_uploads.expires_at IS
    'When an open upload expires, or until when a complete one is kept. Each byte that arrives moves it';

INSERT INTO app.schema_migrations (version, name) VALUES (9, 'uploads');
COMMIT;
