/// A metric that the program serves.
package struct MetricDescription: Sendable {
    /// The types of the text format.
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    /// The metric's name.
    package let name: String
    /// What the values mean to Prometheus.
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
/// The table of `docs/metrics.md` comes from here (`make docs`); a test holds what a server serves against it.
package enum MetricDescriptions {
    /// The metrics, by name.
    package static let all: [MetricDescription] = [
        .counter("therapybridge_backstop_delivered_total", "Changes that only the poll found; 0 in a healthy server."),
        .gauge(
            "therapybridge_build_info",
            "Always 1; its labels are the program's version and the newest migration that it carries.",
            labels: ["version", "schema"]),
        .counter("therapybridge_deliveries_total", "Messages that were given to streams."),
        .counter("therapybridge_hints_total", "Sessions that notifications said had changed."),
        .histogram(
            "therapybridge_http_request_duration_seconds",
            "Time from a request's head to its answer's head.", labels: ["method", "route", "status"]),
        .counter(
            "therapybridge_http_requests_total", "Requests that were answered.", labels: ["method", "route", "status"]),
        .counter("therapybridge_hub_reads_total", "Reads from the database on behalf of streams."),
        .counter(
            "therapybridge_listener_failures_total",
            "Attempts to listen that failed, and connections of the listener that were lost."),
        .gauge("therapybridge_listener_live", "1 while notifications are heard, else 0."),
        .counter("therapybridge_listener_notifications_total", "Notifications that came in."),
        .counter(
            "therapybridge_listener_overflows_total",
            "Times that more notifications came in than there was room for; everything watched is read again then."),
        .counter(
            "therapybridge_listener_reconnects_total", "Times that the listener came back after it had been lost."),
        .counter(
            "therapybridge_metrics_refused_total",
            "Instruments that got no series of their own; anything but 0 is a fault of the program."),
        .counter("therapybridge_pipeline_claims_total", "Sessions that this process took from the queue."),
        .counter(
            "therapybridge_pipeline_sessions_total",
            "Claimed sessions, by how the work on them ended.", labels: ["outcome"]),
        .histogram(
            "therapybridge_pipeline_stage_duration_seconds",
            "Time that a stage's command took.", labels: ["stage", "outcome"]),
        .counter("therapybridge_pool_connect_failures_total", "Attempts to connect to the database that failed."),
        .gauge("therapybridge_pool_connections", "Open connections to the database.", labels: ["state"]),
        .counter("therapybridge_pool_connections_opened_total", "Connections to the database that were opened."),
        .counter("therapybridge_pool_exhausted_total", "Callers that got no connection in time, or were too many."),
        .counter("therapybridge_pool_leases_total", "Times that a connection was lent."),
        .gauge("therapybridge_pool_max_connections", "The most connections that the pool opens."),
        .gauge("therapybridge_pool_opening_connections", "Connections to the database that are being opened."),
        .gauge("therapybridge_pool_waiting", "Callers that wait for a connection."),
        .counter("therapybridge_process_cpu_seconds_total", "Processor time of the process, in user and system mode."),
        .gauge("therapybridge_process_max_descriptors", "The most file descriptors that the process may open."),
        .gauge("therapybridge_process_open_descriptors", "Open file descriptors."),
        .gauge("therapybridge_process_resident_memory_bytes", "Resident memory."),
        .gauge("therapybridge_process_start_time_seconds", "When the process started, since the Unix epoch."),
        .counter("therapybridge_sign_ins_total", "Sign-ins with e-mail address and password.", labels: ["outcome"]),
        .counter(
            "therapybridge_stream_blocked_total",
            "Times that a stream's client had no room for what was to be written."),
        .counter("therapybridge_stream_frames_total", "Pieces of streams that were written whole; heartbeats count."),
        .counter("therapybridge_stream_heartbeats_total", "Heartbeats on quiet streams, and pings on WebSockets."),
        .counter("therapybridge_streams_ended_total", "Streams that are over.", labels: ["reason", "transport"]),
        .gauge("therapybridge_streams_open", "Open streams, with those that are ending.", labels: ["transport"]),
        .counter("therapybridge_streams_opened_total", "Streams that began.", labels: ["transport"]),
        .counter(
            "therapybridge_streams_turned_away_total",
            "Streams that were answered with unavailable because there were too many."),
        .counter("therapybridge_upload_bytes_total", "Bytes of recordings that arrived, kept or not."),
        .counter("therapybridge_uploads_failed_total", "Uploads that were let in and failed.", labels: ["reason"]),
        .counter("therapybridge_uploads_finished_total", "Recordings that were stored and went into the queue."),
        .counter(
            "therapybridge_uploads_refused_total",
            "Uploads that a limit of their user did not let in.", labels: ["limit"]),
    ]
}
