-- Lists of sessions: what the acting user sees of them, ordered, filtered and counted.
-- revision: 1
--
-- app.session_list has one narrow row a session. app.list_sessions reads it in one of two ways:
--   gather  reads all sessions that match, up to 10,000, and then sorts and counts them: the sessions of some patients, those
--           that a search finds, and those of a period;
--   walk    follows a database index in the order of the list and stops when the page is full: all sessions, and lists in
--           which more than 10,000 match.
-- Neither depends on statistics, or on how many sessions have which status. See decision 0043.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('112_session_lists', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.session_list;
CREATE POLICY owner ON app.session_list TO therapybridge_owner USING (true) WITH CHECK (true);
-- The same rule as on therapy_sessions. IN makes a hash table of the patients, and a count asks for each of very many rows.
DROP POLICY IF EXISTS seen ON app.session_list;
CREATE POLICY seen ON app.session_list FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('see')) OR patient_id IN (SELECT app.acting_patients('see')));
DROP POLICY IF EXISTS owner ON app.session_counts;
CREATE POLICY owner ON app.session_counts TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.session_count_changes;
CREATE POLICY owner ON app.session_count_changes TO therapybridge_owner USING (true) WITH CHECK (true);
REVOKE ALL ON app.session_list, app.session_counts, app.session_count_changes
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT SELECT ON app.session_list TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.follow_session() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    UPDATE session_list l
    SET patient_id = NEW.patient_id, created_at = NEW.created_at, held_at = coalesce(NEW.session_date, NEW.created_at),
        filename = searchable(NEW.filename)
    WHERE l.session_id = NEW.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.follow_session IS 'Trigger: brings a change of a session into session_list';
CREATE OR REPLACE TRIGGER follow_session AFTER UPDATE ON app.therapy_sessions FOR EACH ROW
    WHEN ((OLD.patient_id, OLD.created_at, OLD.session_date, OLD.filename)
          IS DISTINCT FROM (NEW.patient_id, NEW.created_at, NEW.session_date, NEW.filename))
    EXECUTE FUNCTION app.follow_session();

-- The deletion of a session deletes its row of session_list last.
CREATE OR REPLACE FUNCTION app.count_deletion() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_count_changes (left_status) VALUES (OLD.status);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.count_deletion IS 'Trigger: counts a session that was deleted';
CREATE OR REPLACE TRIGGER count_deletion AFTER DELETE ON app.session_list
    FOR EACH ROW EXECUTE FUNCTION app.count_deletion();

CREATE OR REPLACE FUNCTION app.count_nothing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    DELETE FROM session_counts;
    DELETE FROM session_count_changes;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.count_nothing IS 'Trigger: all sessions were removed by TRUNCATE';
CREATE OR REPLACE TRIGGER count_nothing AFTER TRUNCATE ON app.session_list
    FOR EACH STATEMENT EXECUTE FUNCTION app.count_nothing();

CREATE OR REPLACE FUNCTION app.total_counts() RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
        SELECT c.status::text, sum(c.sessions)::bigint FROM (
            SELECT t.status, t.sessions FROM session_counts t
            UNION ALL SELECT n.entered_status, count(*) FROM session_count_changes n GROUP BY n.entered_status
            UNION ALL SELECT n.left_status, -count(*) FROM session_count_changes n GROUP BY n.left_status) AS c
        WHERE c.status IS NOT NULL AND acting_may_all('see')
        GROUP BY c.status;
END
$$;
COMMENT ON FUNCTION app.total_counts IS
    'How many of all sessions have each status; no row unless the acting user may see them all';

-- A reader sees either the changes or their sum, because both change in one commit. No report waits: it only adds rows.
CREATE OR REPLACE FUNCTION app.fold_session_counts() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    folded bigint;
BEGIN
    -- The letters "TherapyC". Another server adds up at this moment, and leaves nothing to do.
    IF NOT pg_try_advisory_xact_lock(x'5468657261707943'::bigint) THEN
        RETURN 0;
    END IF;
    WITH taken AS (
        DELETE FROM session_count_changes RETURNING left_status, entered_status
    ), change AS (
        SELECT s.status, sum(s.n) AS n
        FROM taken CROSS JOIN LATERAL (VALUES (entered_status, 1), (left_status, -1)) AS s (status, n)
        WHERE s.status IS NOT NULL GROUP BY s.status
    ), written AS (
        INSERT INTO session_counts AS c (status, sessions) SELECT status, n FROM change
        ON CONFLICT (status) DO UPDATE SET sessions = c.sessions + excluded.sessions
    )
    SELECT count(*) INTO folded FROM taken;
    RETURN folded;
END
$$;
COMMENT ON FUNCTION app.fold_session_counts IS
    'Adds the changes of the counts up, and returns how many there were. One server at a time does this';

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

CREATE OR REPLACE FUNCTION app.sessions_of(
    patients uuid[], words text, since timestamptz, until timestamptz, most integer)
RETURNS TABLE (session_id uuid, status text, created_at timestamptz, held_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    named CONSTANT uuid[] := CASE WHEN $2 IS NOT NULL THEN ARRAY(
        SELECT u.id FROM users u WHERE u.id = ANY ($1) AND strpos(searchable(u.full_name), $2) > 0) END;
BEGIN
    RETURN QUERY
        SELECT l.session_id, l.status::text, l.created_at, l.held_at FROM session_list l
        WHERE l.patient_id = ANY ($1) AND l.held_at >= $3 AND l.held_at < $4
          AND ($2 IS NULL OR l.patient_id IN (SELECT unnest(named)) OR strpos(l.filename, $2) > 0)
        LIMIT $5;
END
$$;
COMMENT ON FUNCTION app.sessions_of IS
    'At most "most" sessions of the patients that the acting user sees, in a period and, unless "words" is null, with the words in the '
    'patient''s name or the file''s. In no order';

-- A search through all sessions reads the table from its beginning to its end. No setting keeps the planner from that.
CREATE OR REPLACE FUNCTION app.search_sessions(words text, since timestamptz, until timestamptz, most integer)
RETURNS TABLE (session_id uuid, status text, created_at timestamptz, held_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
        SELECT l.session_id, l.status::text, l.created_at, l.held_at FROM session_list l
        WHERE l.held_at >= $2 AND l.held_at < $3
          AND (strpos(l.filename, $1) > 0
               OR l.patient_id IN (SELECT u.id FROM users u WHERE strpos(searchable(u.full_name), $1) > 0))
        LIMIT $4;
END
$$;
COMMENT ON FUNCTION app.search_sessions IS
    'At most "most" of all sessions that the acting user sees, in a period, with the words in the patient''s name or the file''s. In no '
    'order';

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
COMMENT ON FUNCTION app.sessions_between IS
    'At most "most" of all sessions that the acting user sees, in a period. In no order';

CREATE OR REPLACE FUNCTION app.count_sessions(patients uuid[], words text, since timestamptz, until timestamptz)
RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
        SELECT l.status::text, count(*) FROM session_list l
        WHERE l.held_at >= $3 AND l.held_at < $4
          AND ($1 IS NULL OR l.patient_id IN (SELECT unnest($1)))
          AND ($2 IS NULL OR strpos(l.filename, $2) > 0
               OR l.patient_id IN (SELECT u.id FROM users u WHERE strpos(searchable(u.full_name), $2) > 0))
        GROUP BY l.status;
END
$$;
COMMENT ON FUNCTION app.count_sessions IS
    'How many of the sessions that the acting user sees have each status: those of the patients, or all if "patients" is null. It reads '
    'the whole table, for a filter that more than 10,000 sessions match';

CREATE OR REPLACE FUNCTION app.list_sessions(
    statuses text[], patient uuid, words text, since timestamptz, until timestamptz, by_date boolean,
    after_at timestamptz, after_id uuid, most integer, is_counted boolean)
RETURNS TABLE (
    session_id uuid, place bigint, patient_name text, therapist_name text, counted_status text, counted_sessions bigint)
LANGUAGE plpgsql STABLE ROWS 60
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
#variable_conflict use_column
DECLARE
    reach CONSTANT integer := 10000;
    every CONSTANT text[] := ARRAY(SELECT s.status FROM app.statuses s);
    patients CONSTANT uuid[] := CASE
        WHEN $2 IS NOT NULL THEN ARRAY[$2]
        WHEN NOT acting_may_all('see') THEN ARRAY(SELECT acting_patients('see'))
    END;
    sought CONSTANT text := nullif(searchable($3), '');
    earliest CONSTANT timestamptz := coalesce($4, '-infinity');
    latest CONSTANT timestamptz := coalesce($5, 'infinity');
    last_at CONSTANT timestamptz := coalesce($7, 'infinity');
    last_id CONSTANT uuid := coalesce($8, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    named uuid[];
    found_all boolean := false;
    found_ids uuid[];
    counts jsonb;
BEGIN
    -- The order by held_at has its period in one piece. In the order by created_at, a period may lie anywhere.
    IF patients IS NOT NULL OR sought IS NOT NULL OR NOT $6 AND ($4 IS NOT NULL OR $5 IS NOT NULL) THEN
        WITH found AS MATERIALIZED (
            SELECT f.session_id, f.status, CASE WHEN $6 THEN f.held_at ELSE f.created_at END AS at
            FROM (SELECT * FROM sessions_of(patients, sought, earliest, latest, reach + 1) WHERE patients IS NOT NULL
                  UNION ALL
                  SELECT * FROM search_sessions(sought, earliest, latest, reach + 1)
                  WHERE patients IS NULL AND sought IS NOT NULL
                  UNION ALL
                  SELECT * FROM sessions_between(earliest, latest, reach + 1)
                  WHERE patients IS NULL AND sought IS NULL) AS f
        )
        SELECT (SELECT count(*) FROM found) <= reach,
               ARRAY(SELECT f.session_id FROM found f
                     WHERE ($1 IS NULL OR f.status = ANY ($1)) AND (f.at, f.session_id) < (last_at, last_id)
                     ORDER BY f.at DESC, f.session_id DESC LIMIT $9),
               CASE WHEN $10 THEN (SELECT jsonb_object_agg(c.status, c.sessions)
                                   FROM (SELECT f.status, count(*) AS sessions FROM found f GROUP BY f.status) AS c) END
        INTO found_all, found_ids, counts;
    END IF;
    IF NOT found_all THEN
        -- Without a search, the database index alone has all that the conditions need.
        IF sought IS NOT NULL THEN
            named := ARRAY(SELECT u.id FROM users u WHERE strpos(searchable(u.full_name), sought) > 0);
        END IF;
        IF $6 THEN
            found_ids := ARRAY(
                SELECT w.session_id FROM unnest(coalesce($1, every)) AS s (status)
                CROSS JOIN LATERAL (
                    SELECT l.session_id, l.held_at FROM session_list l
                    WHERE l.status = s.status AND (l.held_at, l.session_id) < (last_at, last_id)
                      AND l.held_at >= earliest AND l.held_at < latest
                      AND (patients IS NULL OR l.patient_id IN (SELECT unnest(patients)))
                      AND (sought IS NULL OR l.patient_id IN (SELECT unnest(named)) OR EXISTS (
                          SELECT FROM session_list f WHERE f.session_id = l.session_id AND strpos(f.filename, sought) > 0))
                    ORDER BY l.held_at DESC, l.session_id DESC LIMIT $9) AS w
                ORDER BY w.held_at DESC, w.session_id DESC LIMIT $9);
        ELSE
            found_ids := ARRAY(
                SELECT w.session_id FROM unnest(coalesce($1, every)) AS s (status)
                CROSS JOIN LATERAL (
                    SELECT l.session_id, l.created_at FROM session_list l
                    WHERE l.status = s.status AND (l.created_at, l.session_id) < (last_at, last_id)
                      AND l.held_at >= earliest AND l.held_at < latest
                      AND (patients IS NULL OR l.patient_id IN (SELECT unnest(patients)))
                      AND (sought IS NULL OR l.patient_id IN (SELECT unnest(named)) OR EXISTS (
                          SELECT FROM session_list f WHERE f.session_id = l.session_id AND strpos(f.filename, sought) > 0))
                    ORDER BY l.created_at DESC, l.session_id DESC LIMIT $9) AS w
                ORDER BY w.created_at DESC, w.session_id DESC LIMIT $9);
        END IF;
        IF $10 AND (patients IS NOT NULL OR sought IS NOT NULL) THEN
            counts := (SELECT jsonb_object_agg(c.status, c.sessions)
                       FROM count_sessions(patients, sought, earliest, latest) AS c);
        ELSIF $10 AND $4 IS NULL AND $5 IS NULL THEN
            counts := (SELECT jsonb_object_agg(c.status, c.sessions) FROM total_counts() AS c);
        ELSIF $10 THEN
            counts := (SELECT jsonb_object_agg(s.status, c.sessions) FROM unnest(every) AS s (status)
                       CROSS JOIN LATERAL (SELECT count(*) AS sessions FROM session_list l
                                           WHERE l.status = s.status AND l.held_at >= earliest AND l.held_at < latest) AS c);
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

REVOKE ALL ON FUNCTION app.follow_session, app.count_deletion, app.count_nothing, app.total_counts, app.fold_session_counts,
    app.session_names, app.sessions_of, app.search_sessions, app.sessions_between, app.count_sessions, app.list_sessions
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.total_counts, app.fold_session_counts, app.session_names, app.sessions_of, app.search_sessions,
    app.sessions_between, app.count_sessions, app.list_sessions TO therapybridge_server;

COMMIT;
