-- Records each claim, and each final transcript with the worker that holds the lease at that moment.

CREATE SCHEMA watch;
CREATE TABLE watch.claims (
    session_id uuid NOT NULL, attempt integer NOT NULL, worker text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE watch.transcripts (
    session_id uuid NOT NULL, attempt integer NOT NULL, text text, worker text, is_standing boolean);

CREATE FUNCTION watch.note_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO watch.claims (session_id, attempt, worker) VALUES (NEW.session_id, NEW.attempt, NEW.worker);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_claim AFTER UPDATE OF lease_hash ON app.session_leases FOR EACH ROW
    WHEN (NEW.lease_hash IS NOT NULL AND NEW.lease_hash IS DISTINCT FROM OLD.lease_hash) EXECUTE FUNCTION watch.note_claim();

CREATE FUNCTION watch.note_transcript() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO watch.transcripts (session_id, attempt, text, worker, is_standing)
    SELECT NEW.session_id, NEW.attempt, NEW.body ->> 'text', l.worker, l.attempt = NEW.attempt AND l.lease_hash IS NOT NULL
    FROM (SELECT) AS one LEFT JOIN app.session_leases l ON l.session_id = NEW.session_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_transcript AFTER INSERT OR UPDATE ON app.transcripts FOR EACH ROW EXECUTE FUNCTION watch.note_transcript();
