-- The user for whom the server acts in a transaction, as the policies and some functions ask for it.
-- revision: 1
--
-- The server sets the acting user for one transaction: set_config('app.user_id', …, true) and
-- set_config('app.sign_in_id', …, true). Without both, nobody acts, and no policy shows a row.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('010_acting_user', 1); END $$;

CREATE OR REPLACE FUNCTION app.acting_user() RETURNS app.users
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT u FROM users u JOIN auth_sessions s ON s.user_id = u.id
    WHERE u.id = nullif(current_setting('app.user_id', true), '')::uuid
      AND s.id = nullif(current_setting('app.sign_in_id', true), '')::uuid
      AND u.is_active AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
$$;
COMMENT ON FUNCTION app.acting_user IS
    'The acting user: the account that the transaction names, if it is active and the sign-in that it names stands; else '
    'null';

CREATE OR REPLACE FUNCTION app.acting_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ SELECT (acting_user()).id $$;
COMMENT ON FUNCTION app.acting_id IS 'The id of the acting user; null when nobody acts';

CREATE OR REPLACE FUNCTION app.acting_role() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ SELECT (acting_user()).role $$;
COMMENT ON FUNCTION app.acting_role IS 'The role of the acting user; null when nobody acts';

CREATE OR REPLACE FUNCTION app.acting_patients() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
    SELECT w.id FROM acting_user() w WHERE w.role = 'patient'
    UNION ALL
    SELECT a.patient_id FROM acting_user() w JOIN therapist_patients a ON a.therapist_id = w.id
    WHERE w.role = 'therapist' AND a.is_active
$$;
COMMENT ON FUNCTION app.acting_patients IS
    'The patients whose sessions the acting user may see. For an administrator, who may see all sessions, the list is '
    'empty';

REVOKE ALL ON FUNCTION app.acting_user, app.acting_id, app.acting_role, app.acting_patients
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.acting_id, app.acting_role, app.acting_patients TO therapybridge_server;

COMMIT;
