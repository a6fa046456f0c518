-- The estimates of remaining time: how long each stage took before, and what follows from that.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;

CREATE TABLE app.stage_samples (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage         text NOT NULL,
    media_type    text NOT NULL,
    audio_seconds double precision NOT NULL CHECK (audio_seconds > 0),
    bytes         bigint,
    work_seconds  double precision NOT NULL CHECK (work_seconds >= 0),
    half_seconds  double precision,
    at            timestamptz NOT NULL
);
COMMENT ON TABLE app.stage_samples IS
    'How long finished stages took: the newest 30 of each stage and format. A row names no session and no patient';
COMMENT ON COLUMN app.stage_samples.stage IS 'The status that the session had during the stage';
COMMENT ON COLUMN app.stage_samples.media_type IS 'The format of the recording; empty: unknown';
COMMENT ON COLUMN app.stage_samples.audio_seconds IS 'The length of the recording in seconds';
COMMENT ON COLUMN app.stage_samples.bytes IS 'The size of the recording';
COMMENT ON COLUMN app.stage_samples.work_seconds IS 'How many seconds the stage took';
COMMENT ON COLUMN app.stage_samples.at IS 'When the stage ended';
COMMENT ON COLUMN app.stage_samples.half_seconds IS
    'After how many seconds the percentage had gone half its way through the stage; null: it never showed the second half';

CREATE TABLE app.work_rates (
    stage              text NOT NULL,
    media_type         text NOT NULL,
    samples            integer NOT NULL,
    fixed_seconds      double precision NOT NULL,
    seconds_per_second double precision NOT NULL,
    rest_fixed_seconds double precision NOT NULL,
    rest_per_second    double precision NOT NULL,
    half_share         double precision,
    seconds_per_byte   double precision,
    usual_seconds      double precision NOT NULL,
    PRIMARY KEY (stage, media_type)
) WITH (fillfactor = 50);
COMMENT ON TABLE app.work_rates IS
    'How long stages take, as app.learn_work_rates finds it in the samples: one row for each stage and format, and one for each '
    'stage and all formats. The row of "pending" stands for all work';
COMMENT ON COLUMN app.work_rates.media_type IS 'The format of the recording; empty: the row of all formats';
COMMENT ON COLUMN app.work_rates.samples IS 'The number of samples that the row was computed from';
COMMENT ON COLUMN app.work_rates.fixed_seconds IS 'The seconds that the stage takes for every recording, whatever its length';
COMMENT ON COLUMN app.work_rates.seconds_per_second IS 'The seconds that the stage takes for each second of audio';
COMMENT ON COLUMN app.work_rates.rest_fixed_seconds IS 'Like fixed_seconds, for the usual stages that follow';
COMMENT ON COLUMN app.work_rates.rest_per_second IS 'Like seconds_per_second, for the usual stages that follow';
COMMENT ON COLUMN app.work_rates.half_share IS
    'Which part of the time has passed, 0.3 to 0.7, when the percentage is half its way; null: percentages do not tell the time';
COMMENT ON COLUMN app.work_rates.seconds_per_byte IS
    'The seconds of audio in each byte, for recordings that no worker has measured yet; null in the row of all formats';
COMMENT ON COLUMN app.work_rates.usual_seconds IS 'The median length of the recordings';

CREATE TABLE app.estimate_state (
    is_only      boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    refreshed_at timestamptz NOT NULL DEFAULT '-infinity',
    queue_due_at timestamptz NOT NULL DEFAULT '-infinity',
    learned_at   pg_snapshot NOT NULL DEFAULT '1:1:'
) WITH (fillfactor = 50);
COMMENT ON TABLE app.estimate_state IS 'What app.refresh_estimates remembers between two calls: one row';
COMMENT ON COLUMN app.estimate_state.refreshed_at IS
    'When a server last refreshed the estimates; -infinity: none has, and the next call does everything';
COMMENT ON COLUMN app.estimate_state.queue_due_at IS 'When the sessions that wait are read again, at the earliest';
COMMENT ON COLUMN app.estimate_state.learned_at IS 'The database snapshot whose transitions app.stage_samples contains';
INSERT INTO app.estimate_state DEFAULT VALUES;

INSERT INTO app.schema_migrations (version, name) VALUES (10, 'estimates');
COMMIT;
