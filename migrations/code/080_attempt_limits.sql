-- The limit of failed sign-in attempts of an account or a network address, over all servers.
-- revision: 1
--
-- The table app.attempt_limits describes the algorithm. Functions that lock several subjects lock them in the order of their
-- keys, to prevent deadlocks.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('080_attempt_limits', 1); END $$;

REVOKE ALL ON app.attempt_limits FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

CREATE OR REPLACE FUNCTION app.attempts_ahead(clear_at timestamptz, period interval) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT greatest(least($1 - clock_timestamp(), $2), '0')
$$;
COMMENT ON FUNCTION app.attempts_ahead IS
    'How far clear_at of a subject is ahead of now, at most the period. A greater value can only come from a clock that was '
    'set back, or from an earlier, longer period';

CREATE OR REPLACE FUNCTION app.attempts_wait(subjects bytea[], limits integer[], period interval) RETURNS double precision
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    SELECT extract(epoch FROM max(w.wait))::double precision
    FROM unnest($1, $2) AS s (subject, allowed) JOIN attempt_limits a ON a.subject = s.subject
    CROSS JOIN LATERAL (SELECT attempts_ahead(a.clear_at, $3) + $3 / s.allowed - $3 AS wait) AS w
    WHERE w.wait > '0'
$$;
COMMENT ON FUNCTION app.attempts_wait IS
    'The seconds until every subject has room for one more attempt; null: all have room now';

CREATE OR REPLACE FUNCTION app.refund_attempt(subjects bytea[], limits integer[], period interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT u.subject, $3 / u.allowed AS step FROM unnest($1, $2) AS u (subject, allowed) ORDER BY 1 LOOP
        UPDATE attempt_limits SET clear_at = clear_at - s.step WHERE subject = s.subject;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.refund_attempt IS
    'Takes back the charge of one attempt from each subject, after a sign-in that did not fail';

CREATE OR REPLACE FUNCTION app.charge_attempt(subjects bytea[], limits integer[], period interval) RETURNS double precision
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    s record;
    wait double precision := attempts_wait($1, $2, $3);
    charged bytea[] := '{}';
    charged_limits integer[] := '{}';
BEGIN
    -- A flood of attempts mostly ends here, without a write.
    IF wait IS NOT NULL THEN
        RETURN wait;
    END IF;
    FOR s IN SELECT u.subject, u.allowed, $3 / u.allowed AS step
             FROM unnest($1, $2) AS u (subject, allowed) ORDER BY 1 LOOP
        INSERT INTO attempt_limits AS a (subject, clear_at) VALUES (s.subject, clock_timestamp() + s.step)
        ON CONFLICT (subject) DO UPDATE SET clear_at = clock_timestamp() + attempts_ahead(a.clear_at, $3) + s.step
            WHERE attempts_ahead(a.clear_at, $3) + s.step <= $3;
        IF NOT FOUND THEN
            -- Concurrent attempts have taken the room after the check above.
            PERFORM refund_attempt(charged, charged_limits, $3);
            RETURN coalesce(attempts_wait($1, $2, $3), extract(epoch FROM s.step));
        END IF;
        charged := charged || s.subject;
        charged_limits := charged_limits || s.allowed;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.charge_attempt IS
    'Charges one attempt to every subject and returns null. If one has no room, it charges no subject and returns the '
    'seconds to wait. The server charges before it checks the password: parallel guesses count too';

CREATE OR REPLACE FUNCTION app.delete_expired_attempts() RETURNS bigint
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off
AS $$
    WITH deleted AS (
        DELETE FROM attempt_limits WHERE subject IN (
            SELECT subject FROM attempt_limits WHERE clear_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION app.delete_expired_attempts IS
    'Deletes the subjects whose charges have worn off and returns their number';

REVOKE ALL ON FUNCTION app.attempts_ahead, app.attempts_wait, app.refund_attempt, app.charge_attempt,
    app.delete_expired_attempts FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.attempts_wait, app.charge_attempt, app.refund_attempt, app.delete_expired_attempts
    TO therapybridge_server;

COMMIT;
