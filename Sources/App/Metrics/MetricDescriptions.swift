/// A metric of the program.
package struct MetricDescription: Sendable {
    /// The type of a metric in the text format.
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    /// The metric's name.
    package let name: String
    /// The type of the metric.
    package let kind: Kind
    /// The names of the labels.
    package let labels: [String]
    /// The text of the metric's `HELP` line, and of `docs/metrics.md`.
    package let meaning: String

    fileprivate static func counter(_ name: String, _ meaning: String, labels: [String] = []) -> MetricDescription {
        MetricDescription(name: name, kind: .counter, labels: labels, meaning: meaning)
    }

    fileprivate static func gauge(_ name: String, _ meaning: String, labels: [String] = []) -> MetricDescription {
        MetricDescription(name: name, kind: .gauge, labels: labels, meaning: meaning)
    }

    fileprivate static func histogram(_ name: String, _ meaning: String, labels: [String] = []) -> MetricDescription {
        MetricDescription(name: name, kind: .histogram, labels: labels, meaning: meaning)
    }
}

/// Every metric of the program.
///
/// `make docs` writes the table of `docs/metrics.md` from this list. A test compares the list with what a server
/// serves.
package enum MetricDescriptions {
    /// The metrics, sorted by name.
    package static let all: [MetricDescription] = [
        .counter(
            "therapybridge_audit_records_total",
            "Records that the audit log has had, of all servers and programs."),
        .counter("therapybridge_backstop_delivered_total", "Changes that only the poll found; 0 in a healthy server."),
        .gauge(
            "therapybridge_build_info",
            "Always 1; its labels are the program's version and the newest migration that it carries.",
            labels: ["version", "schema"]),
        .gauge(
            "therapybridge_cage_layer", "1 if this layer of the cage around stages is active on this host, else 0.",
            labels: ["layer"]),
        .histogram(
            "therapybridge_commit_to_wire_seconds",
            "Time from the statement that changed a session until its event was given to the sockets.",
            labels: ["streams", "found_by"]),
        .counter(
            "therapybridge_database_seconds_total",
            "Time that statements took, by the SQL function that they call.", labels: ["statement"]),
        .counter(
            "therapybridge_database_statements_total", "Statements, by the SQL function that they call.",
            labels: ["statement"]),
        .counter("therapybridge_deliveries_total", "Messages that the hub gave to streams."),
        .gauge(
            "therapybridge_feed_lag_seconds",
            "How long the streams of all sessions have been waiting for a read; 0 while they are up to date."),
        .gauge(
            "therapybridge_hint_oldest_seconds",
            "Age of the oldest hint whose session the hub has not read since; 0 without one."),
        .histogram(
            "therapybridge_hint_to_wire_seconds",
            "Time from the arrival of a hint until the event of its session was given to the sockets.",
            labels: ["streams"]),
        .counter("therapybridge_hints_total", "Hints: sessions that a notification named."),
        .histogram(
            "therapybridge_http_request_duration_seconds",
            "Time from the head of a request to the head of its answer.", labels: ["method", "route", "status"]),
        .counter(
            "therapybridge_http_requests_total", "Requests that the server answered.",
            labels: ["method", "route", "status"]),
        .counter("therapybridge_hub_reads_total", "Reads from the database for streams."),
        .counter(
            "therapybridge_listener_failures_total",
            "Failed attempts to listen, and lost connections of the listener."),
        .gauge("therapybridge_listener_live", "1 while the listener receives notifications, else 0."),
        .counter("therapybridge_listener_notifications_total", "Notifications that the listener received."),
        .counter(
            "therapybridge_listener_overflows_total",
            "Times that the listener's buffer was full. The hub then resyncs."),
        .counter(
            "therapybridge_listener_reconnects_total", "Times that the listener reconnected."),
        .counter(
            "therapybridge_log_lines_dropped_total",
            "Lines of the log that were dropped because the reader of standard error is too slow."),
        .counter(
            "therapybridge_metrics_refused_total",
            "Instruments that got no series of their own. A value above 0 is a fault of the program."),
        .counter("therapybridge_pipeline_claims_total", "Sessions that this process claimed."),
        .gauge(
            "therapybridge_pipeline_claims_waiting",
            "Requests of pipelines that wait until there is a session to claim."),
        .counter(
            "therapybridge_pipeline_faults_total",
            "Claimed sessions that went back to the queue because the installation is at fault.", labels: ["kind"]),
        .counter(
            "therapybridge_pipeline_foreign_lines_total",
            "Lines of a stage's standard output that the worker passed over.", labels: ["stage"]),
        .counter(
            "therapybridge_pipeline_leases_lost_total",
            "Sessions that another worker claimed because this one did not extend its lease in time."),
        .gauge("therapybridge_pipeline_paused", "1 while the worker pauses because the installation is at fault."),
        .counter(
            "therapybridge_pipeline_sessions_total",
            "Claimed sessions, by the end of the work on them.", labels: ["outcome"]),
        .gauge(
            "therapybridge_pipeline_slow",
            "1 while the worker takes one session a minute because a stage fails for every patient."),
        .histogram(
            "therapybridge_pipeline_stage_duration_seconds",
            "Duration of a stage's command.", labels: ["stage", "outcome"]),
        .counter(
            "therapybridge_pipeline_stage_failures_total",
            "Stages without a result, by what ended them.", labels: ["stage", "code"]),
        .counter("therapybridge_pool_connect_failures_total", "Failed attempts to connect to the database."),
        .gauge("therapybridge_pool_connections", "Open connections to the database.", labels: ["state"]),
        .counter("therapybridge_pool_connections_opened_total", "Connections to the database that the pool opened."),
        .counter(
            "therapybridge_pool_exhausted_total",
            "Callers that got no connection: the wait was too long, or too many waited."),
        .counter("therapybridge_pool_leases_total", "Times that the pool lent a connection."),
        .gauge("therapybridge_pool_max_connections", "The most connections that the pool opens."),
        .gauge("therapybridge_pool_opening_connections", "Connections to the database that the pool is opening."),
        .histogram(
            "therapybridge_pool_wait_seconds",
            "Time until a caller got a connection to the database, or gave up."),
        .gauge("therapybridge_pool_waiting", "Callers that wait for a connection."),
        .counter("therapybridge_process_cpu_seconds_total", "Processor time of the process, in user and system mode."),
        .gauge("therapybridge_process_max_descriptors", "The most file descriptors that the process may open."),
        .gauge("therapybridge_process_open_descriptors", "Open file descriptors."),
        .gauge("therapybridge_process_resident_memory_bytes", "Resident memory."),
        .gauge(
            "therapybridge_process_start_time_seconds", "Start time of the process, in seconds since the Unix epoch."),
        .gauge(
            "therapybridge_queue_oldest_seconds",
            "Time since the oldest session that a worker could claim joined the queue, of all servers; 0 without one."),
        .gauge(
            "therapybridge_queue_waiting",
            "Sessions that a worker could claim now, of all servers; at most 10,000 are counted."),
        .counter(
            "therapybridge_requests_limited_total",
            "Requests that the server answered with 429, by the limit of requests in a second.", labels: ["limit"]),
        .histogram(
            "therapybridge_resync_duration_seconds",
            "Time from a resync until the hub has read everything that was watched then."),
        .counter("therapybridge_sign_ins_total", "Logins with e-mail address and password.", labels: ["outcome"]),
        .counter(
            "therapybridge_stream_blocked_total",
            "Times that the socket of a stream had no room."),
        .counter("therapybridge_stream_frames_total", "Frames that were written to streams, including heartbeats."),
        .counter("therapybridge_stream_heartbeats_total", "Heartbeats and WebSocket pings on quiet streams."),
        .counter("therapybridge_streams_ended_total", "Streams that ended.", labels: ["reason", "transport"]),
        .gauge(
            "therapybridge_streams_open", "Open streams, including those that are about to end.", labels: ["transport"]),
        .counter("therapybridge_streams_opened_total", "Streams that began.", labels: ["transport"]),
        .counter(
            "therapybridge_streams_turned_away_total",
            "Streams that the server rejected because a limit was reached."),
        .counter("therapybridge_upload_bytes_total", "Bytes of recordings that the server received, stored or not."),
        .counter(
            "therapybridge_uploads_expired_total",
            "Resumable uploads that ended because no byte came for `UPLOAD_RESUME_TTL`."),
        .counter(
            "therapybridge_uploads_failed_total",
            "Uploads whose connection broke, or whose file was refused or not stored.",
            labels: ["reason"]),
        .counter("therapybridge_uploads_finished_total", "Recordings that the server stored and put into the queue."),
        .counter(
            "therapybridge_uploads_refused_total",
            "Uploads that the server rejected because of a limit of the user.", labels: ["limit"]),
        .counter("therapybridge_uploads_resumed_total", "Requests that continued a resumable upload."),
        .counter(
            "therapybridge_webhook_attempts_total",
            "Requests to receivers of webhooks: `success`, or why the request failed.", labels: ["result"]),
        .counter(
            "therapybridge_webhook_deliveries_total",
            "Deliveries of webhooks that ended: `delivered`, or `given_up` after the last attempt.", labels: ["outcome"]
        ),
        .gauge(
            "therapybridge_webhook_oldest_seconds",
            "Age of the oldest unfinished delivery to an active endpoint, of all servers; 0 without one."),
        .gauge(
            "therapybridge_webhook_pending",
            "Unfinished deliveries to active endpoints, of all servers; at most 10,000 are counted."),
    ]
}
