-- The state machine, the present progress of each session, and the history of its transitions.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.statuses (
    status      text PRIMARY KEY,
    floor       smallint NOT NULL CHECK (floor BETWEEN 0 AND 100),
    is_finished boolean NOT NULL,
    needs_lease boolean NOT NULL DEFAULT false,
    has_transcript boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE app.statuses IS 'The statuses of a session';
COMMENT ON COLUMN app.statuses.floor IS
    'The progress, in per cent, that a takeover in this status sets';
COMMENT ON COLUMN app.statuses.is_finished IS 'True if processing has ended, whether it succeeded or failed';
COMMENT ON COLUMN app.statuses.needs_lease IS
    'True if a report of this status needs the lease of the session, while one stands';
COMMENT ON COLUMN app.statuses.has_transcript IS
    'True if the final transcript is stored before this status begins. A takeover in any other status begins the transcript anew';
INSERT INTO app.statuses (status, floor, is_finished, needs_lease, has_transcript) VALUES
    ('uploading', 0, false, false, false), ('pending', 20, false, false, false),
    ('preprocessing', 20, false, false, false), ('transcribing', 20, false, false, false),
    ('diarizing', 55, false, false, false), ('transcribed', 60, false, true, true),
    ('extracting_notes', 60, false, false, true), ('processed', 100, true, true, true), ('failed', 0, true, true, false);

CREATE TABLE app.status_transitions (
    from_status text NOT NULL REFERENCES app.statuses,
    to_status   text NOT NULL REFERENCES app.statuses,
    PRIMARY KEY (from_status, to_status)
);
COMMENT ON TABLE app.status_transitions IS
    'The transitions that the state machine allows. The guard of session_progress refuses every other, from every role';
INSERT INTO app.status_transitions (from_status, to_status) VALUES
    ('pending', 'uploading'), ('uploading', 'pending'),
    ('pending', 'preprocessing'), ('pending', 'transcribing'), ('preprocessing', 'transcribing'),
    ('transcribing', 'diarizing'), ('transcribing', 'transcribed'), ('diarizing', 'transcribed'),
    ('transcribed', 'extracting_notes'), ('transcribed', 'processed'), ('extracting_notes', 'processed'),
    ('uploading', 'failed'), ('pending', 'failed'), ('preprocessing', 'failed'), ('transcribing', 'failed'),
    ('diarizing', 'failed'), ('transcribed', 'failed'), ('extracting_notes', 'failed'),
    ('failed', 'pending'), ('processed', 'pending');

-- The hot table. Half of each page is free, and only the partial index below covers a changing column. An update of the
-- percentage therefore stays on its page (HOT) and touches no index.
CREATE TABLE app.session_progress (
    session_id               uuid PRIMARY KEY REFERENCES app.therapy_sessions ON DELETE CASCADE,
    status                   text NOT NULL DEFAULT 'pending',
    progress                 smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    message                  text,
    error                    text,
    estimated_time_remaining integer CHECK (estimated_time_remaining >= 0),
    segments                 integer NOT NULL DEFAULT 0 CHECK (segments >= 0),
    version                  bigint NOT NULL DEFAULT 1,
    attempt                  integer NOT NULL DEFAULT 1,
    created_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    notified_at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    stage_began_at           timestamptz,
    stage_half_at            timestamptz,
    stage_seconds            real,
    rest_seconds             real,
    half_share               real,
    is_estimate_told         boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- The stream of all sessions and lists by status look for the sessions that are not processed: a few among a million.
CREATE INDEX session_progress_unfinished_idx ON app.session_progress (status) WHERE status <> 'processed';
ALTER TABLE app.session_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_progress FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_progress IS
    'The present progress of each session, one row a session. Every UPDATE goes through app.guard_progress';
COMMENT ON COLUMN app.session_progress.progress IS 'Per cent done; never falls within one attempt';
COMMENT ON COLUMN app.session_progress.message IS 'What is being done, as one line for people, at most 2,000 characters';
COMMENT ON COLUMN app.session_progress.error IS 'Why the session failed, as one line for people; null unless it failed';
COMMENT ON COLUMN app.session_progress.estimated_time_remaining IS
    'The estimated seconds until the session is processed; null: unknown';
COMMENT ON COLUMN app.session_progress.stage_began_at IS
    'When the present stage began, by a transition or a takeover; null: nobody works on the session, or it is finished';
COMMENT ON COLUMN app.session_progress.stage_half_at IS
    'When the percentage had gone half its way through the present stage; null: it has not. -infinity: another worker has begun '
    'the stage, and its time teaches nothing';
COMMENT ON COLUMN app.session_progress.stage_seconds IS
    'How long the present stage is expected to take in all; without rest_seconds: with the stages after it; while pending: all '
    'work on the session. Null: unknown';
COMMENT ON COLUMN app.session_progress.rest_seconds IS
    'How long the stages after the present one are expected to take; null: app.refresh_estimates has not told the two apart yet';
COMMENT ON COLUMN app.session_progress.half_share IS
    'Which part of the present stage has usually passed when its percentage is half its way; null: percentages do not tell';
COMMENT ON COLUMN app.session_progress.is_estimate_told IS
    'True if the estimate, or its absence, is the word of the one who reports; false: the database estimates';
COMMENT ON COLUMN app.session_progress.segments IS
    'How many segments the transcript has so far; 0 after a retry, until the new transcript replaces an earlier one';
COMMENT ON COLUMN app.session_progress.version IS 'Starts at 1 and grows by one with every change of the row';
COMMENT ON COLUMN app.session_progress.attempt IS 'Starts at 1 and grows with every retry and takeover';
COMMENT ON COLUMN app.session_progress.updated_at IS 'When this version was written';
COMMENT ON COLUMN app.session_progress.notified_at IS
    'When the session was last announced by NOTIFY. A percentage is announced only 500 ms after that';

-- The lists filter by the status, order by a time, and search names of files. An index cannot cover two tables, and the row of
-- therapy_sessions is wide. This narrow table has all that a list compares. A transition changes a row here; a percentage does
-- not. The row refers to session_progress, like the rows below.
CREATE TABLE app.session_list (
    session_id uuid PRIMARY KEY REFERENCES app.session_progress ON DELETE CASCADE,
    patient_id uuid NOT NULL,
    status     text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    held_at    timestamptz NOT NULL,
    filename   bytea
) WITH (autovacuum_vacuum_scale_factor = 0.02);
-- The columns after INCLUDE are what a policy and a count read: neither needs the table.
CREATE INDEX session_list_created_at_idx ON app.session_list (status, created_at DESC, session_id DESC)
    INCLUDE (held_at, patient_id);
CREATE INDEX session_list_held_at_idx ON app.session_list (status, held_at DESC, session_id DESC) INCLUDE (patient_id);
CREATE INDEX session_list_patient_id_idx ON app.session_list (patient_id);
ALTER TABLE app.session_list ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_list FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_list IS
    'What the lists of sessions compare: one narrow row a session. Triggers on therapy_sessions and session_progress write it';
COMMENT ON COLUMN app.session_list.status IS 'The status in session_progress';
COMMENT ON COLUMN app.session_list.created_at IS 'When the session was created';
COMMENT ON COLUMN app.session_list.held_at IS 'When the session took place; if that is not known, when it was created';
COMMENT ON COLUMN app.session_list.filename IS
    'The name of the file in the form of app.searchable, in UTF-8; null: the session has no recording. PostgreSQL finds words in bytes '
    'in two thirds of the time that it takes in text';

-- Each first page of a list counts sessions. A count in one row would let reports wait for each other. Each change therefore
-- adds a row, and app.fold_session_counts now and then adds the rows up: for the lists of some patients by patient, and for the
-- lists of all patients, and of a period, by day.
CREATE TABLE app.session_counts (
    patient_id uuid NOT NULL,
    status     text COLLATE "C" NOT NULL,
    sessions   bigint NOT NULL,
    PRIMARY KEY (patient_id, status)
);
ALTER TABLE app.session_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_counts FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_counts IS
    'How many sessions of each patient have each status, without the changes in session_count_changes';
CREATE TABLE app.session_day_counts (
    day      date NOT NULL,
    status   text COLLATE "C" NOT NULL,
    sessions bigint NOT NULL,
    PRIMARY KEY (day, status)
);
ALTER TABLE app.session_day_counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_day_counts FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_day_counts IS
    'How many sessions of each day have each status, without the changes in session_count_changes';
COMMENT ON COLUMN app.session_day_counts.day IS 'The day of session_list.held_at in UTC';
CREATE TABLE app.session_count_changes (
    patient_id     uuid NOT NULL,
    held_at        timestamptz NOT NULL,
    left_status    text COLLATE "C",
    entered_status text COLLATE "C"
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE app.session_count_changes ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_count_changes FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_count_changes IS
    'Changes of the counts that are not added up yet. Rows are added and deleted, and never changed';
COMMENT ON COLUMN app.session_count_changes.left_status IS 'One session fewer has this status; null: the session is new here';
COMMENT ON COLUMN app.session_count_changes.entered_status IS
    'One session more has this status; null: the session was deleted, or changed its patient or its time';

-- A writer of progress locks the row of session_progress. The rows that it writes with it (events, leases, transcripts, notes)
-- refer to that row and not to the session. A deletion locks the session and then waits for session_progress. With a foreign
-- key to the session, the two could deadlock.
CREATE TABLE app.session_events (
    session_id uuid NOT NULL REFERENCES app.session_progress ON DELETE CASCADE,
    version    bigint NOT NULL,
    attempt    integer NOT NULL,
    status     text NOT NULL,
    progress   smallint NOT NULL,
    message    text,
    error      text,
    segments   integer NOT NULL DEFAULT 0,
    worked_seconds real,
    half_seconds   real,
    at         timestamptz NOT NULL,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (session_id, version)
);
CREATE INDEX session_events_xid_idx ON app.session_events (xid);
-- Finds old transitions. The table is in the order of time.
CREATE INDEX session_events_at_idx ON app.session_events USING brin (at) WITH (autosummarize = on);
ALTER TABLE app.session_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.session_events FORCE ROW LEVEL SECURITY;
COMMENT ON TABLE app.session_events IS
    'Every transition of every session. Rows never change: the server replays them to a client that resumes a stream';
COMMENT ON COLUMN app.session_events.version IS 'The version of session_progress that the transition made';
COMMENT ON COLUMN app.session_events.segments IS 'How many segments the transcript had after the transition';
COMMENT ON COLUMN app.session_events.worked_seconds IS
    'How long the stage took that this transition ended; null: it ended none, a takeover had begun it, or it failed';
COMMENT ON COLUMN app.session_events.half_seconds IS 'After how many seconds its percentage had gone half its way; null: unknown';
COMMENT ON COLUMN app.session_events.at IS 'When the transition happened';
COMMENT ON COLUMN app.session_events.xid IS
    'The transaction that made the transition. The position of a stream of all sessions is a snapshot. A '
    'transaction that the snapshot does not show committed later, even if its number is lower';

-- Autovacuum never analyses these tables, because their rows do not change. Without statistics, the planner would assume a
-- thousand rows.
ANALYZE app.statuses;
ANALYZE app.status_transitions;

INSERT INTO app.schema_migrations (version, name) VALUES (4, 'progress');
COMMIT;
