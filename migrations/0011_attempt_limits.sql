-- How often somebody may fail to sign in, for one account and from one address, over all servers.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- The generic cell rate algorithm (ITU-T I.371, A.1): each attempt moves clear_at on by period/limit, and may not move it
-- further ahead than the period. So as many as the limit may come at once, and then one in each period/limit.
CREATE TABLE app.attempt_limits (
    subject  bytea PRIMARY KEY CHECK (octet_length(subject) = 32),
    clear_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE app.attempt_limits IS
    'What failed attempts to sign in have used up. A row whose clear_at is past says nothing, and may go';
COMMENT ON COLUMN app.attempt_limits.subject IS 'SHA-256 of what is limited: no address is kept, of mail or of a network';

-- How far ahead of now a subject is. What would be further ahead than the period is of before the clock was set back, or
-- of before the period was made shorter.
CREATE FUNCTION app.attempts_ahead(clear_at timestamptz, period interval) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT greatest(least($1 - clock_timestamp(), $2), '0')
$$;

-- How many seconds to wait until there is room for one more attempt on all subjects; null when there is.
CREATE FUNCTION app.attempts_wait(subjects bytea[], limits integer[], period interval) RETURNS double precision
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT extract(epoch FROM max(w.wait))::double precision
    FROM unnest($1, $2) AS s (subject, allowed) JOIN attempt_limits a ON a.subject = s.subject
    CROSS JOIN LATERAL (SELECT attempts_ahead(a.clear_at, $3) + $3 / s.allowed - $3 AS wait) AS w
    WHERE w.wait > '0'
$$;

-- Subjects are always locked in their order, so that nobody waits in a ring.
CREATE FUNCTION app.refund_attempt(subjects bytea[], limits integer[], period interval) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    s record;
BEGIN
    FOR s IN SELECT u.subject, $3 / u.allowed AS step FROM unnest($1, $2) AS u (subject, allowed) ORDER BY 1 LOOP
        UPDATE attempt_limits SET clear_at = clear_at - s.step WHERE subject = s.subject;
    END LOOP;
END
$$;

-- Charges one attempt to all subjects, or to none: then the answer is how many seconds to wait, else null.
CREATE FUNCTION app.charge_attempt(subjects bytea[], limits integer[], period interval) RETURNS double precision
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    s record;
    wait double precision := attempts_wait($1, $2, $3);
    charged bytea[] := '{}';
    charged_limits integer[] := '{}';
BEGIN
    -- Most of a flood ends here, and writes nothing.
    IF wait IS NOT NULL THEN
        RETURN wait;
    END IF;
    FOR s IN SELECT u.subject, u.allowed, $3 / u.allowed AS step
             FROM unnest($1, $2) AS u (subject, allowed) ORDER BY 1 LOOP
        INSERT INTO attempt_limits AS a (subject, clear_at) VALUES (s.subject, clock_timestamp() + s.step)
        ON CONFLICT (subject) DO UPDATE SET clear_at = clock_timestamp() + attempts_ahead(a.clear_at, $3) + s.step
            WHERE attempts_ahead(a.clear_at, $3) + s.step <= $3;
        IF NOT FOUND THEN
            -- Others took the room since it was looked for.
            PERFORM refund_attempt(charged, charged_limits, $3);
            RETURN coalesce(attempts_wait($1, $2, $3), extract(epoch FROM s.step));
        END IF;
        charged := charged || s.subject;
        charged_limits := charged_limits || s.allowed;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION app.forget_attempts() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    WITH forgotten AS (
        DELETE FROM attempt_limits WHERE subject IN (
            SELECT subject FROM attempt_limits WHERE clear_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM forgotten
$$;

GRANT EXECUTE ON FUNCTION app.attempts_wait, app.charge_attempt, app.refund_attempt, app.forget_attempts
    TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (11, 'attempt_limits');
COMMIT;
