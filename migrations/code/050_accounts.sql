-- Accounts and assignments: who sees and changes which rows, and what a sign-in reads of an account.
-- revision: 1
--
-- A client that signs in is not yet a user. Therefore each function here answers one question about one account. No function
-- returns a password hash.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('050_accounts', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.users;
CREATE POLICY owner ON app.users TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.therapist_patients;
CREATE POLICY owner ON app.therapist_patients TO therapybridge_owner USING (true) WITH CHECK (true);

-- Users see their own account. A therapist also sees the assigned patients, and a patient the assigned therapists. Nobody sees the
-- patient of a probe.
DROP POLICY IF EXISTS seen ON app.users;
CREATE POLICY seen ON app.users FOR SELECT TO therapybridge_server
    USING (NOT is_probe
           AND ((SELECT app.acting_may_all('see_accounts')) OR id = (SELECT app.acting_id())
                OR id IN (SELECT app.acting_patients('see')) OR id IN (SELECT app.acting_therapists())));
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

-- An INSERT may carry a password hash. The server's role can neither SELECT nor UPDATE one. For an administrator,
-- app.reset_password replaces one.
REVOKE ALL ON app.users, app.therapist_patients FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT INSERT ON app.users TO therapybridge_server;
GRANT SELECT (id, email, full_name, role, is_active, created_at, updated_at) ON app.users TO therapybridge_server;
GRANT UPDATE (full_name, role, is_active, updated_at) ON app.users TO therapybridge_server;
GRANT SELECT, INSERT ON app.therapist_patients TO therapybridge_server;
GRANT UPDATE (is_active, started_at, ended_at) ON app.therapist_patients TO therapybridge_server;

-- PostgreSQL inlines the function. A file from macOS has a name in the normal form NFD, and people type NFC. Most texts are ASCII,
-- and need no other form: to normalize them takes most of the time of a search.
CREATE OR REPLACE FUNCTION app.searchable(words text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.lower(CASE WHEN pg_catalog.octet_length($1) = pg_catalog.length($1) THEN $1
                                 ELSE pg_catalog.normalize($1, 'NFC') END COLLATE pg_catalog."default")
$$;
COMMENT ON FUNCTION app.searchable IS
    'The text as searches compare it: in the normal form NFC, and in lower case by the rules of the database''s locale';

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

-- Passwords. The server's role cannot read a hash. It gets the salt and the cost, and presents the hash that it has computed
-- from a password. A function that needs a password therefore knows that the server has seen it.

CREATE OR REPLACE FUNCTION app.account_by_address(address text)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean, password_parameters text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active,
               CASE WHEN u.password_hash IS NOT NULL
                    THEN coalesce(substring(u.password_hash FROM '^(\$scrypt\$[a-z0-9=,]+\$[A-Za-z0-9+/]+)\$[A-Za-z0-9+/]+$'), '')
               END
        FROM users u WHERE lower(u.email COLLATE "C") = lower($1 COLLATE "C");
END
$$;
COMMENT ON FUNCTION app.account_by_address IS
    'The account of an e-mail address, active or not, with the salt and the cost of its password hash, but without the hash. '
    'No row: no account has the address. Null parameters: the account has no password. Empty ones: the hash is malformed';

CREATE OR REPLACE FUNCTION app.is_same_hash(stored text, presented text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(sha256(convert_to($1, 'UTF8')) = sha256(convert_to($2, 'UTF8')), false) $$;
COMMENT ON FUNCTION app.is_same_hash IS
    'True if two password hashes are equal. It compares their SHA-256: the time of a comparison then says nothing about the '
    'stored one';

CREATE OR REPLACE FUNCTION app.check_password(user_id uuid, presented text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN coalesce(
        (SELECT CASE WHEN NOT is_same_hash(u.password_hash, $2) THEN 'wrong'
                     WHEN NOT u.is_active THEN 'inactive'
                     ELSE 'right' END
         FROM users u WHERE u.id = $1), 'wrong');
END
$$;
COMMENT ON FUNCTION app.check_password IS
    'Compares the hash that the server has computed from a password with the stored one. Returns "right"; "inactive", for the '
    'right password of an inactive account; or "wrong", also for an unknown account and one without a password';

CREATE OR REPLACE FUNCTION app.account_signed_in(user_id uuid, sign_in uuid)
RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT u.id, u.email, u.full_name, u.role, u.is_active FROM users u JOIN valid_sign_ins s ON s.user_id = u.id
        WHERE u.id = $1 AND s.id = $2 AND (NOT s.is_suspended OR NOT u.is_active);
END
$$;
COMMENT ON FUNCTION app.account_signed_in IS
    'The account of an access token, active or not; no row: the sign-in has ended, or belongs to another user. While an '
    'account is inactive, the sign-ins that its deactivation has ended count: the client gets 403 instead of 401';

CREATE OR REPLACE FUNCTION app.rehash_password(user_id uuid, presented text, rehashed text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM users u WHERE u.id = $1 AND is_same_hash(u.password_hash, $2) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO password_changes (user_id) VALUES ($1);
    UPDATE users SET password_hash = $3 WHERE id = $1;
    DELETE FROM password_changes WHERE user_id = $1;
    RETURN true;
END
$$;
COMMENT ON FUNCTION app.rehash_password IS
    'Replaces a password hash by a costlier one of the same password, and ends no sign-in. The caller presents the hash that '
    'it has computed from the password; false: it is not the stored one. The database cannot compute scrypt: it '
    'trusts the server that the new hash is of the same password';

CREATE OR REPLACE FUNCTION app.change_password(user_id uuid, sign_in uuid, presented text, new_hash text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    account users;
BEGIN
    SELECT u.* INTO account FROM users u WHERE u.id = $1 FOR NO KEY UPDATE;
    -- A new statement: it sees what has committed while this one waited for the lock.
    IF NOT account.is_active OR NOT EXISTS (
        SELECT FROM valid_sign_ins s WHERE s.id = $2 AND s.user_id = account.id AND NOT s.is_suspended) THEN
        RETURN 'signed out';
    END IF;
    IF NOT is_same_hash(account.password_hash, $3) THEN
        RETURN 'wrong';
    END IF;
    INSERT INTO password_changes (user_id, kept_sign_in) VALUES ($1, $2);
    UPDATE users SET password_hash = $4, updated_at = clock_timestamp() WHERE id = $1;
    DELETE FROM password_changes WHERE user_id = $1;
    RETURN 'changed';
END
$$;
COMMENT ON FUNCTION app.change_password IS
    'Changes the password of the user of a sign-in, and ends all other sign-ins of the account. Returns "changed"; "wrong" '
    'if the presented hash of the present password is not the stored one; or "signed out" if the sign-in is not the user''s, '
    'or has ended';

CREATE OR REPLACE FUNCTION app.reset_password(user_id uuid, new_hash text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    IF NOT acting_may_all('manage_accounts') THEN
        RAISE insufficient_privilege USING MESSAGE = 'only an administrator can set the password of another account';
    END IF;
    UPDATE users SET password_hash = $2, updated_at = clock_timestamp() WHERE id = $1;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION app.reset_password IS
    'Replaces the password hash of an account for the acting user, who has to be an administrator. A trigger ends all sign-ins of '
    'the account. False: the account does not exist. SQLSTATE 42501 for any other acting user, and without one';

REVOKE ALL ON app.identity_providers, app.password_changes FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
REVOKE ALL ON FUNCTION app.searchable, app.check_therapist_patient, app.account_by_address, app.account_signed_in, app.is_same_hash,
    app.check_password, app.rehash_password, app.change_password, app.reset_password
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.searchable, app.account_by_address, app.account_signed_in, app.check_password,
    app.rehash_password, app.change_password, app.reset_password TO therapybridge_server;

COMMIT;
