/// What the metrics mean, in the words of `docs/metrics.md`.
enum MetricDescriptions {
    static let all = [
        "therapybridge_backstop_delivered_total": "Changes that only the poll found; 0 in a healthy server.",
        "therapybridge_build_info":
            "Always 1; its labels are the program's version and the newest migration that it carries.",
        "therapybridge_deliveries_total": "Messages that were given to streams.",
        "therapybridge_hints_total": "Sessions that notifications said had changed.",
        "therapybridge_http_request_duration_seconds": "Time from a request's head to its answer's head.",
        "therapybridge_http_requests_total": "Requests that were answered.",
        "therapybridge_hub_reads_total": "Reads from the database on behalf of streams.",
        "therapybridge_listener_failures_total":
            "Attempts to listen that failed, and connections of the listener that were lost.",
        "therapybridge_listener_live": "1 while notifications are heard, else 0.",
        "therapybridge_listener_notifications_total": "Notifications that came in.",
        "therapybridge_listener_overflows_total":
            "Times that more notifications came in than there was room for; everything watched is read again then.",
        "therapybridge_listener_reconnects_total": "Times that the listener came back after it had been lost.",
        "therapybridge_metrics_refused_total":
            "Instruments that got no series of their own; anything but 0 is a fault of the program.",
        "therapybridge_pipeline_claims_total": "Sessions that this process took from the queue.",
        "therapybridge_pipeline_sessions_total": "Claimed sessions, by how the work on them ended.",
        "therapybridge_pipeline_stage_duration_seconds": "Time that a stage's command took.",
        "therapybridge_pool_connect_failures_total": "Attempts to connect to the database that failed.",
        "therapybridge_pool_connections": "Open connections to the database.",
        "therapybridge_pool_connections_opened_total": "Connections to the database that were opened.",
        "therapybridge_pool_exhausted_total": "Callers that got no connection in time, or were too many.",
        "therapybridge_pool_leases_total": "Times that a connection was lent.",
        "therapybridge_pool_max_connections": "The most connections that the pool opens.",
        "therapybridge_pool_opening_connections": "Connections to the database that are being opened.",
        "therapybridge_pool_waiting": "Callers that wait for a connection.",
        "therapybridge_process_cpu_seconds_total": "Processor time of the process, in user and system mode.",
        "therapybridge_process_max_descriptors": "The most file descriptors that the process may open.",
        "therapybridge_process_open_descriptors": "Open file descriptors.",
        "therapybridge_process_resident_memory_bytes": "Resident memory.",
        "therapybridge_process_start_time_seconds": "When the process started, since the Unix epoch.",
        "therapybridge_sign_ins_total": "Sign-ins with e-mail address and password.",
        "therapybridge_stream_blocked_total": "Times that a stream's client had no room for what was to be written.",
        "therapybridge_stream_frames_total": "Pieces of streams that were written whole; heartbeats count.",
        "therapybridge_stream_heartbeats_total": "Heartbeats on quiet streams, and pings on WebSockets.",
        "therapybridge_streams_ended_total": "Streams that are over.",
        "therapybridge_streams_open": "Open streams, with those that are ending.",
        "therapybridge_streams_opened_total": "Streams that began.",
        "therapybridge_streams_turned_away_total":
            "Streams that were answered with unavailable because there were too many.",
        "therapybridge_upload_bytes_total": "Bytes of recordings that arrived, kept or not.",
        "therapybridge_uploads_failed_total": "Uploads that were let in and failed.",
        "therapybridge_uploads_finished_total": "Recordings that were stored and went into the queue.",
        "therapybridge_uploads_refused_total": "Uploads that a limit of their user did not let in.",
    ]
}
