-- Lists of sessions: what the acting user sees of them, ordered, filtered and counted.
-- revision: 1
--
-- app.session_list has one narrow row a session. app.list_sessions reads it in one of two ways:
--   gather  reads all sessions that match, up to 10,000, and then sorts and counts them: the sessions of some patients, those
--           that a search finds, and those of a period;
--   walk    follows a database index in the order of the list and stops when the page is full: all sessions, and lists in
--           which more match. The counts then come from 111_session_counts.
-- A search finds all sessions of the patients whose name has the words, and the other sessions whose file has them. It reads the
-- table once: after 2,000 files it stops gathering, walks for the page, and counts from the row on where it stopped.
-- Neither way depends on statistics, or on how many sessions have which status. See decision 0043.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('112_session_lists', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.session_list;
CREATE POLICY owner ON app.session_list TO therapybridge_owner USING (true) WITH CHECK (true);
-- The same rule as on therapy_sessions. IN makes a hash table of the patients.
DROP POLICY IF EXISTS seen ON app.session_list;
CREATE POLICY seen ON app.session_list FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('see')) OR patient_id IN (SELECT app.acting_patients('see')));
REVOKE ALL ON app.session_list FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.session_list TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.follow_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    held_before CONSTANT timestamptz := coalesce(OLD.session_date, OLD.created_at);
    held_now CONSTANT timestamptz := coalesce(NEW.session_date, NEW.created_at);
BEGIN
    WITH followed AS (
        UPDATE session_list l
        SET patient_id = NEW.patient_id, created_at = NEW.created_at, held_at = held_now,
            filename = convert_to(searchable(NEW.filename), 'UTF8')
        WHERE l.session_id = NEW.id
        RETURNING l.status
    )
    INSERT INTO session_count_changes (patient_id, held_at, left_status, entered_status)
    SELECT c.* FROM followed f
    CROSS JOIN LATERAL (VALUES (OLD.patient_id, held_before, f.status, NULL), (NEW.patient_id, held_now, NULL, f.status)) AS c
    WHERE (OLD.patient_id, held_before) IS DISTINCT FROM (NEW.patient_id, held_now);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.follow_session IS 'Trigger: brings a change of a session into session_list';
CREATE OR REPLACE TRIGGER follow_session AFTER UPDATE ON app.therapy_sessions FOR EACH ROW
    WHEN ((OLD.patient_id, OLD.created_at, OLD.session_date, OLD.filename)
          IS DISTINCT FROM (NEW.patient_id, NEW.created_at, NEW.session_date, NEW.filename))
    EXECUTE FUNCTION app.follow_session();

-- A patient does not see the account of every therapist who held one of the sessions, nor does a therapist. The names are a part
-- of the session.
CREATE OR REPLACE FUNCTION app.session_names(session_ids uuid[])
RETURNS TABLE (session_id uuid, place bigint, patient_name text, therapist_name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    sees_all CONSTANT boolean := acting_may_all('see');
    patients CONSTANT uuid[] := ARRAY(SELECT acting_patients('see'));
BEGIN
    RETURN QUERY
        SELECT t.id, i.place, (SELECT u.full_name FROM users u WHERE u.id = t.patient_id),
               (SELECT u.full_name FROM users u WHERE u.id = t.therapist_id)
        FROM unnest($1) WITH ORDINALITY AS i (id, place) JOIN therapy_sessions t ON t.id = i.id
        WHERE sees_all OR t.patient_id = ANY (patients);
END
$$;
COMMENT ON FUNCTION app.session_names IS
    'The names of the patient and the therapist of each of the sessions that the acting user may see, with the session''s place in the '
    'array';

-- Few patients are read by their keys, many by reading all accounts.
CREATE OR REPLACE FUNCTION app.search_people(patients uuid[], words text) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    IF cardinality($1) <= 500 THEN
        RETURN QUERY SELECT u.id FROM unnest($1) AS p (id)
            CROSS JOIN LATERAL (SELECT u.id, u.full_name FROM users u WHERE u.id = p.id OFFSET 0) AS u
            WHERE strpos(searchable(u.full_name), $2) > 0;
    ELSE
        RETURN QUERY SELECT u.id FROM users u
            WHERE CASE WHEN strpos(searchable(u.full_name), $2) > 0 THEN $1 IS NULL OR u.id IN (SELECT unnest($1)) END;
    END IF;
END
$$;
COMMENT ON FUNCTION app.search_people IS 'Those of the patients, or of all if "patients" is null, whose name has the words';

CREATE OR REPLACE FUNCTION app.sessions_of(
    patients uuid[], named uuid[], words bytea, since timestamptz, until timestamptz, most integer)
RETURNS TABLE (session_id uuid, status text, created_at timestamptz, held_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT l.session_id, l.status::text, l.created_at, l.held_at FROM session_list l
        WHERE l.patient_id = ANY ($1) AND l.held_at >= $4 AND l.held_at < $5
          AND ($3 IS NULL OR position($3 IN l.filename) > 0 OR l.patient_id IN (SELECT unnest($2)))
        LIMIT $6;
END
$$;
COMMENT ON FUNCTION app.sessions_of IS
    'At most "most" sessions of the patients, in a period of held_at and, unless "words" is null, of the patients in "named" or with '
    'the words in the name of their file. In no order';

-- The two functions that follow read the table from its beginning to its end. The settings of app.list_sessions hold in here, too,
-- and would make them follow a database index instead, which takes three times as long. Their text has no condition that is not
-- needed, because they compare each row.
CREATE OR REPLACE FUNCTION app.file_condition(is_restricted boolean, has_period boolean, is_named boolean) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- CASE keeps the order: few rows have the words. Under row-level security, also the owner's, the planner would otherwise compare
    -- the times of each row first.
    SELECT CASE WHEN c.others = '' THEN 'position($3 IN l.filename) > 0'
                ELSE 'CASE WHEN position($3 IN l.filename) > 0 THEN ' || c.others || ' END' END
    FROM (SELECT concat_ws(' AND ', CASE WHEN $2 THEN 'l.held_at >= $4 AND l.held_at < $5' END,
                           CASE WHEN $1 THEN 'l.patient_id IN (SELECT unnest($1))' END,
                           CASE WHEN $3 THEN '(l.patient_id IN (SELECT unnest($2))) IS NOT TRUE' END) AS others) AS c
$$;
COMMENT ON FUNCTION app.file_condition IS
    'What selects the sessions with the words $3 in the name of their file, as SQL: of the patients $1 if is_restricted, in a period '
    'from $4 to $5 if has_period, and not of the patients $2 if is_named';

-- A plain scan gives the rows in the order of ctid. Other scans of the table may not make it begin in the middle, and no worker of
-- a parallel plan may share it.
CREATE OR REPLACE FUNCTION app.search_files(
    patients uuid[], named uuid[], words bytea, since timestamptz, until timestamptz, most integer)
RETURNS TABLE (session_id uuid, status text, created_at timestamptz, held_at timestamptz, row_place tid)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = on SET enable_indexscan = off SET enable_bitmapscan = off
SET synchronize_seqscans = off SET max_parallel_workers_per_gather = 0
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT l.session_id, l.status::text, l.created_at, l.held_at, l.ctid FROM session_list l WHERE %s LIMIT $6',
        file_condition($1 IS NOT NULL, $4 > '-infinity' OR $5 < 'infinity', $2 <> '{}'))
    USING $1, $2, $3, $4, $5, $6;
END
$$;
COMMENT ON FUNCTION app.search_files IS
    'The first sessions of the table, at most "most", of the patients, or of all if "patients" is null, but not of those in "named", '
    'in a period of held_at, with the words in the name of their file, in the order of the table: row_place is the ctid';

CREATE OR REPLACE FUNCTION app.count_files(
    patients uuid[], named uuid[], words bytea, since timestamptz, until timestamptz, after_place tid)
RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET enable_seqscan = on SET enable_indexscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT l.status::text, count(*) FROM session_list l WHERE %s%s GROUP BY l.status',
        CASE WHEN $6 IS NOT NULL THEN 'l.ctid > $6 AND ' END,
        file_condition($1 IS NOT NULL, $4 > '-infinity' OR $5 < 'infinity', $2 <> '{}'))
    USING $1, $2, $3, $4, $5, $6;
END
$$;
COMMENT ON FUNCTION app.count_files IS
    'How many of all sessions that app.search_files finds have each status. Unless "after_place" is null, only those after it in the '
    'table';

CREATE OR REPLACE FUNCTION app.sessions_between(since timestamptz, until timestamptz, most integer)
RETURNS TABLE (session_id uuid, status text, created_at timestamptz, held_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT f.* FROM unnest(ARRAY(SELECT s.status FROM app.statuses s)) AS s (status)
        CROSS JOIN LATERAL (SELECT l.session_id, l.status::text, l.created_at, l.held_at FROM session_list l
                            WHERE l.status = s.status AND l.held_at >= $1 AND l.held_at < $2) AS f
        LIMIT $3;
END
$$;
COMMENT ON FUNCTION app.sessions_between IS 'At most "most" of all sessions in a period of held_at. In no order';

-- It reads as the owner, and therefore itself keeps to the patients that the acting user sees. Row-level security would ask for each
-- row that a search reads.
CREATE OR REPLACE FUNCTION app.list_sessions(
    statuses text[], patient uuid, words text, since timestamptz, until timestamptz, by_date boolean,
    after_at timestamptz, after_id uuid, most integer, is_counted boolean)
RETURNS TABLE (
    session_id uuid, place bigint, patient_name text, therapist_name text, counted_status text, counted_sessions bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 60
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    reach CONSTANT integer := 10000;
    files_reach CONSTANT integer := 2000;
    sees_all CONSTANT boolean := acting_may_all('see');
    every CONSTANT text[] := ARRAY(SELECT s.status FROM app.statuses s);
    sought CONSTANT text := nullif(searchable($3), '');
    sought_bytes CONSTANT bytea := convert_to(sought, 'UTF8');
    has_period CONSTANT boolean := $4 IS NOT NULL OR $5 IS NOT NULL;
    earliest CONSTANT timestamptz := coalesce($4, '-infinity');
    latest CONSTANT timestamptz := coalesce($5, 'infinity');
    -- By held_at, the end of the period is the position before its last session. PostgreSQL would otherwise read the database
    -- index from the position on, and pass over all that is later than the period.
    ends_first CONSTANT boolean := $6 AND latest <= coalesce($7, 'infinity') AND $5 IS NOT NULL;
    last_at CONSTANT timestamptz := CASE WHEN ends_first THEN latest ELSE coalesce($7, 'infinity') END;
    last_id CONSTANT uuid := CASE WHEN ends_first THEN '00000000-0000-0000-0000-000000000000'
                                  ELSE coalesce($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff') END;
    patients uuid[];        -- the patients that the acting user sees; null: all
    totals jsonb;           -- how many sessions have each status: of the patients at any time, or of all in the period
    total bigint;
    is_few boolean;         -- the sessions of the patients can be read one by one
    named uuid[];           -- those of the patients whose name has the words
    named_totals jsonb;     -- how many sessions of these have each status at any time
    named_total bigint;
    found_all boolean := false;
    found_ids uuid[];
    counts jsonb;
    last_place tid;         -- the search has read session_list so far
    file_counts jsonb;      -- how many sessions have each status of those that the search has found so far by their files
BEGIN
    IF NOT sees_all THEN
        patients := ARRAY(SELECT p.id FROM acting_patients('see') AS p (id) WHERE $2 IS NULL OR p.id = $2);
    ELSIF $2 IS NOT NULL THEN
        patients := ARRAY[$2];
    END IF;
    IF patients IS NOT NULL THEN
        SELECT jsonb_object_agg(c.status, c.sessions), coalesce(sum(c.sessions), 0) INTO totals, total
        FROM count_by_patient(patients) AS c;
    ELSIF sought IS NULL AND ($10 OR has_period) THEN
        SELECT jsonb_object_agg(c.status, c.sessions), coalesce(sum(c.sessions), 0) INTO totals, total
        FROM count_by_day(earliest, latest) AS c;
    END IF;
    is_few := patients IS NOT NULL AND total <= reach;
    IF sought IS NOT NULL THEN
        named := ARRAY(SELECT u.id FROM search_people(patients, sought) AS u (id));
        SELECT jsonb_object_agg(c.status, c.sessions), coalesce(sum(c.sessions), 0) INTO named_totals, named_total
        FROM count_by_patient(named) AS c;
    END IF;

    -- The order by held_at has its period in one piece. In the order by created_at, a period may lie anywhere.
    IF is_few OR sought IS NOT NULL AND named_total <= reach
        OR patients IS NULL AND sought IS NULL AND has_period AND NOT $6 AND total <= reach THEN
        WITH found AS MATERIALIZED (
            SELECT f.session_id, f.status, CASE WHEN $6 THEN f.held_at ELSE f.created_at END AS at, f.row_place
            FROM (SELECT *, NULL::tid AS row_place FROM sessions_of(patients, named, sought_bytes, earliest, latest, reach + 1)
                  WHERE is_few
                  UNION ALL
                  SELECT *, NULL FROM sessions_of(named, NULL, NULL, earliest, latest, reach + 1)
                  WHERE NOT is_few AND sought IS NOT NULL
                  UNION ALL
                  SELECT * FROM search_files(patients, named, sought_bytes, earliest, latest, files_reach + 1)
                  WHERE NOT is_few AND sought IS NOT NULL
                  UNION ALL
                  SELECT *, NULL FROM sessions_between(earliest, latest, reach + 1) WHERE NOT is_few AND sought IS NULL) AS f
        )
        SELECT (SELECT count(*) <= reach AND count(f.row_place) <= files_reach FROM found f),
               ARRAY(SELECT f.session_id FROM found f
                     WHERE ($1 IS NULL OR f.status = ANY ($1)) AND (f.at, f.session_id) < (last_at, last_id)
                     ORDER BY f.at DESC, f.session_id DESC LIMIT $9),
               CASE WHEN $10 THEN (SELECT jsonb_object_agg(c.status, c.sessions)
                                   FROM (SELECT f.status, count(*) AS sessions FROM found f GROUP BY f.status) AS c) END,
               (SELECT max(f.row_place) FROM found f),
               CASE WHEN $10 THEN (SELECT jsonb_object_agg(c.status, c.sessions)
                                   FROM (SELECT f.status, count(f.row_place) AS sessions FROM found f GROUP BY f.status) AS c) END
        INTO found_all, found_ids, counts, last_place, file_counts;
    END IF;
    IF NOT found_all THEN
        -- Without a search, the database index alone has all that the conditions need. IS TRUE keeps the planner from a join with
        -- the patients, which would read the index to its end.
        EXECUTE format(
            $walk$
            SELECT ARRAY(
                SELECT w.session_id FROM unnest($1) AS s (status)
                CROSS JOIN LATERAL (
                    SELECT l.session_id, l.%1$I AS at FROM session_list l
                    WHERE l.status = s.status AND (l.%1$I, l.session_id) < ($2, $3)
                      AND l.held_at >= $4 AND l.held_at < $5 %2$s %3$s
                    ORDER BY l.%1$I DESC, l.session_id DESC LIMIT $6) AS w
                ORDER BY w.at DESC, w.session_id DESC LIMIT $6)
            $walk$,
            CASE WHEN $6 THEN 'held_at' ELSE 'created_at' END,
            CASE WHEN patients IS NOT NULL THEN 'AND (l.patient_id IN (SELECT unnest($7))) IS TRUE' END,
            CASE WHEN sought IS NOT NULL
                 THEN 'AND (position($9 IN l.filename) > 0 OR l.patient_id IN (SELECT unnest($8)))' END)
        INTO found_ids
        USING coalesce($1, every), last_at, last_id, earliest, latest, $9, patients, named, sought_bytes;
        counts := CASE WHEN sought IS NULL THEN totals ELSE named_totals END;
        IF $10 AND has_period AND (patients IS NOT NULL OR sought IS NOT NULL) THEN
            counts := (SELECT jsonb_object_agg(c.status, c.sessions)
                       FROM count_in_period(CASE WHEN sought IS NULL THEN patients ELSE named END, earliest, latest) AS c);
        END IF;
        IF $10 AND sought IS NOT NULL THEN
            counts := (SELECT jsonb_object_agg(c.status, c.sessions)
                       FROM (SELECT f.status, sum(f.sessions) AS sessions
                             FROM (SELECT e.key AS status, e.value::bigint AS sessions FROM jsonb_each_text(counts) AS e
                                   UNION ALL
                                   SELECT e.key, e.value::bigint FROM jsonb_each_text(file_counts) AS e
                                   UNION ALL
                                   SELECT * FROM count_files(patients, named, sought_bytes, earliest, latest, last_place)) AS f
                             GROUP BY f.status) AS c);
        END IF;
    END IF;
    RETURN QUERY
        SELECT n.session_id, n.place, n.patient_name, n.therapist_name, NULL::text, NULL::bigint
        FROM session_names(found_ids) AS n;
    IF $10 THEN
        RETURN QUERY
            SELECT NULL::uuid, NULL::bigint, NULL::text, NULL::text, s.status, coalesce((counts ->> s.status)::bigint, 0)
            FROM unnest(every) AS s (status);
    END IF;
END
$$;
COMMENT ON FUNCTION app.list_sessions IS
    'A page of the sessions that the acting user sees, newest first by held_at or created_at, beginning after a time and id. "statuses", '
    '"patient", "words" (of a patient''s name or a file''s), "since" and "until" (excluded; both compare held_at) restrict it '
    'unless they are null. If is_counted, rows without a session follow: how many sessions have each status, whatever "statuses" says';

REVOKE ALL ON FUNCTION app.follow_session, app.session_names, app.search_people, app.sessions_of, app.file_condition,
    app.search_files, app.count_files, app.sessions_between, app.list_sessions
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.session_names, app.list_sessions TO therapybridge_server;

COMMIT;
