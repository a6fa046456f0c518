-- Batches of reports: one transaction writes the reports that arrive over HTTP within a few milliseconds, from any callers.
-- revision: 1

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('150_report_batch', 1); END $$;

CREATE OR REPLACE FUNCTION app.check_reporters(user_ids uuid[], sign_ins uuid[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT array_agg(CASE WHEN s.id IS NULL THEN 'signed_out'
                          WHEN NOT u.is_active THEN 'inactive'
                          WHEN NOT permits(u.role, 'report') THEN 'not_permitted'
                          ELSE 'permitted' END ORDER BY c.number)
    FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
    LEFT JOIN users u ON u.id = c.user_id
    -- Probes the key once for each caller. The planner would rather read a small table whole, and keep that plan as it grows.
    LEFT JOIN LATERAL (
        SELECT v.id FROM valid_sign_ins v
        WHERE v.id = c.sign_in AND v.user_id = u.id AND (NOT v.is_suspended OR NOT u.is_active) OFFSET 0) s ON true
$$;
COMMENT ON FUNCTION app.check_reporters IS
    'For each caller, whether it may report progress: "permitted", "signed_out", "inactive" or "not_permitted"';

-- Every report has the same effect as if app.report_progress were called for the reports one after the other, in this order.
--
-- The function takes all locks before it writes: first the sessions in the order of their ids, then the callers. Other writers
-- of progress hold one session at a time, or skip locked ones (claim_session, fail_abandoned_uploads), and wait for no caller.
-- Therefore there is no deadlock. The callers' rows stay locked to the end: the function sees every revocation that has
-- committed, and any other revocation waits for this transaction.
CREATE OR REPLACE FUNCTION app.write_progress_batch(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], leases text[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, detail text, state app.session_progress)
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
    needs_lease boolean[];
    wanted uuid[];
    held uuid[];
    holds_all boolean;
    permitted integer[];
    accepted integer[];
    turns integer[];
    first integer := 1;
    next integer;
BEGIN
    -- The fault of each report by itself, checked in the same order as in app.report_progress.
    SELECT array_agg(f.fault ORDER BY r.n),
           array_agg(DISTINCT r.session_id) FILTER (WHERE f.fault IS NULL AND verdicts[$3[r.n]] = 'permitted'),
           array_agg(s.needs_lease ORDER BY r.n)
    INTO faults, wanted, needs_lease
    FROM unnest($4) WITH ORDINALITY AS r (session_id, n) LEFT JOIN statuses s ON s.status = $5[r.n]
    CROSS JOIN LATERAL (SELECT CASE
        WHEN s.status IS NULL THEN 'unknown_status'
        WHEN $6[r.n] IS NULL OR $6[r.n] NOT BETWEEN 0 AND 100 THEN 'progress_out_of_range'
        WHEN $9[r.n] < 0 THEN 'estimate_negative'
        WHEN $10[r.n] < 1 THEN 'attempt_out_of_range' END AS fault) f;

    -- A caller without the right locks no row. The callers are locked one by one, in the order of their ids: the planner would
    -- get this order from the keys of all users.
    IF $13 THEN
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE) l;
        SELECT array_agg(c.number) INTO permitted
        FROM (SELECT * FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              ORDER BY c.user_id, c.sign_in) c
        CROSS JOIN LATERAL (
            SELECT FROM users u JOIN valid_sign_ins s ON s.user_id = u.id
            WHERE u.id = c.user_id AND s.id = c.sign_in AND u.is_active AND permits(u.role, 'report')
              AND NOT s.is_suspended
            FOR SHARE OF u, s) l;
    ELSE
        SELECT array_agg(l.session_id) INTO held
        FROM (SELECT p.session_id FROM session_progress p WHERE p.session_id = ANY (wanted)
              ORDER BY p.session_id FOR NO KEY UPDATE SKIP LOCKED) l;
        SELECT array_agg(c.number) INTO permitted
        FROM (SELECT * FROM unnest($1, $2) WITH ORDINALITY AS c (user_id, sign_in, number)
              ORDER BY c.user_id, c.sign_in) c
        CROSS JOIN LATERAL (
            SELECT FROM users u JOIN valid_sign_ins s ON s.user_id = u.id
            WHERE u.id = c.user_id AND s.id = c.sign_in AND u.is_active AND permits(u.role, 'report')
              AND NOT s.is_suspended
            FOR SHARE OF u, s SKIP LOCKED) l;
    END IF;
    holds_all := cardinality(held) = cardinality(wanted);

    -- A right may have ended while this function waited for a lock. Without waiting, a caller with the right but without a lock
    -- is busy: another transaction holds its row.
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
        SELECT r.n::integer, NULL::bigint, x.refusal[1], x.refusal[2], NULL::text, NULL::session_progress
        FROM unnest($4) WITH ORDINALITY AS r (session_id, n)
        LEFT JOIN session_progress p ON p.session_id = r.session_id
        CROSS JOIN LATERAL (SELECT coalesce(verdicts[$3[r.n]], 'signed_out') AS verdict) c
        CROSS JOIN LATERAL (SELECT CASE
            WHEN c.verdict IN ('signed_out', 'inactive') THEN ARRAY['28000', c.verdict]
            WHEN c.verdict = 'busy' THEN ARRAY['55P03', 'caller_locked']
            WHEN c.verdict = 'permitted' AND faults[r.n] IS NOT NULL THEN ARRAY['22023', faults[r.n]]
            WHEN p.session_id IS NULL THEN ARRAY['P0002', 'unknown_session']
            WHEN c.verdict = 'not_permitted' THEN ARRAY['42501', c.verdict]
            ELSE ARRAY['55P03', 'session_locked'] END AS refusal) x
        WHERE r.n <> ALL (coalesce(accepted, '{}'));
    END IF;

    WHILE first <= cardinality(accepted) LOOP
        next := coalesce(array_position(turns, turns[first] + 1, first), cardinality(turns) + 1);
        RETURN QUERY
        WITH r AS (
            SELECT o.n, $4[o.n] AS session_id, $5[o.n] AS status, $6[o.n] AS progress, $7[o.n] AS message,
                   $8[o.n] AS error, $9[o.n] AS estimate, $10[o.n] AS attempt, $12[o.n] AS wants_state,
                   lease_fault(l.lease_hash, $11[o.n], needs_lease[o.n]) AS lease_fault, $1[$3[o.n]] AS caller
            FROM unnest(accepted[first:next - 1]) AS o (n)
            -- Most reports are percentages without a lease. They need no look at the queue. An administrator needs no lease.
            LEFT JOIN LATERAL (
                SELECT s.lease_hash FROM standing_leases s
                WHERE s.session_id = $4[o.n]
                  AND ($11[o.n] IS NOT NULL
                       OR needs_lease[o.n] AND NOT (SELECT permits(u.role, 'manage') FROM users u
                                                    WHERE u.id = $1[$3[o.n]])) OFFSET 0) l ON true
        ), w AS (
            UPDATE session_progress p SET
                status = r.status,
                progress = r.progress,
                message = coalesce(r.message, CASE WHEN p.status = r.status THEN p.message END),
                error = coalesce(r.error, CASE WHEN p.status = r.status THEN p.error END),
                estimated_time_remaining = r.estimate,
                is_estimate_told = r.estimate IS NOT NULL
            FROM r
            WHERE p.session_id = r.session_id AND (r.attempt IS NULL OR r.attempt = p.attempt) AND r.lease_fault IS NULL
              -- Most reports are about a session at a stage. They need no look at the upload or the caller.
              AND CASE WHEN NOT is_at_stage(p.status)
                       THEN pipeline_fault(p.session_id, p.status, r.status, r.caller) IS NULL ELSE true END
              AND (p.status = r.status OR EXISTS (SELECT FROM status_transitions t
                                                  WHERE t.from_status = p.status AND t.to_status = r.status))
            RETURNING r.n, p.version, CASE WHEN r.wants_state THEN p END AS state
        )
        SELECT w.n, w.version, NULL::text, NULL::text, NULL::text, w.state FROM w
        UNION ALL
        -- The reports that the UPDATE did not match or the guard dropped. The guard drops a report that is stale or changes
        -- nothing, and never a change of status. This query reads the rows from before the statement; they have not changed.
        SELECT r.n, CASE WHEN x.reason IS NULL THEN p.version END,
               CASE WHEN x.reason = r.lease_fault THEN '42501' WHEN x.reason IS NOT NULL THEN '23514' END,
               x.reason,
               CASE x.reason WHEN 'attempt_not_begun' THEN json_build_object('attempt', r.attempt::text)
                             WHEN 'transition_not_allowed' THEN json_build_object('from', p.status, 'to', r.status) END::text,
               CASE WHEN x.reason IS NULL AND r.wants_state THEN p END
        FROM r JOIN session_progress p ON p.session_id = r.session_id
        -- Without OFFSET, the planner would copy the call to each place that reads the fault.
        CROSS JOIN LATERAL (SELECT CASE
            WHEN r.attempt > p.attempt THEN 'attempt_not_begun'
            WHEN (r.attempt IS NULL OR r.attempt = p.attempt) AND NOT is_at_stage(p.status)
                THEN pipeline_fault(p.session_id, p.status, r.status, r.caller) END OFFSET 0) AS f (fault)
        CROSS JOIN LATERAL (SELECT CASE
            WHEN f.fault IS NOT NULL THEN f.fault
            WHEN r.lease_fault IS NOT NULL
                THEN CASE WHEN NOT is_stale(p, r.status, r.progress, r.message, r.error, r.estimate, r.attempt)
                          THEN r.lease_fault END
            WHEN r.status <> p.status AND (r.attempt IS NULL OR r.attempt = p.attempt)
                THEN 'transition_not_allowed' END AS reason) x
        WHERE r.n NOT IN (SELECT w.n FROM w);
        first := next;
    END LOOP;
END
$$;
COMMENT ON FUNCTION app.write_progress_batch IS
    'The part of app.report_progress_batch that writes the reports, without audit records. The server''s role cannot call it';

CREATE OR REPLACE FUNCTION app.report_progress_batch(
    user_ids uuid[], sign_ins uuid[], callers integer[],
    session_ids uuid[], statuses text[], progresses integer[], messages text[], errors text[],
    estimates integer[], attempts integer[], leases text[], wants_state boolean[], waits boolean
) RETURNS TABLE (report integer, version bigint, code text, reason text, detail text, state app.session_progress)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    since CONSTANT timestamptz := present - audit_interval();
BEGIN
    RETURN QUERY
        WITH written AS MATERIALIZED (
            SELECT * FROM write_progress_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ), recorded AS (
            INSERT INTO audit_log (action, user_id, auth_session_id, session_id, patient_id)
            SELECT 'progress.report', $1[n.caller], $2[n.caller], n.session_id, t.patient_id
            FROM (SELECT DISTINCT $3[w.report] AS caller, $4[w.report] AS session_id FROM written w
                  WHERE w.code IS NULL) AS n
            LEFT JOIN therapy_sessions t ON t.id = n.session_id
            -- One index suits these comparisons and this order, whatever the planner knows about the table. With equality, and
            -- with statistics of a table that few reports are in, the planner would take the index of users: each report would
            -- then read all records of its caller from these ten minutes. The conditions on "at" alone choose the partition.
            LEFT JOIN LATERAL (
                SELECT l.at FROM audit_log l
                WHERE (l.session_id, l.auth_session_id, l.action, l.at)
                      > (n.session_id, $2[n.caller], 'progress.report', since)
                  AND (l.session_id, l.auth_session_id, l.action) <= (n.session_id, $2[n.caller], 'progress.report')
                  AND l.at > since AND l.at <= present AND l.is_allowed
                ORDER BY l.session_id, l.auth_session_id, l.action, l.at LIMIT 1) AS recent ON true
            WHERE recent.at IS NULL
        )
        SELECT * FROM written;
END
$$;
COMMENT ON FUNCTION app.report_progress_batch IS
    'Reports progress for many sessions and callers, and records once in ten minutes which caller reports about which '
    'session. user_ids and sign_ins are the callers; callers gives the index, from 1, of each report''s caller among them. '
    'Returns a row for each report: the version afterwards and, with wants_state, the whole progress. Or, for a '
    'refused report, code, reason and detail: the SQLSTATE, CONSTRAINT and DETAIL that app.report_progress raises for a '
    'pipeline, while an administrator needs no lease; 28000 '
    'with "signed_out" or "inactive", 42501 with "not_permitted", 55P03 with "caller_locked" or "session_locked". With '
    'waits, it waits up to a second for each lock; otherwise it skips what is locked';

REVOKE ALL ON FUNCTION app.check_reporters, app.write_progress_batch, app.report_progress_batch
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.report_progress_batch TO therapybridge_server;

COMMIT;
