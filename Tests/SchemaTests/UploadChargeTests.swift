import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The upload limits of a user, with the server's role and concurrent connections.
@Suite(.deadline) struct UploadChargeTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let store: UploadChargeStore
        let user: UserID

        /// Charges an upload.
        ///
        /// - Returns: The refusal; nil if the upload was charged.
        func charge(
            _ id: UUID = UUID(), of other: UserID? = nil, bytes: Int64 = 100, atOnce: Int = 0, perHour: Int = 0,
            perDay: Int = 0
        ) async throws -> UploadRefusal? {
            let limits = UploadLimits(atOnce: atOnce, perHour: perHour, bytesPerDay: perDay)
            do {
                try await store.charge(id, of: other ?? user, bytes: bytes, limits: limits)
                return nil
            } catch let refusal as UploadRefusal {
                return refusal
            }
        }

        /// Charges an upload and ends it at once.
        func upload(bytes: Int64 = 100) async throws {
            let id = UUID()
            #expect(try await charge(id, bytes: bytes) == nil)
            try await store.end(id, bytes: bytes)
        }

        func passes(_ time: String) async throws {
            try await database.query(
                """
                UPDATE app.upload_charges
                SET begun_at = begun_at - \(time)::interval, leased_until = leased_until - \(time)::interval
                """)
        }

        func rows() async throws -> Int { try await database.query("SELECT FROM app.upload_charges").count }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.patient)
            try await database.withServerPool(size: 8) {
                try await body(Scene(database: database, store: UploadChargeStore(pool: $0), user: user))
            }
        }
    }

    @Test("Concurrent uploads have a limit, and an upload that ends or dies makes room")
    func atOnce() async throws {
        try await withScene { scene async throws in
            let first = UUID()
            #expect(try await scene.charge(first, atOnce: 2) == nil)
            #expect(try await scene.charge(atOnce: 2) == nil)
            let refusal = try #require(try await scene.charge(atOnce: 2))
            #expect(refusal.limit == .atOnce)
            #expect(refusal.wait > .zero)
            #expect(try await scene.charge(of: scene.database.addUser(.patient), atOnce: 2) == nil)
            try await scene.store.end(first, bytes: 7)
            #expect(try await scene.charge(atOnce: 2) == nil)
            #expect(try await scene.charge(atOnce: 2)?.limit == .atOnce)
            // Their server has died.
            try await scene.passes("3 minutes")
            let kept = UUID()
            #expect(try await scene.charge(kept, atOnce: 1) == nil)
            try await scene.passes("1 minute")
            try await scene.store.keep(kept)
            try await scene.passes("1 minute 50 seconds")
            #expect(try await scene.charge(atOnce: 1)?.limit == .atOnce)
        }
    }

    @Test("An upload whose server has died makes room within seconds, long before its lease ends")
    func deadServer() async throws {
        try await withScene { scene async throws in
            #expect(try await scene.charge(bytes: 800, atOnce: 1) == nil)
            #expect(try await scene.charge(atOnce: 1)?.limit == .atOnce)
            #expect(try await scene.charge(bytes: 300, perDay: 1000)?.limit == .bytesPerDay)
            try await scene.database.query(
                "UPDATE app.upload_charges SET beat_at = beat_at - interval '11 seconds', heard_at = heard_at - interval '11 seconds'"
            )
            #expect(try await scene.charge(bytes: 1000, atOnce: 1, perDay: 1000) == nil)
        }
    }

    @Test("A resumable upload counts once in the hour, and its bytes as they arrive")
    func resumable() async throws {
        try await withScene { scene async throws in
            let id = UUID()
            let limits = UploadLimits(atOnce: 1, perHour: 1, bytesPerDay: 1000)
            try await scene.store.chargeCreation(id, of: scene.user, bytes: 600, limits: limits)
            // Nothing has arrived, and no request is under way.
            #expect(try await scene.charge(bytes: 1000, perHour: 2, perDay: 1000) == nil)
            try await scene.database.query("DELETE FROM app.upload_charges WHERE id <> \(id)")
            for _ in 0..<2 {
                try await scene.store.chargeRequest(of: id, of: scene.user, bytes: 400, limits: limits)
                #expect(try await scene.charge(atOnce: 1)?.limit == .atOnce)
                // A request after one whose server died does not count its reservation twice.
                try await scene.store.chargeRequest(of: id, of: scene.user, bytes: 400, limits: limits)
                try await scene.store.add(400, to: id)
            }
            await #expect(throws: UploadRefusal.self) {
                try await scene.store.chargeRequest(of: id, of: scene.user, bytes: 201, limits: limits)
            }
            try await scene.store.chargeRequest(of: id, of: scene.user, bytes: 200, limits: limits)
            // A request that was taken over from adds its bytes, and does not end the other one.
            try await scene.store.add(100, to: id, endsRequest: false)
            #expect(try await scene.charge(atOnce: 1)?.limit == .atOnce)
            #expect(try await scene.charge(perHour: 1)?.limit == .perHour)
            // The bytes count from the last of them on.
            try await scene.database.query("UPDATE app.upload_charges SET begun_at = begun_at - interval '2 days'")
            #expect(try await scene.charge(bytes: 200, perDay: 1000)?.limit == .bytesPerDay)
        }
    }

    @Test("Uploads in an hour have a limit, and the next one waits until the oldest is an hour old")
    func perHour() async throws {
        try await withScene { scene async throws in
            try await scene.upload()
            try await scene.passes("40 minutes")
            for _ in 0..<2 { try await scene.upload() }
            let refusal = try #require(try await scene.charge(perHour: 3))
            #expect(refusal.limit == .perHour)
            #expect(refusal.wait <= .seconds(1200))
            #expect(refusal.wait > .seconds(600))
            #expect(try await scene.charge(perHour: 4) == nil)
            try await scene.passes("21 minutes")
            #expect(try await scene.charge(perHour: 4) == nil)
            #expect(try await scene.charge(perHour: 4)?.limit == .perHour)
        }
    }

    @Test("Bytes in a day have a limit, and the greatest size counts until the upload ends")
    func perDay() async throws {
        try await withScene { scene async throws in
            try await scene.upload(bytes: 400)
            try await scene.passes("10 hours")
            let open = UUID()
            #expect(try await scene.charge(open, bytes: 500, perDay: 1000) == nil)
            #expect(try await scene.charge(bytes: 100, perDay: 1000) == nil)
            let refusal = try #require(try await scene.charge(bytes: 1, perDay: 1000))
            #expect(refusal.limit == .bytesPerDay)
            // Until the first upload is a day old.
            #expect(refusal.wait <= .seconds(14 * 3600))
            #expect(refusal.wait > .seconds(13 * 3600))
            // This upload also needs the room of the second one.
            #expect(try await scene.charge(bytes: 500, perDay: 1000)?.wait ?? .zero > .seconds(23 * 3600))
            try await scene.store.end(open, bytes: 200)
            #expect(try await scene.charge(bytes: 300, perDay: 1000) == nil)
            #expect(try await scene.charge(bytes: 1, perDay: 1000)?.limit == .bytesPerDay)
            try await scene.passes("14 hours 1 minute")
            #expect(try await scene.charge(bytes: 400, perDay: 1000) == nil)
        }
    }

    @Test("Concurrent uploads begin only while there is room")
    func race() async throws {
        try await withScene { scene async throws in
            for (atOnce, perHour, perDay) in [(5, 0, 0), (0, 5, 0), (0, 0, 599)] {
                try await scene.database.query("DELETE FROM app.upload_charges")
                let refused = try await withThrowingTaskGroup(of: Bool.self) { group in
                    for _ in 0..<30 {
                        group.addTask {
                            try await scene.charge(atOnce: atOnce, perHour: perHour, perDay: perDay) != nil
                        }
                    }
                    return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
                }
                #expect(refused == 25)
                #expect(try await scene.rows() == 5)
            }
        }
    }

    @Test("An upload that was refused leaves no row, and rows older than a day are deleted")
    func forgotten() async throws {
        try await withScene { scene async throws in
            let id = UUID()
            #expect(try await scene.charge(id) == nil)
            try await scene.store.end(id, bytes: nil)
            #expect(try await scene.rows() == 0)
            try await scene.upload()
            #expect(try await scene.store.forgetOld() == 0)
            try await scene.passes("24 hours 1 second")
            try await scene.upload()
            // An upload that has been under way for more than a day still counts as concurrent.
            let long = UUID()
            #expect(try await scene.charge(long) == nil)
            try await scene.database.query(
                "UPDATE app.upload_charges SET begun_at = begun_at - interval '2 days' WHERE id = \(long)")
            #expect(try await scene.store.forgetOld() == 1)
            #expect(try await scene.rows() == 2)
            #expect(try await scene.charge(atOnce: 1)?.limit == .atOnce)
        }
    }
}
