-- Many reports in one transaction, for the server: what arrives over HTTP within a few milliseconds, of whomever.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

-- The guard of 0004 with one difference: it cleans the message itself, by the expression that is the body of one_line().
-- That function has a search_path of its own, so it is never inlined, and its calls took an eighth of the time of a report.
CREATE OR REPLACE FUNCTION app.guard_progress() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    is_transition boolean;
BEGIN
    IF NEW.session_id <> OLD.session_id THEN
        RAISE EXCEPTION 'progress cannot move to another session' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        RETURN NULL;
    END IF;
    is_transition := (NEW.status, NEW.attempt) IS DISTINCT FROM (OLD.status, OLD.attempt);

    IF NEW.status <> OLD.status THEN
        IF NOT EXISTS (SELECT FROM status_transitions WHERE from_status = OLD.status AND to_status = NEW.status) THEN
            RAISE EXCEPTION 'a session that is % cannot become %', OLD.status, NEW.status
                USING ERRCODE = 'check_violation';
        END IF;
        IF OLD.status = 'failed' THEN
            NEW.attempt := OLD.attempt + 1;
            -- The share of the upload is kept, when there is an upload.
            NEW.progress := CASE WHEN EXISTS (SELECT FROM therapy_sessions
                                              WHERE id = NEW.session_id AND recording IS NOT NULL)
                                 THEN 20 ELSE 0 END;
        ELSE
            NEW.progress := CASE WHEN NEW.status = 'processed' THEN 100
                                 ELSE greatest(NEW.progress, OLD.progress) END;
        END IF;
    ELSIF NEW.attempt > OLD.attempt THEN
        -- A worker takes the session over: same status, next attempt.
        IF OLD.status IN ('processed', 'failed') THEN
            RAISE EXCEPTION 'a session that is % cannot be taken over', OLD.status USING ERRCODE = 'check_violation';
        END IF;
        NEW.progress := (SELECT floor FROM statuses WHERE status = OLD.status);
    ELSIF NEW.progress < OLD.progress OR OLD.status = 'processed' THEN
        RETURN NULL;
    END IF;
    IF NEW.attempt > OLD.attempt + 1 THEN
        RAISE EXCEPTION 'the attempt after % is %', OLD.attempt, OLD.attempt + 1 USING ERRCODE = 'check_violation';
    END IF;

    NEW.message := left(regexp_replace(NEW.message, '[\x01-\x1f\x7f]+', ' ', 'g'), 2000);
    NEW.error := CASE WHEN NEW.status = 'failed'
                      THEN coalesce(nullif(one_line(NEW.error), ''), nullif(NEW.message, ''), 'Processing failed') END;
    IF NEW.status IN ('processed', 'failed') THEN
        NEW.estimated_time_remaining := NULL;
    END IF;
    IF NOT is_transition
        AND (NEW.progress, NEW.message, NEW.error, NEW.estimated_time_remaining)
            IS NOT DISTINCT FROM (OLD.progress, OLD.message, OLD.error, OLD.estimated_time_remaining) THEN
        RETURN NULL;
    END IF;

    NEW.version := OLD.version + 1;
    NEW.created_at := OLD.created_at;
    -- A clock that was set back does not make a version older than the one before it.
    NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at);
    -- Every announcement takes a lock that the whole cluster shares until it is on disk. So a transition is announced at
    -- once, a percentage only when the last announcement of this session is 500 ms old; the server reads again after news.
    -- An announcement in the future is one of before the clock was set back.
    NEW.notified_at := CASE WHEN is_transition OR clock_timestamp() - OLD.notified_at >= interval '500 ms'
                              OR OLD.notified_at > clock_timestamp()
                            THEN clock_timestamp() ELSE OLD.notified_at END;
    RETURN NEW;
END
$$;

-- Whether each of some callers may report: 'good', 'signed out', 'inactive' or 'not permitted'.
CREATE FUNCTION app.standing_of_reporters(user_ids uuid[], sign_ins uuid[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT array_agg(CASE WHEN s.id IS NULL THEN 'signed out'
                          WHEN NOT u.is_active THEN 'inactive'
                          WHEN u.role NOT IN ('pipeline', 'admin') THEN 'not permitted'
                          ELSE 'good' END ORDER BY c.number)
    FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
    LEFT JOIN users u ON u.id = c.user_id
    LEFT JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
                             AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
$$;

-- Each report comes to what app.report_progress would have made of it, had they come one after the other in this order.
--
-- Locks are taken before anything is written: first the sessions, in the order of their ids, then the callers. Who writes
-- progress elsewhere holds one session at a time, or skips what is locked (claim_session, fail_abandoned_uploads), and
-- waits for no caller. So nobody waits in a ring. The callers' rows are held to the end: a revocation that has committed is
-- seen here, and one that has not waits for this transaction.
--
-- The settings: the plans are kept by a connection, and may have been made when the tables were empty. A scan of a whole
-- table would then be right; with a hundred thousand sessions it is not.
CREATE FUNCTION app.report_progress_batch(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, state app.session_progress)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET lock_timeout = '1s'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    standing text[] := standing_of_reporters($1, $2);
    faults text[];
    wanted uuid[];
    held uuid[];
    holds_all boolean;
    good integer[];
    accepted integer[];
    turns integer[];
    first integer := 1;
    next integer;
BEGIN
    -- What is wrong with each report by itself, in the order in which report_progress looks.
    SELECT array_agg(f.fault ORDER BY r.n),
           array_agg(DISTINCT r.session_id) FILTER (WHERE f.fault IS NULL AND standing[$3[r.n]] = 'good')
    INTO faults, wanted
    FROM unnest($4) WITH ORDINALITY AS r (session_id, n) LEFT JOIN statuses s ON s.status = $5[r.n]
    CROSS JOIN LATERAL (SELECT CASE
        WHEN s.status IS NULL THEN 'status: is none of the known ones'
        WHEN $6[r.n] IS NULL OR $6[r.n] NOT BETWEEN 0 AND 100 THEN 'progress: has to be between 0 and 100'
        WHEN $9[r.n] < 0 THEN 'estimated_time_remaining: may not be negative'
        WHEN $10[r.n] < 1 THEN 'attempt: has to be at least 1' END AS fault) f;

    -- Nothing is locked for those who may not report.
    IF $12 THEN
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE) l;
        SELECT array_agg(l.number) INTO good
        FROM (SELECT c.number FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              JOIN users u ON u.id = c.user_id JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
              WHERE u.is_active AND u.role IN ('pipeline', 'admin')
                AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
              ORDER BY u.id, s.id FOR SHARE OF u, s) l;
    ELSE
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE SKIP LOCKED) l;
        SELECT array_agg(l.number) INTO good
        FROM (SELECT c.number FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              JOIN users u ON u.id = c.user_id JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
              WHERE u.is_active AND u.role IN ('pipeline', 'admin')
                AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
              ORDER BY u.id, s.id FOR SHARE OF u, s SKIP LOCKED) l;
    END IF;
    holds_all := cardinality(held) = cardinality(wanted);

    -- A right may have ended while a lock was waited for. Who has it and is not held is skipped: another holds that row.
    IF cardinality(good) IS DISTINCT FROM nullif(cardinality(array_positions(standing, 'good')), 0) THEN
        SELECT array_agg(CASE WHEN c.standing <> 'good' OR c.number = ANY (good) THEN c.standing ELSE 'busy' END
                         ORDER BY c.number)
        INTO standing
        FROM unnest(standing_of_reporters($1, $2)) WITH ORDINALITY AS c (standing, number);
    END IF;

    -- The first reports of all sessions come first, then the second ones, and so on.
    SELECT array_agg(t.n ORDER BY t.turn, t.session_id), array_agg(t.turn ORDER BY t.turn, t.session_id)
    INTO accepted, turns
    FROM (SELECT r.n::integer, r.session_id,
                 (row_number() OVER (PARTITION BY r.session_id ORDER BY r.n))::integer AS turn
          FROM unnest($4) WITH ORDINALITY AS r (session_id, n)
          WHERE standing[$3[r.n]] = 'good' AND faults[r.n] IS NULL AND (holds_all OR r.session_id = ANY (held))) t;

    IF cardinality(accepted) IS DISTINCT FROM cardinality($4) THEN
        RETURN QUERY
        SELECT r.n::integer, NULL::bigint, x.refusal[1], x.refusal[2], NULL::session_progress
        FROM unnest($4) WITH ORDINALITY AS r (session_id, n)
        LEFT JOIN session_progress p ON p.session_id = r.session_id
        CROSS JOIN LATERAL (SELECT coalesce(standing[$3[r.n]], 'signed out') AS standing) c
        CROSS JOIN LATERAL (SELECT CASE
            WHEN c.standing IN ('signed out', 'inactive') THEN ARRAY['28000', c.standing]
            WHEN c.standing = 'busy' THEN ARRAY['55P03', 'another transaction holds the caller']
            WHEN c.standing = 'good' AND faults[r.n] IS NOT NULL THEN ARRAY['22023', faults[r.n]]
            WHEN p.session_id IS NULL THEN ARRAY['P0002', 'there is no such session']
            WHEN c.standing = 'not permitted' THEN ARRAY['42501', c.standing]
            ELSE ARRAY['55P03', 'another transaction holds the session'] END AS refusal) x
        WHERE r.n <> ALL (coalesce(accepted, '{}'));
    END IF;

    WHILE first <= cardinality(accepted) LOOP
        next := coalesce(array_position(turns, turns[first] + 1, first), cardinality(turns) + 1);
        RETURN QUERY
        WITH r AS (
            SELECT o.n, $4[o.n] AS session_id, $5[o.n] AS status, $6[o.n] AS progress, $7[o.n] AS message,
                   $8[o.n] AS error, $9[o.n] AS estimate, $10[o.n] AS attempt, $11[o.n] AS wants_state
            FROM unnest(accepted[first:next - 1]) AS o (n)
        ), w AS (
            UPDATE session_progress p SET
                status = r.status,
                progress = r.progress,
                message = coalesce(r.message, CASE WHEN p.status = r.status THEN p.message END),
                error = coalesce(r.error, CASE WHEN p.status = r.status THEN p.error END),
                estimated_time_remaining = r.estimate
            FROM r
            WHERE p.session_id = r.session_id AND (r.attempt IS NULL OR r.attempt = p.attempt)
              AND (p.status = r.status OR EXISTS (SELECT FROM status_transitions t
                                                  WHERE t.from_status = p.status AND t.to_status = r.status))
            RETURNING r.n, p.version, CASE WHEN r.wants_state THEN p END AS state
        )
        SELECT w.n, w.version, NULL::text, NULL::text, w.state FROM w
        UNION ALL
        -- What the guard drops is stale, or changes nothing: a change of status it never drops. These are the rows as they
        -- were before this statement, and so as they are.
        SELECT r.n, CASE WHEN x.reason IS NULL THEN p.version END, CASE WHEN x.reason IS NOT NULL THEN '23514' END,
               x.reason, CASE WHEN x.reason IS NULL AND r.wants_state THEN p END
        FROM r JOIN session_progress p ON p.session_id = r.session_id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN r.attempt > p.attempt THEN format('attempt %s has not begun', r.attempt)
            WHEN r.status <> p.status AND (r.attempt IS NULL OR r.attempt = p.attempt)
                THEN format('a session that is %s cannot become %s', p.status, r.status) END AS reason) x
        WHERE r.n NOT IN (SELECT w.n FROM w);
        first := next;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.report_progress_batch IS
    'Reports progress for many sessions and callers: user_ids and sign_ins are the callers, callers says whose each report '
    'is (from 1). One row for each report, by its place: the version that stands then, and with wants_state all of it; or '
    'code and reason as of report_progress, and 28000 "signed out" or "inactive", 42501 for who may not report, 55P03 '
    'for what another transaction holds. With waits, locks are waited for, a second each; without, what is locked is skipped';

GRANT EXECUTE ON FUNCTION app.report_progress_batch TO therapybridge_server;

INSERT INTO app.schema_migrations (version, name) VALUES (8, 'report_batch');
COMMIT;
