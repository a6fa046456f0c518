-- The upload limits of a user, over all servers: concurrent uploads, uploads in an hour, bytes in a day.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('090_upload_charges', 1); END $$;

REVOKE ALL ON app.upload_charges FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.charge_upload(
    id uuid, user_id uuid, bytes bigint, most_at_once integer, most_per_hour integer, most_bytes_per_day bigint,
    lease interval)
RETURNS TABLE (exceeded text, wait double precision)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present timestamptz;
    under_way bigint;
    since timestamptz;
BEGIN
    -- Charges of one user run one at a time; otherwise concurrent uploads could all get the last room. The lock ends with the
    -- transaction. A caller must therefore make this call in a transaction of its own.
    PERFORM pg_advisory_xact_lock(hashtext('app.upload_charges'), hashtext($2::text));
    present := clock_timestamp();
    -- An upload whose server has died stops counting after ten seconds, long before its lease ends, because its client repeats it.
    SELECT count(*) INTO under_way FROM upload_charges c
    WHERE c.user_id = $2 AND c.id <> $1 AND c.leased_until > present AND c.beat_at > present - interval '10 seconds';
    IF under_way >= $4 AND $4 > 0 THEN
        -- The end of an upload is unknown; ten seconds is a guess.
        RETURN QUERY SELECT 'at-once', 10::double precision;
        RETURN;
    END IF;
    IF $5 > 0 THEN
        -- The oldest of the uploads that fill the hour.
        SELECT c.begun_at INTO since FROM upload_charges c
        WHERE c.user_id = $2 AND c.begun_at > present - interval '1 hour'
        ORDER BY c.begun_at DESC OFFSET $5 - 1 LIMIT 1;
        IF FOUND THEN
            RETURN QUERY SELECT 'per-hour', extract(epoch FROM since + interval '1 hour' - present)::double precision;
            RETURN;
        END IF;
    END IF;
    IF $6 > 0 THEN
        -- There is room when this upload, and every older one, is more than a day old.
        SELECT s.since INTO since FROM (
            SELECT w.since, sum(w.bytes) OVER (ORDER BY w.since DESC, w.id) AS sum
            FROM (SELECT c.id, coalesce(c.charged_at, c.begun_at) AS since,
                         -- A reservation of this upload is that of a request before this one. A dead server brings no more bytes.
                         c.bytes + CASE WHEN c.id = $1 OR c.leased_until <= present
                                             OR c.leased_until IS NOT NULL AND c.beat_at <= present - interval '10 seconds'
                                        THEN 0 ELSE c.reserved END AS bytes
                  FROM upload_charges c WHERE c.user_id = $2) AS w
            WHERE w.since > present - interval '1 day') AS s
        WHERE s.sum + $3 > $6 ORDER BY s.since DESC LIMIT 1;
        IF FOUND THEN
            RETURN QUERY SELECT 'bytes-per-day', extract(epoch FROM since + interval '1 day' - present)::double precision;
            RETURN;
        END IF;
    END IF;
    INSERT INTO upload_charges AS c (id, user_id, bytes, reserved, begun_at, leased_until)
    VALUES ($1, $2, 0, $3, present, present + $7)
    ON CONFLICT (id) DO UPDATE
        SET reserved = excluded.reserved, leased_until = excluded.leased_until, beat_at = present, heard_at = present;
END
$$;
COMMENT ON FUNCTION app.charge_upload IS
    'Charges an upload before its first byte, or a further request of a resumable one, with the most bytes that the request may '
    'bring; a limit of 0 is no limit. Without a lease no request is under way yet. No row: the upload is charged. A row is a '
    'refusal: the exceeded limit (at-once, per-hour, bytes-per-day) and the seconds until there is room';

CREATE OR REPLACE FUNCTION app.keep_upload(id uuid, lease interval, silence interval DEFAULT '0') RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    UPDATE upload_charges c
    SET leased_until = clock_timestamp() + $2, beat_at = clock_timestamp(), heard_at = clock_timestamp() - $3
    WHERE c.id = $1 AND c.leased_until IS NOT NULL
$$;
COMMENT ON FUNCTION app.keep_upload IS
    'Extends the time for which an upload counts as under way. silence: for how long no byte has arrived';

CREATE OR REPLACE FUNCTION app.end_upload(id uuid, bytes bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    IF $2 IS NULL THEN
        DELETE FROM upload_charges c WHERE c.id = $1;
    ELSE
        UPDATE upload_charges c SET bytes = $2, reserved = 0, leased_until = NULL WHERE c.id = $1;
    END IF;
END
$$;
COMMENT ON FUNCTION app.end_upload IS
    'Ends an upload and charges the bytes that arrived. Null bytes remove the charge of an upload that was refused before it '
    'began';

CREATE OR REPLACE FUNCTION app.add_upload_bytes(id uuid, bytes bigint, ends_request boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off
AS $$
    UPDATE upload_charges c
    SET bytes = c.bytes + $2, charged_at = clock_timestamp(),
        reserved = CASE WHEN $3 THEN 0 ELSE c.reserved END, leased_until = CASE WHEN NOT $3 THEN c.leased_until END
    WHERE c.id = $1
$$;
COMMENT ON FUNCTION app.add_upload_bytes IS
    'Charges the bytes that a request of a resumable upload brought, with those that were not kept. ends_request is false if '
    'another request has taken the upload over and is under way';

CREATE OR REPLACE FUNCTION app.is_upload_silent(id uuid, silence interval) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT NOT EXISTS (
        SELECT FROM upload_charges c
        WHERE c.id = $1 AND c.leased_until > clock_timestamp() AND c.heard_at > clock_timestamp() - $2)
$$;
COMMENT ON FUNCTION app.is_upload_silent IS
    'True if no request of the upload is under way, or if no byte of it has arrived within the time: its connection is '
    'silent, or its server has died';

CREATE OR REPLACE FUNCTION app.upload_grace() RETURNS interval
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT interval '10 minutes' $$;
COMMENT ON FUNCTION app.upload_grace IS
    'For how long an upload may still be alive after its server last extended it. The server may only have lost its connection '
    'to the database';

CREATE OR REPLACE FUNCTION app.is_upload_alive(id uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT EXISTS (SELECT FROM upload_charges c WHERE c.id = $1 AND c.leased_until > clock_timestamp() - upload_grace())
        OR EXISTS (SELECT FROM resumable_uploads u WHERE u.id = $1 AND u.state = 'open')
$$;
COMMENT ON FUNCTION app.is_upload_alive IS
    'True while an upload is under way, or may be, and while a resumable upload is open: app.expire_uploads ends it';

CREATE OR REPLACE FUNCTION app.delete_expired_uploads() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (
        DELETE FROM upload_charges
        WHERE coalesce(charged_at, begun_at) < clock_timestamp() - interval '1 day'
          AND (leased_until IS NULL OR leased_until < clock_timestamp())
        RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_expired_uploads IS
    'Deletes the ended uploads that are older than a day and returns their number';

REVOKE ALL ON FUNCTION app.charge_upload, app.keep_upload, app.end_upload, app.add_upload_bytes, app.is_upload_silent,
    app.upload_grace, app.is_upload_alive, app.delete_expired_uploads FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.charge_upload, app.keep_upload, app.end_upload, app.add_upload_bytes,
    app.delete_expired_uploads TO therapybridge_server;

COMMIT;
