import Domain
import Store
import TestSupport
import Testing

@testable import Progress

/// What changes of rights that concern no open stream cost a running hub.
@Suite(.deadline) struct HubRightsCostTests {
    /// Opens streams, ends the rights of strangers, and returns what the hub has read since the streams are open.
    private func work(streams: Int) async throws -> FakeReader.Work {
        try await withHub { scene in
            let session = scene.reader.addSession()
            for _ in 0..<streams {
                _ = try await scene.stream(of: scene.reader.addSession())
            }
            var own = try await scene.stream(of: session)
            // From here on the hub reads the log of rights every 20 ms, as long as it finds changes.
            scene.reader.refuse(.random(), .notSignedIn)
            await scene.hub.receive([.rightsChanged])
            try await scene.eventually { $0.machine.watchers.rights.snapshot == scene.reader.present }
            let before = scene.reader.work
            for _ in 0..<20 {
                for _ in 0..<5 { scene.reader.refuse(.random(), .notSignedIn) }
                await scene.hub.receive([.rightsChanged])
                scene.advance(by: .milliseconds(20))
                try await scene.eventually { $0.machine.watchers.rights.snapshot == scene.reader.present }
                // Those changes hold up no state of the sessions that are watched.
                let version = scene.reader.commit(session)
                await scene.hint(session, version)
                #expect(try await own.nextState().version == version)
            }
            let after = scene.reader.work
            return FakeReader.Work(reads: after.reads - before.reads, rows: after.rows - before.rows)
        }
    }

    /// Opens streams of one session and of all sessions, changes rights of strangers in every way, and returns what the hub has
    /// read since the streams are open.
    private func workBesideFollowers(_ followers: Int) async throws -> FakeReader.Work {
        try await withHub { scene in
            for _ in 0..<followers {
                _ = try await scene.stream(of: scene.reader.addSession())
                guard
                    case .subscribed(let watch, _, _, _) = try await scene.hub.subscribeToAll(
                        for: .random(), since: nil)
                else { throw HubScene.NotSubscribed() }
                await scene.hub.attach(watch)
            }
            scene.reader.changeRights(user: .random())
            await scene.hub.receive([.rightsChanged])
            try await scene.eventually { $0.machine.watchers.rights.snapshot == scene.reader.present }
            let before = scene.reader.work
            for _ in 0..<20 {
                // An assignment, a sign-in, an account, a deleted session, and a session that moves.
                scene.reader.changeRights(user: .random(), patient: .random())
                scene.reader.changeRights(user: .random(), signIn: .random())
                scene.reader.changeRights(user: .random())
                scene.reader.changeRights(session: .random())
                scene.reader.changeRights(patient: .random(), session: .random())
                await scene.hub.receive([.rightsChanged])
                scene.advance(by: .milliseconds(20))
                try await scene.eventually { $0.machine.watchers.rights.snapshot == scene.reader.present }
            }
            // Every read that the changes have caused has ended.
            await scene.turn()
            let after = scene.reader.work
            return FakeReader.Work(reads: after.reads - before.reads, rows: after.rows - before.rows)
        }
    }

    @Test("Changes of strangers' rights of every kind cost as much with 300 streams of all sessions as with one")
    func followers() async throws {
        let (one, many) = (try await workBesideFollowers(1), try await workBesideFollowers(300))
        #expect(one == many)
        // One read of the log in each round, which returns each change once.
        #expect(one == FakeReader.Work(reads: 20, rows: 100))
    }

    @Test("The end of strangers' rights costs as many reads and rows with 300 open streams as with one")
    func constant() async throws {
        let (one, many) = (try await work(streams: 1), try await work(streams: 300))
        #expect(one == many)
        // One read for each hint, and no more rows than changes.
        #expect(one.reads == 40)
        #expect(one.rows <= 100 + 20)
    }
}
