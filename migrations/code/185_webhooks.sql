-- Webhooks: the outbox that transitions fill, the claims of the servers that deliver, and the rights of administrators.
-- revision: 1
--
-- Deliveries are made at least once. A server claims a delivery for some time and sends it outside of any transaction. If the
-- server dies, or cannot store the result, the claim lapses, and a server sends the delivery again under the same id.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('185_webhooks', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.webhooks;
CREATE POLICY owner ON app.webhooks TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS managed ON app.webhooks;
CREATE POLICY managed ON app.webhooks TO therapybridge_server USING ((SELECT app.acting_may_all('manage_webhooks')));
DROP POLICY IF EXISTS owner ON app.webhook_deliveries;
CREATE POLICY owner ON app.webhook_deliveries TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS managed ON app.webhook_deliveries;
CREATE POLICY managed ON app.webhook_deliveries FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('manage_webhooks')));

-- No role but the owner reads the secrets.
REVOKE ALL ON app.webhooks, app.webhook_deliveries FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT (id, url, events, is_active, disabled_reason, created_at), DELETE ON app.webhooks TO therapybridge_server;
GRANT SELECT (id, webhook_id, session_id, version, attempt, status, at, created_at, next_at, attempt_times, attempt_statuses,
              attempt_errors)
    ON app.webhook_deliveries TO therapybridge_server;

-- The outbox.

-- Every transition runs this function. Without an endpoint, it costs one look into an empty table. A function that sets
-- search_path takes several microseconds more. All names are therefore qualified. Only functions of the owner write to
-- session_events.
CREATE OR REPLACE FUNCTION app.enqueue_webhooks() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM app.webhooks) THEN
        INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at)
        SELECT w.id, NEW.session_id, NEW.version, NEW.attempt, NEW.status, NEW.at FROM app.webhooks w
        WHERE w.is_active AND (w.events IS NULL OR 'session.' || NEW.status = ANY (w.events))
          -- No receiver hears of a probe.
          AND EXISTS (SELECT FROM app.therapy_sessions t WHERE t.id = NEW.session_id AND t.probe_of IS NULL);
        IF FOUND THEN
            PERFORM pg_catalog.pg_notify('tb_session_v1', 'webhooks');
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.enqueue_webhooks IS
    'Trigger: adds a delivery of a transition for each active endpoint that wants its type, and wakes the servers. Both happen '
    'with the commit of the transition';
CREATE OR REPLACE TRIGGER enqueue_webhooks AFTER INSERT ON app.session_events
    FOR EACH ROW EXECUTE FUNCTION app.enqueue_webhooks();

-- The claims of the servers.

CREATE OR REPLACE FUNCTION app.claim_webhook_deliveries(busy uuid[], counts integer[], lanes integer, duration interval)
RETURNS TABLE (id uuid, lease uuid, webhook_id uuid, url text, secrets bytea[], status text, at timestamptz, session_id uuid,
               version bigint, attempt integer, tries integer)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT f.id FROM webhooks w LEFT JOIN unnest($1, $2) AS b (id, count) ON b.id = w.id
        CROSS JOIN LATERAL (
            SELECT d.id FROM webhook_deliveries d
            WHERE d.webhook_id = w.id AND d.next_at <= present AND d.leased_until <= present
            ORDER BY d.next_at LIMIT greatest($3 - coalesce(b.count, 0), 0)
            FOR NO KEY UPDATE SKIP LOCKED) AS f
        WHERE w.is_active)
    UPDATE webhook_deliveries d SET leased_until = present + $4, lease = gen_random_uuid()
    FROM due, webhooks w WHERE d.id = due.id AND w.id = d.webhook_id
    RETURNING d.id, d.lease, w.id, w.url,
        CASE WHEN w.previous_until > present THEN ARRAY[w.secret, w.previous_secret] ELSE ARRAY[w.secret] END,
        d.status, d.at, d.session_id, d.version, d.attempt, d.tries;
END
$$;
COMMENT ON FUNCTION app.claim_webhook_deliveries IS
    'Claims what is due, for the duration: for each active endpoint as many deliveries as lanes, less those in counts, the number '
    'that the caller works on already for the endpoint of the same index in busy. Several servers share the outbox';

CREATE OR REPLACE FUNCTION app.finish_webhook_delivery(
    id uuid, lease uuid, status integer, error text, delay interval, is_gone boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    most CONSTANT integer := 20;
    webhook uuid;
BEGIN
    UPDATE webhook_deliveries d
    SET lease = NULL, leased_until = '-infinity', tries = d.tries + 1, next_at = present + $5,
        attempt_times = (d.attempt_times || present)[cardinality(d.attempt_times) + 2 - most:],
        attempt_statuses = (d.attempt_statuses || $3)[cardinality(d.attempt_statuses) + 2 - most:],
        attempt_errors = (d.attempt_errors || $4)[cardinality(d.attempt_errors) + 2 - most:]
    WHERE d.id = $1 AND d.lease = $2
    RETURNING d.webhook_id INTO webhook;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF $6 THEN
        UPDATE webhooks w SET is_active = false, disabled_reason = 'gone' WHERE w.id = webhook AND w.is_active;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.finish_webhook_delivery IS
    'Stores the result of an attempt. delay: until the next attempt; null: the delivery has succeeded or is given up. is_gone: the '
    'receiver answered 410, and the endpoint is deactivated. False: the claim has lapsed, or the delivery is gone';

CREATE OR REPLACE FUNCTION app.release_webhook_deliveries(ids uuid[], leases uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    UPDATE webhook_deliveries d SET lease = NULL, leased_until = '-infinity'
    FROM unnest($1, $2) AS r (id, lease) WHERE d.id = r.id AND d.lease = r.lease;
    PERFORM pg_notify('tb_session_v1', 'webhooks');
END
$$;
COMMENT ON FUNCTION app.release_webhook_deliveries IS
    'Gives claims back whose attempts have no result, because their server shuts down, and wakes the other servers';

CREATE OR REPLACE FUNCTION app.webhook_pause() RETURNS double precision
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN (
        SELECT date_part('epoch', min(n.next_at) - present) FROM webhooks w CROSS JOIN LATERAL (
            SELECT d.next_at FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.next_at > present
            ORDER BY d.next_at LIMIT 1) AS n
        WHERE w.is_active);
END
$$;
COMMENT ON FUNCTION app.webhook_pause IS
    'The seconds until the next delivery is due that is not due yet; null: there is none';

CREATE OR REPLACE FUNCTION app.webhook_backlog() RETURNS TABLE (pending bigint, oldest double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    most CONSTANT integer := 10000;
BEGIN
    RETURN QUERY
    SELECT count(*), coalesce(date_part('epoch', clock_timestamp() - min(p.created_at)), 0)
    FROM (SELECT d.created_at FROM webhooks w JOIN webhook_deliveries d ON d.webhook_id = w.id
          WHERE w.is_active AND d.next_at IS NOT NULL LIMIT most) AS p;
END
$$;
COMMENT ON FUNCTION app.webhook_backlog IS
    'How many deliveries to active endpoints are unfinished, at most 10,000, and the age of the oldest of these in seconds';

CREATE OR REPLACE FUNCTION app.delete_old_webhook_deliveries(age interval, most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    deleted bigint;
BEGIN
    UPDATE webhooks SET previous_secret = NULL, previous_until = NULL WHERE previous_until <= present;
    -- One look into the index for each endpoint, also for those that are deleted.
    WITH RECURSIVE endpoints AS (
        SELECT (SELECT d.webhook_id FROM webhook_deliveries d ORDER BY d.webhook_id LIMIT 1) AS id
        UNION ALL
        SELECT (SELECT d.webhook_id FROM webhook_deliveries d WHERE d.webhook_id > e.id ORDER BY d.webhook_id LIMIT 1)
        FROM endpoints e WHERE e.id IS NOT NULL),
    limits AS (
        SELECT e.id, CASE WHEN EXISTS (SELECT FROM webhooks w WHERE w.id = e.id) THEN present - $1 ELSE 'infinity' END AS until
        FROM endpoints e WHERE e.id IS NOT NULL),
    doomed AS MATERIALIZED (
        SELECT o.id FROM limits l CROSS JOIN LATERAL (
            SELECT d.id FROM webhook_deliveries d WHERE d.webhook_id = l.id AND d.created_at < l.until
            ORDER BY d.created_at LIMIT $2) AS o
        LIMIT $2)
    DELETE FROM webhook_deliveries d USING doomed WHERE d.id = doomed.id;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
COMMENT ON FUNCTION app.delete_old_webhook_deliveries IS
    'Deletes deliveries that are older than the age, finished or not, and those of deleted endpoints: at most so many, whose number '
    'it returns. Also forgets previous secrets whose time is over';

-- The rights of administrators.

CREATE OR REPLACE FUNCTION app.add_webhook(url text, events text[], secret bytea) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    most CONSTANT integer := 50;
    added uuid;
BEGIN
    IF NOT acting_may_all('manage_webhooks') THEN
        RAISE EXCEPTION 'the acting user may not do this'
            USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'not_permitted';
    END IF;
    -- Two at once could otherwise pass the limit together. The lock lets readers, and thus transitions, pass.
    LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE;
    IF (SELECT count(*) FROM webhooks) < most THEN
        INSERT INTO webhooks (url, events, secret) VALUES ($1, $2, $3) RETURNING id INTO added;
    END IF;
    RETURN added;
END
$$;
COMMENT ON FUNCTION app.add_webhook IS
    'Adds an endpoint and returns its id; null: there are 50 already. Raises 42501 if the acting user may not manage webhooks';

CREATE OR REPLACE FUNCTION app.change_webhook(
    id uuid, url text, sets_events boolean, events text[], secret bytea, is_active boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    UPDATE webhooks w
    SET url = coalesce($2, w.url), events = CASE WHEN $3 THEN $4 ELSE w.events END,
        previous_secret = CASE WHEN $5 <> w.secret THEN w.secret ELSE w.previous_secret END,
        previous_until = CASE WHEN $5 <> w.secret THEN clock_timestamp() + interval '1 day' ELSE w.previous_until END,
        secret = coalesce($5, w.secret),
        is_active = coalesce($6, w.is_active),
        disabled_reason = CASE WHEN $6 IS NULL THEN w.disabled_reason END
    WHERE w.id = $1 AND acting_may_all('manage_webhooks');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What waited while the endpoint was inactive is due.
    IF $6 THEN
        PERFORM pg_notify('tb_session_v1', 'webhooks');
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.change_webhook IS
    'Changes an endpoint; null keeps a value, and sets_events says whether the events are set. After a new secret, the one before it '
    'also signs for a day. False: the acting user manages no such endpoint';

CREATE OR REPLACE FUNCTION app.retry_webhook_delivery(webhook_id uuid, id uuid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    is_active boolean;
BEGIN
    SELECT w.is_active INTO is_active FROM webhooks w WHERE w.id = $1 AND acting_may_all('manage_webhooks');
    IF NOT FOUND THEN
        RETURN 'unknown_webhook';
    END IF;
    IF NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.id = $2 AND d.webhook_id = $1) THEN
        RETURN 'unknown_delivery';
    ELSIF NOT is_active THEN
        RETURN 'inactive';
    END IF;
    UPDATE webhook_deliveries d SET next_at = clock_timestamp(), tries = 0 WHERE d.id = $2;
    PERFORM pg_notify('tb_session_v1', 'webhooks');
    RETURN 'due';
END
$$;
COMMENT ON FUNCTION app.retry_webhook_delivery IS
    'Sends a delivery again, under its id, and begins its schedule again: due; or why not: unknown_webhook, unknown_delivery, or '
    'inactive, because the endpoint is';

CREATE OR REPLACE FUNCTION app.record_webhook() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    changes text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        changes := concat_ws(', ',
            CASE WHEN NEW.url <> OLD.url THEN 'url' END,
            CASE WHEN NEW.events IS DISTINCT FROM OLD.events THEN 'events' END,
            CASE WHEN NEW.secret <> OLD.secret THEN 'secret' END,
            CASE WHEN NEW.is_active <> OLD.is_active
                 THEN CASE WHEN NEW.is_active THEN 'active' ELSE concat_ws(', ', 'inactive', NEW.disabled_reason) END END);
        IF changes = '' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO audit_log (action, user_id, detail)
    VALUES (CASE TG_OP WHEN 'INSERT' THEN 'webhook.add' WHEN 'UPDATE' THEN 'webhook.change' ELSE 'webhook.remove' END,
            acting_id(), concat_ws(': ', CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END, changes));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.record_webhook IS
    'Trigger: records that an endpoint is added, changed or removed. The detail has its id and names the changed columns; it holds '
    'no URL and no secret';
CREATE OR REPLACE TRIGGER record_webhook AFTER INSERT OR UPDATE OR DELETE ON app.webhooks
    FOR EACH ROW EXECUTE FUNCTION app.record_webhook();

REVOKE ALL ON FUNCTION app.enqueue_webhooks, app.claim_webhook_deliveries, app.finish_webhook_delivery,
    app.release_webhook_deliveries, app.webhook_pause, app.webhook_backlog, app.delete_old_webhook_deliveries, app.add_webhook,
    app.change_webhook, app.retry_webhook_delivery, app.record_webhook
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.claim_webhook_deliveries, app.finish_webhook_delivery, app.release_webhook_deliveries,
    app.webhook_pause, app.webhook_backlog, app.delete_old_webhook_deliveries, app.add_webhook, app.change_webhook,
    app.retry_webhook_delivery TO therapybridge_server;

COMMIT;
