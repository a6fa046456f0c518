-- Accounts and assignments: who sees and changes which rows, and what a sign-in reads of an account.
-- revision: 1
--
-- A client that signs in is not yet a user. Therefore each function here answers one question about one account, and nothing
-- else reads a password hash.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('050_accounts', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.users;
CREATE POLICY owner ON app.users TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.therapist_patients;
CREATE POLICY owner ON app.therapist_patients TO therapybridge_owner USING (true) WITH CHECK (true);

-- Every user sees the own account. A therapist also sees the assigned patients.
DROP POLICY IF EXISTS seen ON app.users;
CREATE POLICY seen ON app.users FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('see_accounts')) OR id = (SELECT app.acting_id())
           OR id = ANY (ARRAY(SELECT app.acting_patients('see'))));
DROP POLICY IF EXISTS added ON app.users;
CREATE POLICY added ON app.users FOR INSERT TO therapybridge_server
    WITH CHECK ((SELECT app.acting_may_all('manage_accounts')));
DROP POLICY IF EXISTS changed ON app.users;
CREATE POLICY changed ON app.users FOR UPDATE TO therapybridge_server
    USING ((SELECT app.acting_may_all('manage_accounts'))) WITH CHECK ((SELECT app.acting_may_all('manage_accounts')));

DROP POLICY IF EXISTS seen ON app.therapist_patients;
CREATE POLICY seen ON app.therapist_patients FOR SELECT TO therapybridge_server
    USING ((SELECT app.acting_may_all('see_accounts')) OR (SELECT app.acting_id()) IN (therapist_id, patient_id));
DROP POLICY IF EXISTS assigned ON app.therapist_patients;
CREATE POLICY assigned ON app.therapist_patients FOR INSERT TO therapybridge_server
    WITH CHECK ((SELECT app.acting_may_all('manage_accounts')));
DROP POLICY IF EXISTS changed ON app.therapist_patients;
CREATE POLICY changed ON app.therapist_patients FOR UPDATE TO therapybridge_server
    USING ((SELECT app.acting_may_all('manage_accounts'))) WITH CHECK ((SELECT app.acting_may_all('manage_accounts')));

-- An INSERT may carry a password hash. The server's role can neither SELECT nor UPDATE one, not even for an administrator.
REVOKE ALL ON app.users, app.therapist_patients FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT INSERT ON app.users TO therapybridge_server;
GRANT SELECT (id, email, full_name, role, is_active, created_at, updated_at) ON app.users TO therapybridge_server;
GRANT UPDATE (full_name, role, is_active, updated_at) ON app.users TO therapybridge_server;
GRANT SELECT, INSERT ON app.therapist_patients TO therapybridge_server;
GRANT UPDATE (is_active, started_at, ended_at) ON app.therapist_patients TO therapybridge_server;

CREATE OR REPLACE FUNCTION app.check_therapist_patient() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, app, pg_temp AS $$
DECLARE
    begins CONSTANT boolean := NEW.is_active AND CASE TG_OP WHEN 'UPDATE' THEN NOT OLD.is_active ELSE true END;
BEGIN
    IF begins THEN
        -- The locks keep both accounts from changing their roles at the same time. The order of the ids prevents a deadlock of
        -- two such transactions.
        PERFORM FROM users WHERE id IN (NEW.therapist_id, NEW.patient_id) ORDER BY id FOR SHARE;
    END IF;
    -- New statements: they see what other transactions committed while this one waited for the locks.
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.therapist_id AND role = 'therapist') THEN
        RAISE EXCEPTION 'therapist_id: is not a therapist'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'not_a_therapist', COLUMN = 'therapist_id';
    END IF;
    IF NOT EXISTS (SELECT FROM users WHERE id = NEW.patient_id AND role = 'patient') THEN
        RAISE EXCEPTION 'patient_id: is not a patient'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'not_a_patient', COLUMN = 'patient_id';
    END IF;
    IF NEW.is_active THEN
        IF begins AND TG_OP = 'UPDATE' AND NEW.started_at = OLD.started_at THEN
            NEW.started_at := clock_timestamp();
        END IF;
        NEW.ended_at := NULL;
    ELSIF NEW.ended_at IS NULL THEN
        NEW.ended_at := clock_timestamp();
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION app.check_therapist_patient IS
    'Trigger: an assignment is between a therapist and a patient, otherwise 23514. It sets the times of the assignment, also '
    'if somebody changes only is_active in psql';
CREATE OR REPLACE TRIGGER check_therapist_patient BEFORE INSERT OR UPDATE ON app.therapist_patients
    FOR EACH ROW EXECUTE FUNCTION app.check_therapist_patient();

CREATE OR REPLACE FUNCTION app.account_by_address(address text)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean, password_hash text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active, u.password_hash FROM users u
        WHERE lower(u.email) = lower($1);
END
$$;
COMMENT ON FUNCTION app.account_by_address IS
    'The account of an e-mail address, active or not, with its password hash; no row: no account has the address';

CREATE OR REPLACE FUNCTION app.account_signed_in(user_id uuid, sign_in uuid)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active FROM users u JOIN auth_sessions s ON s.user_id = u.id
        WHERE u.id = $1 AND s.id = $2 AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp();
END
$$;
COMMENT ON FUNCTION app.account_signed_in IS
    'The account of an access token, active or not; no row: the sign-in has ended, or belongs to another user';

CREATE OR REPLACE FUNCTION app.replace_password_hash(user_id uuid, old text, new text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS
$$ UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 $$;
COMMENT ON FUNCTION app.replace_password_hash IS
    'Replaces a password hash by another hash of the same password. The caller has to know the present hash';

REVOKE ALL ON FUNCTION app.check_therapist_patient, app.account_by_address, app.account_signed_in, app.replace_password_hash
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.account_by_address, app.account_signed_in, app.replace_password_hash TO therapybridge_server;

COMMIT;
