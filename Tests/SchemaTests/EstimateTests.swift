import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The estimates of remaining time: what the database learns from stages that have ended, and what it makes of a report.
@Suite(.deadline) struct EstimateTests {
    // MARK: - Rates

    @Test("A rate has a fixed part and a part for each second of audio, and a few odd sessions do not change it")
    func outliers() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for number in 1...12 {
                    let audio = 60.0 * Double(number)
                    // A machine that was asleep, and a recording of silence.
                    let factor = number == 5 ? 20 : number == 9 ? 0.01 : 1
                    try await connection.addSample("transcribing", audio: audio, work: (10 + 0.5 * audio) * factor)
                }
                try await connection.learn()
                let rate = try #require(try await connection.rate(of: "transcribing", "audio/ogg"))
                #expect(rate.samples == 12)
                #expect(abs(rate.fixed + rate.perSecond * 600 - 310) < 310 * 0.05, "\(rate)")
                #expect(abs(rate.fixed + rate.perSecond * 60 - 40) < 40 * 0.2, "\(rate)")
            }
        }
    }

    @Test("Recordings of one length teach a rate that is proportional to the length")
    func oneLength() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for work in [49.0, 50, 51, 52] {
                    try await connection.addSample("transcribing", audio: 100, work: work)
                }
                try await connection.learn()
                let rate = try #require(try await connection.rate(of: "transcribing", "audio/ogg"))
                #expect(rate.fixed == 0)
                #expect(abs(rate.perSecond - 0.505) < 0.000_1)
            }
        }
    }

    @Test("A format with three samples has its own rate, one with fewer that of all formats, and two teach nothing")
    func fallback() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                func estimate(_ format: String) async throws -> Int? {
                    let session = try await connection.addRecording(format, seconds: 100)
                    try await connection.report(Report("transcribing", 20), session)
                    try await connection.refresh()
                    return try await connection.progress(of: session).estimate
                }
                try await connection.addSample("transcribing", "audio/ogg", audio: 100, work: 500)
                try await connection.addSample("transcribing", "audio/ogg", audio: 100, work: 500)
                try await connection.learn()
                #expect(try await estimate("audio/ogg") == nil)
                try await connection.addSample("transcribing", "audio/ogg", audio: 100, work: 500)
                for _ in 0..<2 { try await connection.addSample("transcribing", "audio/flac", audio: 100, work: 800) }
                try await connection.learn()
                #expect(try await isAbout(500, estimate("audio/ogg")))
                // The median of 500, 500, 500, 800 and 800.
                #expect(try await isAbout(500, estimate("audio/flac")))
                #expect(try await isAbout(500, estimate("audio/mpeg")))
                try await connection.addSample("transcribing", "audio/flac", audio: 100, work: 800)
                try await connection.learn()
                #expect(try await isAbout(800, estimate("audio/flac")))
                // 650 lies between the two formats.
                #expect(try await isAbout(650, estimate("audio/mpeg")))
            }
        }
    }

    @Test("Only the newest 30 samples of a stage and format count, and the others are removed")
    func newest() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for _ in 0..<40 { try await connection.addSample("transcribing", audio: 100, work: 500) }
                for _ in 0..<30 { try await connection.addSample("transcribing", audio: 100, work: 50) }
                try await connection.learn()
                #expect(try await connection.rate(of: "transcribing", "audio/ogg")?.perSecond == 0.5)
                #expect(try await connection.count("SELECT count(*) FROM app.stage_samples") == 30)
            }
        }
    }

    @Test("A stage counts for the rest if half of the last sessions went through it")
    func usualStages() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for number in 0..<10 {
                    try await connection.addSample("transcribing", audio: 100, work: 500)
                    if number < 4 { try await connection.addSample("diarizing", audio: 100, work: 300) }
                    if number < 6 { try await connection.addSample("extracting_notes", audio: 100, work: 200) }
                }
                try await connection.learn()
                let session = try await connection.addRecording(seconds: 100)
                try await connection.report(Report("transcribing", 20), session)
                try await connection.refresh()
                #expect(try await isAbout(700, connection.progress(of: session).estimate))
                // A session that goes through a rare stage has an estimate there, too.
                try await connection.report(Report("diarizing", 55), session)
                try await connection.refresh()
                #expect(try await isAbout(500, connection.progress(of: session).estimate))
            }
        }
    }

    // MARK: - Samples

    @Test("Every stage that ends adds a sample, from any pipeline, but not one that was taken over or that failed")
    func samples() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let whole = try await connection.addRecording(seconds: 600, bytes: 1_000)
                for (status, progress) in [("preprocessing", 20), ("transcribing", 20)] {
                    try await connection.report(Report(status, progress), whole)
                    try await connection.pass(3_000, whole)
                }
                try await connection.report(Report("transcribing", 45), whole)
                try await connection.pass(2_000, whole)
                for status in ["transcribed", "extracting_notes"] {
                    try await connection.report(Report(status, 60), whole)
                    try await connection.pass(500, whole)
                }
                try await connection.report(Report("processed", 100), whole)
                try await connection.refresh()
                #expect(
                    try await connection.samples() == [
                        "preprocessing audio/ogg 600 3000", "transcribing audio/ogg 600 5000 half 3000",
                        "transcribed audio/ogg 600 500", "extracting_notes audio/ogg 600 500",
                    ])

                let taken = try await connection.addRecording("audio/flac", seconds: 300)
                try await connection.report(Report("transcribing", 20), taken)
                try await connection.pass(3_000, taken)
                _ = try await connection.query(
                    "UPDATE app.session_progress SET attempt = attempt + 1 WHERE session_id = \(taken)")
                try await connection.pass(3_000, taken)
                try await connection.report(Report("transcribed", 60), taken)
                try await connection.report(Report("extracting_notes", 60), taken)
                try await connection.pass(700, taken)
                try await connection.report(Report("processed", 100), taken)
                let failed = try await connection.addRecording("audio/mpeg", seconds: 300)
                try await connection.report(Report("transcribing", 20), failed)
                try await connection.pass(3_000, failed)
                try await connection.report(Report("failed", 20), failed)
                // Nobody has measured this one.
                let unknown = try await connection.addRecording("audio/mpeg", seconds: nil)
                for status in ["transcribing", "transcribed", "processed"] {
                    try await connection.report(Report(status, 60), unknown)
                }
                try await connection.refresh()
                #expect(
                    try await connection.samples().dropFirst(4) == [
                        "transcribed audio/flac 300 0", "extracting_notes audio/flac 300 700",
                    ])
                // No transition teaches twice.
                try await connection.refresh()
                #expect(try await connection.samples().count == 6)
            }
        }
    }

    // MARK: - Reports

    @Test("The remaining time is the expected time less the elapsed one, and null when the stage takes far too long")
    func withoutPercentages() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for (elapsed, expected) in [
                    (0, 120), (30, 90),
                    // A tenth of the elapsed time is the least for a stage that is late.
                    (100, 30), (200, 40), (360, 56), (361, nil),
                ] as [(Double, Int32?)] {
                    let seconds = try await connection.query(
                        "SELECT app.remaining_seconds(\(elapsed), 100, 20, 0.9, NULL)")[0].decode(0, as: Int32?.self)
                    #expect(seconds == expected, "\(elapsed) s")
                }
            }
        }
    }

    @Test("Percentages that tell the time correct the expectation, more and more until half the way")
    func withPercentages() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                for (elapsed, share, half, expected) in [
                    // As expected.
                    (25, 0.25, 0.5, 95), (50, 0.5, 0.5, 70), (80, 1, 0.5, 20), (0, 0, 0.5, 120),
                    // Twice as slow: at a quarter half of the correction, at the half all of it.
                    (50, 0.25, 0.5, 20 + 113), (100, 0.5, 0.5, 20 + 100), (150, 0.75, 0.5, 20 + 50),
                    // The second half of the percentage takes less time than the first.
                    (60, 0.5, 0.6, 20 + 40),
                    // A program that stands at its first per cent does not make the estimate explode.
                    (1_000, 0.01, 0.5, 123),
                ] as [(Double, Double, Double, Int32)] {
                    let seconds = try await connection.query(
                        "SELECT app.remaining_seconds(\(elapsed), 100, 20, \(share), \(half))")[0]
                        .decode(0, as: Int32.self)
                    // The last digit of a fraction may round it up.
                    #expect(abs(seconds - expected) <= 1, "\(elapsed) s at \(share)")
                }
            }
        }
    }

    @Test(
        "A new stage has what is left of the expectation, until the next refresh tells it from the stages that follow")
    func nextStage() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                try await connection.refresh()
                for (status, expected) in [("preprocessing", 511), ("transcribing", 411), ("transcribed", 311)] {
                    try await connection.pass(100, session)
                    try await connection.report(Report(status, 20), session)
                    #expect(try await isAbout(expected, connection.progress(of: session).estimate), "\(status)")
                }
                // The transcript is there, and 200 s of work on the notes follow.
                try await connection.refresh()
                #expect(try await isAbout(205, connection.progress(of: session).estimate))
            }
        }
    }

    @Test("A report without an estimate gets one, and the same report again is stale")
    func reports() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                #expect(try await connection.report(Report("transcribing", 20), session) == 2)
                try await connection.refresh()
                // 10 s and half a second for each of 600, then 200 s for the notes.
                let first = try await connection.progress(of: session).estimate
                #expect(isAbout(510, first))
                #expect(try await connection.progress(of: session).version == 3)
                try await connection.pass(255, session)
                #expect(try await connection.report(Report("transcribing", 20), session) == 3)
                #expect(try await connection.progress(of: session).estimate == first)
                #expect(try await connection.report(Report("transcribing", 40), session) == 4)
                // As long again for the second half. The time that the machine takes counts twice here.
                #expect(try await isAbout(455 + 25, connection.progress(of: session).estimate))
                #expect(try await connection.report(Report("transcribing", 40, message: "Half"), session) == 5)
                #expect(try await connection.report(Report("transcribing", 40), session) == 5)
            }
        }
    }

    @Test("An estimate that a pipeline tells is kept, until its next report tells none")
    func told() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                try await connection.report(Report("transcribing", 20, estimate: 77), session)
                #expect(try await connection.progress(of: session).estimate == 77)
                #expect(try await connection.report(Report("transcribing", 30, estimate: 76), session) == 3)
                try await connection.refresh()
                // Segments change the progress, and no word of the pipeline.
                _ = try await connection.query(
                    "UPDATE app.session_progress SET segments = 4 WHERE session_id = \(session)")
                #expect(try await connection.progress(of: session).estimate == 76)
                #expect(try await connection.report(Report("transcribing", 30), session) == 5)
                let estimated = try #require(try await connection.progress(of: session).estimate)
                #expect(estimated > 100)
                #expect(try await connection.report(Report("transcribing", 30), session) == 5)
                #expect(try await connection.report(Report("transcribing", 30, estimate: 0), session) == 6)
                #expect(try await connection.progress(of: session).estimate == 0)
            }
        }
    }

    @Test("A batch of reports has the same estimates as single ones")
    func batch() async throws {
        try await withDatabase { database in
            let caller = try await database.addReporter()
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                try await connection.refresh()
                for (report, estimate) in [
                    // The whole work, as it was expected in the queue. The refresh tells the stages apart.
                    (Report("transcribing", 20), 511), (Report("transcribing", 21, estimate: 9), 9),
                    (Report("transcribed", 60), 200), (Report("processed", 100), nil),
                ] as [(Report, Int?)] {
                    _ = try await connection.reportBatch([(session, report)], by: [caller])
                    #expect(try await connection.progress(of: session).estimate == estimate, "\(report.title)")
                    let version = try await connection.progress(of: session).version
                    try await connection.refresh()
                    #expect(try await connection.progress(of: session).version == version, "\(report.title)")
                }
            }
        }
    }

    @Test("The end of a stage, a takeover and a retry begin a new estimate, and a session that has ended has none")
    func resets() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addRecording(seconds: 600)
                var claim = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 30, estimate: 1_000), session)
                try await connection.refresh()
                #expect(
                    try await connection.query(
                        "SELECT app.give_lease_back(\(session), 1, \(claim.lease), 'Waiting') AS given")[0]
                        .decode("given", as: Bool.self))
                #expect(try await connection.progress(of: session).estimate == nil)
                // The former worker took a minute. The next one begins the stage anew.
                try await connection.pass(60, session)
                claim = try #require(try await connection.claim())
                #expect(claim.attempt == 2)
                #expect(try await connection.progress(of: session).estimate == 510)
                try await connection.report(Report("transcribed", 60, attempt: 2, lease: claim.lease), session)
                #expect(try await connection.progress(of: session).estimate == 200)
                try await connection.report(
                    Report("failed", 60, estimate: 5, attempt: 2, lease: claim.lease), session)
                #expect(try await connection.progress(of: session).estimate == nil)
                _ = try await connection.query("SELECT app.retry_session(\(session))")
                #expect(try await connection.progress(of: session).estimate == 511)
                #expect(try await connection.progress(of: session).status == .pending)
            }
        }
    }

    @Test("Without a recording and its length, nothing is estimated")
    func withoutRecording() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.addHistory()
                let session = try await connection.addSession(in: .transcribing)
                try await connection.refresh()
                #expect(try await connection.progress(of: session).estimate == nil)
                // Before a worker measures it, the size of a recording tells its length.
                let unmeasured = try await connection.addRecording(seconds: nil, bytes: 2_400_000)
                try await connection.report(Report("transcribing", 20), unmeasured)
                try await connection.refresh()
                #expect(try await isAbout(510, connection.progress(of: unmeasured).estimate))
                // The usual length stands for a recording of unknown format.
                let unknown = try await connection.addRecording("audio/amr", seconds: nil, bytes: 5)
                try await connection.report(Report("transcribing", 20), unknown)
                try await connection.refresh()
                #expect(try await connection.progress(of: unknown).estimate != nil)
            }
        }
    }
}

/// Compares an estimate with the one of a machine that takes no time.
///
/// Real seconds pass between two statements, and a busy machine needs several for one.
func isAbout(_ expected: Int, _ estimate: Int?) -> Bool {
    estimate.map { (expected - 25...expected + 1).contains($0) } ?? false
}

/// A row of `app.work_rates`.
struct WorkRate {
    var samples: Int
    var fixed: Double
    var perSecond: Double
}

extension PostgresConnection {
    /// Adds a recording that waits for a worker.
    func addRecording(
        _ format: String = "audio/ogg", seconds: Double?, bytes: Int64? = nil, of patient: UserID? = nil
    ) async throws -> SessionID {
        let session = try await addSession()
        if let patient {
            _ = try await query("UPDATE app.therapy_sessions SET patient_id = \(patient) WHERE id = \(session)")
        }
        _ = try await query(
            """
            UPDATE app.therapy_sessions
            SET recording = \("key \(session)"), media_type = \(format), duration_seconds = \(seconds), bytes = \(bytes)
            WHERE id = \(session)
            """)
        return session
    }

    /// Adds how long one stage took.
    func addSample(
        _ stage: String, _ format: String = "audio/ogg", audio: Double, work: Double, half: Double? = nil
    ) async throws {
        _ = try await query(
            """
            INSERT INTO app.stage_samples (stage, media_type, audio_seconds, bytes, work_seconds, half_seconds, at)
            VALUES (\(stage), \(format), \(audio), \(Int64(audio * 4_000)), \(work), \(half), clock_timestamp())
            """)
    }

    /// Lets the database have seen sessions whose transcription takes 10 s and half the length, and whose notes take 200 s.
    func addHistory() async throws {
        for number in 1...6 {
            let audio = 200.0 * Double(number)
            try await addSample("preprocessing", audio: audio, work: 1)
            try await addSample("transcribing", audio: audio, work: 10 + audio / 2, half: (10 + audio / 2) / 2)
            try await addSample("transcribed", audio: audio, work: 0)
            try await addSample("extracting_notes", audio: audio, work: 200)
        }
        try await learn()
    }

    func learn() async throws { _ = try await query("SELECT app.learn_work_rates()") }

    /// Renews the estimates, as if the last time was long ago.
    ///
    /// - Returns: How many were renewed.
    @discardableResult
    func refresh() async throws -> Int {
        _ = try await query("UPDATE app.estimate_state SET refreshed_at = '-infinity'")
        return Int(try await query("SELECT app.refresh_estimates()")[0].decode(0, as: Int32.self))
    }

    /// Lets seconds of a stage pass.
    func pass(_ seconds: Double, _ session: SessionID) async throws {
        try await stage(
            """
            UPDATE app.session_progress
            SET stage_began_at = stage_began_at - make_interval(secs => \(seconds)),
                stage_half_at = stage_half_at - make_interval(secs => \(seconds)),
                updated_at = updated_at - make_interval(secs => \(seconds))
            WHERE session_id = \(session)
            """)
    }

    func rate(of stage: String, _ format: String) async throws -> WorkRate? {
        try await query(
            """
            SELECT samples, fixed_seconds, seconds_per_second FROM app.work_rates
            WHERE stage = \(stage) AND media_type = \(format)
            """
        ).first.map {
            WorkRate(
                samples: Int(try $0.decode("samples", as: Int32.self)),
                fixed: try $0.decode("fixed_seconds", as: Double.self),
                perSecond: try $0.decode("seconds_per_second", as: Double.self))
        }
    }

    func count(_ sql: PostgresQuery) async throws -> Int { Int(try await query(sql)[0].decode(0, as: Int64.self)) }

    /// The samples, oldest first, in hundreds of seconds.
    fileprivate func samples() async throws -> [String] {
        try await query(
            """
            SELECT concat_ws(
                ' ', stage, media_type, audio_seconds, round(work_seconds::numeric, -2),
                'half ' || round(half_seconds::numeric, -2)) AS line
            FROM app.stage_samples ORDER BY id
            """
        ).map { try $0.decode("line", as: String.self) }
    }
}
