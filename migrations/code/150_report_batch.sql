-- Batches of reports: what arrives over HTTP within a few milliseconds, from any callers, in one transaction.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('150_report_batch', 1); END $$;

CREATE OR REPLACE FUNCTION app.check_reporters(user_ids uuid[], sign_ins uuid[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT array_agg(CASE WHEN s.id IS NULL THEN 'signed out'
                          WHEN NOT u.is_active THEN 'inactive'
                          WHEN NOT permits(u.role, 'report') THEN 'not permitted'
                          ELSE 'permitted' END ORDER BY c.number)
    FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
    LEFT JOIN users u ON u.id = c.user_id
    LEFT JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
                             AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
$$;
COMMENT ON FUNCTION app.check_reporters IS
    'Whether each of the callers may report progress: "permitted", "signed out", "inactive" or "not permitted"';

-- Every report has the effect that app.report_progress would have had, if the reports had come one after the other in this
-- order.
--
-- The function takes all locks before it writes: first the sessions in the order of their ids, then the callers. Other
-- writers of progress hold one session at a time or skip locked ones (claim_session, fail_abandoned_uploads), and wait for no
-- caller. So there is no deadlock. The callers' rows stay locked to the end: a revocation that has committed is seen here,
-- and one that has not waits for this transaction.
CREATE OR REPLACE FUNCTION app.write_progress_batch(
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
    verdicts text[] := check_reporters($1, $2);
    faults text[];
    wanted uuid[];
    held uuid[];
    holds_all boolean;
    permitted integer[];
    accepted integer[];
    turns integer[];
    first integer := 1;
    next integer;
BEGIN
    -- What is wrong with each report by itself, checked in the order of app.report_progress.
    SELECT array_agg(f.fault ORDER BY r.n),
           array_agg(DISTINCT r.session_id) FILTER (WHERE f.fault IS NULL AND verdicts[$3[r.n]] = 'permitted')
    INTO faults, wanted
    FROM unnest($4) WITH ORDINALITY AS r (session_id, n) LEFT JOIN statuses s ON s.status = $5[r.n]
    CROSS JOIN LATERAL (SELECT CASE
        WHEN s.status IS NULL THEN 'status: is none of the known ones'
        WHEN $6[r.n] IS NULL OR $6[r.n] NOT BETWEEN 0 AND 100 THEN 'progress: has to be between 0 and 100'
        WHEN $9[r.n] < 0 THEN 'estimated_time_remaining: may not be negative'
        WHEN $10[r.n] < 1 THEN 'attempt: has to be at least 1' END AS fault) f;

    -- No row is locked for a caller that may not report.
    IF $12 THEN
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE) l;
        SELECT array_agg(l.number) INTO permitted
        FROM (SELECT c.number FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              JOIN users u ON u.id = c.user_id JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
              WHERE u.is_active AND permits(u.role, 'report')
                AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
              ORDER BY u.id, s.id FOR SHARE OF u, s) l;
    ELSE
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE SKIP LOCKED) l;
        SELECT array_agg(l.number) INTO permitted
        FROM (SELECT c.number FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              JOIN users u ON u.id = c.user_id JOIN auth_sessions s ON s.id = c.sign_in AND s.user_id = u.id
              WHERE u.is_active AND permits(u.role, 'report')
                AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
              ORDER BY u.id, s.id FOR SHARE OF u, s SKIP LOCKED) l;
    END IF;
    holds_all := cardinality(held) = cardinality(wanted);

    -- A right may have ended while this waited for a lock. A caller that has the right but could not be locked was skipped:
    -- another transaction holds its row.
    IF cardinality(permitted) IS DISTINCT FROM nullif(cardinality(array_positions(verdicts, 'permitted')), 0) THEN
        SELECT array_agg(CASE WHEN c.verdict <> 'permitted' OR c.number = ANY (permitted) THEN c.verdict ELSE 'busy' END
                         ORDER BY c.number)
        INTO verdicts
        FROM unnest(check_reporters($1, $2)) WITH ORDINALITY AS c (verdict, number);
    END IF;

    -- The first reports of all sessions come first, then the second ones, and so on.
    SELECT array_agg(t.n ORDER BY t.turn, t.session_id), array_agg(t.turn ORDER BY t.turn, t.session_id)
    INTO accepted, turns
    FROM (SELECT r.n::integer, r.session_id,
                 (row_number() OVER (PARTITION BY r.session_id ORDER BY r.n))::integer AS turn
          FROM unnest($4) WITH ORDINALITY AS r (session_id, n)
          WHERE verdicts[$3[r.n]] = 'permitted' AND faults[r.n] IS NULL AND (holds_all OR r.session_id = ANY (held))) t;

    IF cardinality(accepted) IS DISTINCT FROM cardinality($4) THEN
        RETURN QUERY
        SELECT r.n::integer, NULL::bigint, x.refusal[1], x.refusal[2], NULL::session_progress
        FROM unnest($4) WITH ORDINALITY AS r (session_id, n)
        LEFT JOIN session_progress p ON p.session_id = r.session_id
        CROSS JOIN LATERAL (SELECT coalesce(verdicts[$3[r.n]], 'signed out') AS verdict) c
        CROSS JOIN LATERAL (SELECT CASE
            WHEN c.verdict IN ('signed out', 'inactive') THEN ARRAY['28000', c.verdict]
            WHEN c.verdict = 'busy' THEN ARRAY['55P03', 'another transaction holds the caller']
            WHEN c.verdict = 'permitted' AND faults[r.n] IS NOT NULL THEN ARRAY['22023', faults[r.n]]
            WHEN p.session_id IS NULL THEN ARRAY['P0002', 'there is no such session']
            WHEN c.verdict = 'not permitted' THEN ARRAY['42501', c.verdict]
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
        -- Reports that the UPDATE passed over or the guard dropped. The guard drops what is stale or changes nothing, and never
        -- a change of status. This reads the rows as they were before the statement, which is as they still are.
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
COMMENT ON FUNCTION app.write_progress_batch IS
    'The part of app.report_progress_batch that writes, without the audit log. The server''s role cannot call it';

CREATE OR REPLACE FUNCTION app.report_progress_batch(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, state app.session_progress)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := clock_timestamp() - audit_interval();
BEGIN
    RETURN QUERY
        WITH written AS MATERIALIZED (
            SELECT * FROM write_progress_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ), recorded AS (
            INSERT INTO audit_log (action, user_id, auth_session_id, session_id, patient_id)
            SELECT 'progress.report', $1[n.caller], $2[n.caller], n.session_id, t.patient_id
            FROM (SELECT DISTINCT $3[w.report] AS caller, $4[w.report] AS session_id FROM written w
                  WHERE w.code IS NULL) AS n
            LEFT JOIN therapy_sessions t ON t.id = n.session_id
            WHERE NOT EXISTS (SELECT FROM audit_log l
                              WHERE l.session_id = n.session_id AND l.auth_session_id = $2[n.caller]
                                AND l.action = 'progress.report' AND l.at > since
                                AND l.user_id = $1[n.caller] AND l.is_allowed)
        )
        SELECT * FROM written;
END
$$;
COMMENT ON FUNCTION app.report_progress_batch IS
    'Reports progress for many sessions and callers, and records once in ten minutes which caller reports about which '
    'session. user_ids and sign_ins are the callers; callers gives the place, from 1, of each report''s caller among them. '
    'Returns a row for each report: the version that stands afterwards and, with wants_state, the whole progress; or code '
    'and reason as of app.report_progress, 28000 for "signed out" and "inactive", 42501 for a caller that may not report, '
    '55P03 for what another transaction has locked. With waits, it waits up to a second for each lock; otherwise it skips '
    'what is locked';

REVOKE ALL ON FUNCTION app.check_reporters, app.write_progress_batch, app.report_progress_batch
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.report_progress_batch TO therapybridge_server;

COMMIT;
