-- Webhooks: the endpoints that are told of transitions, and the outbox of deliveries to them.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.webhooks (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    url             text NOT NULL CHECK (length(url) <= 2048),
    events          text[] CHECK (cardinality(events) > 0),
    secret          bytea NOT NULL CHECK (octet_length(secret) BETWEEN 24 AND 64),
    previous_secret bytea,
    previous_until  timestamptz,
    is_active       boolean NOT NULL DEFAULT true,
    disabled_reason text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
ALTER TABLE app.webhooks ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.webhooks FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.webhooks IS 'The endpoints of other systems that the server tells of transitions';
COMMENT ON COLUMN app.webhooks.url IS 'Where deliveries go. It may hold a secret of the receiver';
COMMENT ON COLUMN app.webhooks.events IS 'The types of events that the endpoint gets, such as session.processed; null: all';
COMMENT ON COLUMN app.webhooks.secret IS
    'The key that signs deliveries. The server needs the key itself: a hash could not sign. Only the schema''s owner can read it; '
    'the server gets it with each delivery that it claims';
COMMENT ON COLUMN app.webhooks.previous_secret IS 'The key before the present one, which also signs until previous_until';
COMMENT ON COLUMN app.webhooks.is_active IS
    'False: the endpoint gets no new deliveries, and those that wait are not sent until it is active again';
COMMENT ON COLUMN app.webhooks.disabled_reason IS
    'Why the server has deactivated the endpoint: gone, because it answered 410; null: the server has not';

-- There are no foreign keys. A key to the endpoint would lock the endpoint's row for each transition, and all writers of
-- progress would write to that row. A key to the session would end deliveries about a session that is deleted.
CREATE TABLE app.webhook_deliveries (
    id               uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    webhook_id       uuid NOT NULL,
    session_id       uuid NOT NULL,
    version          bigint NOT NULL,
    attempt          integer NOT NULL,
    status           text NOT NULL,
    at               timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at          timestamptz DEFAULT clock_timestamp(),
    tries            integer NOT NULL DEFAULT 0,
    leased_until     timestamptz NOT NULL DEFAULT '-infinity',
    lease            uuid,
    attempt_times    timestamptz[] NOT NULL DEFAULT '{}',
    attempt_statuses integer[] NOT NULL DEFAULT '{}',
    attempt_errors   text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
-- Finds what is due at an endpoint. Finished deliveries are not in it.
CREATE INDEX webhook_deliveries_due_idx ON app.webhook_deliveries (webhook_id, next_at) WHERE next_at IS NOT NULL;
-- Lists the deliveries of an endpoint, and finds the old ones.
CREATE INDEX webhook_deliveries_created_idx ON app.webhook_deliveries (webhook_id, created_at, id);
ALTER TABLE app.webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.webhook_deliveries FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.webhook_deliveries IS
    'The outbox: one row for each transition and each endpoint that is told of it. The commit of the transition adds the row. A '
    'row holds ids and numbers, and no data of a patient. It outlives its session, and is removed after some days';
COMMENT ON COLUMN app.webhook_deliveries.id IS 'The header webhook-id: the same in every attempt';
COMMENT ON COLUMN app.webhook_deliveries.version IS 'The version of the session''s progress after the transition';
COMMENT ON COLUMN app.webhook_deliveries.attempt IS 'The attempt of the session, not of the delivery';
COMMENT ON COLUMN app.webhook_deliveries.at IS 'When the transition was made';
COMMENT ON COLUMN app.webhook_deliveries.next_at IS
    'When the next attempt is due; null: the delivery has succeeded or was given up';
COMMENT ON COLUMN app.webhook_deliveries.tries IS
    'How many attempts of the present schedule have ended. A retry by an administrator begins the schedule again';
COMMENT ON COLUMN app.webhook_deliveries.leased_until IS
    'Until when a server works on the delivery. If that server dies, another one takes the delivery after this time';
COMMENT ON COLUMN app.webhook_deliveries.lease IS 'Identifies the present claim: the result of an earlier one is not stored';
COMMENT ON COLUMN app.webhook_deliveries.attempt_times IS 'When the last 20 attempts ended, oldest first';
COMMENT ON COLUMN app.webhook_deliveries.attempt_statuses IS 'The status codes of these attempts; null: there was no answer';
COMMENT ON COLUMN app.webhook_deliveries.attempt_errors IS
    'Why these attempts failed, as fixed words; null: the attempt succeeded';

INSERT INTO app.schema_migrations (version, name) VALUES (11, 'webhooks');
COMMIT;
