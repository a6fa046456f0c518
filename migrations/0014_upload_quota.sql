-- How much somebody may upload: how many recordings at once and in an hour, and how many bytes in a day, over all servers.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- A row an upload, entered before its first byte with what it may become, and corrected at its end to what came.
CREATE TABLE app.upload_charges (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES app.users ON DELETE CASCADE,
    bytes      bigint NOT NULL CHECK (bytes >= 0),
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    open_until timestamptz
) WITH (fillfactor = 50);
CREATE INDEX upload_charges_user_id_idx ON app.upload_charges (user_id, begun_at);
COMMENT ON TABLE app.upload_charges IS
    'What users have uploaded in the last day: who, when and how much, and nothing of what. Rows of before may go';
COMMENT ON COLUMN app.upload_charges.open_until IS
    'Until when the upload counts as one under way, unless its server prolongs that; null: it has ended';

-- Charges an upload that is about to begin. A limit of 0 is none.
--
-- A row is a refusal: which limit, and how many seconds until it gives room, as far as that is known. Everybody's charges
-- are made one at a time, or the last room would be given to all who ask at once.
CREATE FUNCTION app.charge_upload(
    id uuid, user_id uuid, bytes bigint, most_at_once integer, most_per_hour integer, most_bytes_per_day bigint,
    lease interval)
RETURNS TABLE (exceeded text, wait double precision)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present timestamptz;
    under_way bigint;
    since timestamptz;
BEGIN
    -- Not in the transaction of something else: this lock is waited for, and held until the end.
    PERFORM pg_advisory_xact_lock(hashtext('app.upload_charges'), hashtext($2::text));
    present := clock_timestamp();
    SELECT count(*) INTO under_way FROM upload_charges c WHERE c.user_id = $2 AND c.open_until > present;
    IF under_way >= $4 AND $4 > 0 THEN
        -- When one of them ends is for its client to say.
        RETURN QUERY SELECT 'at-once', 10::double precision;
        RETURN;
    END IF;
    IF $5 > 0 THEN
        -- The oldest of those that fill the hour.
        SELECT c.begun_at INTO since FROM upload_charges c
        WHERE c.user_id = $2 AND c.begun_at > present - interval '1 hour'
        ORDER BY c.begun_at DESC OFFSET $5 - 1 LIMIT 1;
        IF FOUND THEN
            RETURN QUERY SELECT 'per-hour', extract(epoch FROM since + interval '1 hour' - present)::double precision;
            RETURN;
        END IF;
    END IF;
    IF $6 > 0 THEN
        -- The youngest without which, and without those before it, there would be room.
        SELECT s.begun_at INTO since FROM (
            SELECT c.begun_at, sum(c.bytes) OVER (ORDER BY c.begun_at DESC, c.id) AS sum
            FROM upload_charges c WHERE c.user_id = $2 AND c.begun_at > present - interval '1 day') AS s
        WHERE s.sum + $3 > $6 ORDER BY s.begun_at DESC LIMIT 1;
        IF FOUND THEN
            RETURN QUERY SELECT 'bytes-per-day', extract(epoch FROM since + interval '1 day' - present)::double precision;
            RETURN;
        END IF;
    END IF;
    INSERT INTO upload_charges (id, user_id, bytes, begun_at, open_until) VALUES ($1, $2, $3, present, present + $7);
END
$$;

CREATE FUNCTION app.keep_upload(id uuid, lease interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    UPDATE upload_charges c SET open_until = clock_timestamp() + $2 WHERE c.id = $1 AND c.open_until IS NOT NULL
$$;

-- Ends an upload that has taken so many bytes; null: it was refused before it began, and counts for nothing.
CREATE FUNCTION app.end_upload(id uuid, bytes bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF $2 IS NULL THEN
        DELETE FROM upload_charges c WHERE c.id = $1;
    ELSE
        UPDATE upload_charges c SET bytes = $2, open_until = NULL WHERE c.id = $1;
    END IF;
END
$$;

CREATE FUNCTION app.forget_uploads() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    WITH forgotten AS (
        DELETE FROM upload_charges
        WHERE begun_at < clock_timestamp() - interval '1 day'
          AND (open_until IS NULL OR open_until < clock_timestamp())
        RETURNING 1)
    SELECT count(*) FROM forgotten
$$;

GRANT EXECUTE ON FUNCTION app.charge_upload, app.keep_upload, app.end_upload, app.forget_uploads
    TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (14, 'upload_quota');
COMMIT;
