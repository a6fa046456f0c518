import Domain
import Foundation
import Synchronization
import Testing

@testable import Credentials

/// So little work that the tests stay fast.
private let lowCost = Passwords.Cost(logN: 4, blockSize: 1, parallelism: 1)

@Suite("Passwords")
struct PasswordsTests {
    private let passwords = Passwords(cost: lowCost)

    @Test("Only the right password matches its hash")
    func verifies() async throws {
        let hash = try await passwords.hash("correct horse")
        #expect(try await passwords.verify("correct horse", against: hash))
        for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct\0horse"] {
            #expect(try await !passwords.verify(wrong, against: hash), "\(wrong)")
        }
    }

    @Test("Each hash has its own salt, in the PHC format")
    func format() async throws {
        let first = try await passwords.hash("correct horse")
        let second = try await passwords.hash("correct horse")
        #expect(first != second)
        #expect(first.wholeMatch(of: /\$scrypt\$ln=4,r=1,p=1\$[A-Za-z0-9+\/]{22}\$[A-Za-z0-9+\/]{43}/) != nil)
    }

    @Test("A password is verified at the cost of its hash")
    func otherCost() async throws {
        let hash = try await Passwords(cost: .init(logN: 5, blockSize: 2, parallelism: 2)).hash("correct horse")
        #expect(hash.hasPrefix("$scrypt$ln=5,r=2,p=2$"))
        #expect(try await passwords.verify("correct horse", against: hash))
    }

    @Test("The third test vector of RFC 7914 matches")
    func testVector() async throws {
        // RFC 7914, 12: P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1. These are 32 of its 64 bytes. A
        // key of 32 bytes has the same ones, because PBKDF2 makes its output in blocks of 32.
        let key: [UInt8] = [
            0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48, 0x46, 0x1c, 0x06, 0xcd, 0x81, 0xfd, 0x38, 0xeb,
            0xfd, 0xa8, 0xfb, 0xba, 0x90, 0x4f, 0x8e, 0x3e, 0xa9, 0xb5, 0x43, 0xf6, 0x54, 0x5d, 0xa1, 0xf2,
        ]
        func unpadded(_ data: Data) -> String { data.base64EncodedString().replacing("=", with: "") }
        let hash = "$scrypt$ln=14,r=8,p=1$\(unpadded(Data("SodiumChloride".utf8)))$\(unpadded(Data(key)))"
        #expect(try await passwords.verify("pleaseletmein", against: hash))
        #expect(try await !passwords.verify("pleaseletmeout", against: hash))
    }

    @Test("Unicode is normalized: a password is the same from every keyboard")
    func normalisation() async throws {
        let hash = try await passwords.hash("Gemüse ﬁnden")
        #expect(try await passwords.verify("Gemu\u{308}se finden", against: hash))
    }

    @Test("No password matches an account that does not exist")
    func unknownAccount() async throws {
        #expect(try await !passwords.verify("correct horse", against: nil))
        #expect(try await !passwords.verify("", against: nil))
    }

    @Test("A password has 8 to 256 characters")
    func length() async throws {
        for text in ["", "seven 7", String(repeating: "xy", count: 129)] {
            await #expect {
                try await passwords.hash(text)
            } throws: { error in
                if case Passwords.Failure.unacceptable = error { true } else { false }
            }
        }
        for text in ["12345679", "пароль12", String(repeating: "xy", count: 128)] {
            let hash = try await passwords.hash(text)
            #expect(try await passwords.verify(text, against: hash))
        }
        let hash = try await passwords.hash("12345679")
        #expect(try await !passwords.verify(String(repeating: "x", count: 100_000), against: hash))
    }

    @Test(
        "A stored text that is not a hash of ours is an error",
        arguments: [
            "", "plain", "$2b$12$abcdefghijklmnopqrstuv", "$scrypt$ln=4,r=1,p=1$c2FsdA",
            "$scrypt$ln=0,r=1,p=1$c2FsdA$a2V5", "$scrypt$ln=21,r=1,p=1$c2FsdA$a2V5", "$scrypt$ln=4,r=0,p=1$c2FsdA$a2V5",
            "$scrypt$ln=4,r=1,p=0$c2FsdA$a2V5", "$scrypt$ln=-4,r=1,p=1$c2FsdA$a2V5",
            "$scrypt$ln=4,r=1,p=1$c2FsdA$a2V5$",
            "$scrypt$ln=4,r=1,p=1$c2F dA$a2V5", "$scrypt$ln=4,r=1,p=1$c$a", " $scrypt$ln=4,r=1,p=1$c2FsdA$a2V5",
            // These would take gigabytes: a stored hash must not exhaust the machine.
            "$scrypt$ln=20,r=8,p=1$c2FsdA$a2V5", "$scrypt$ln=15,r=8,p=99$c2FsdA$a2V5",
        ])
    func malformedHash(_ hash: String) async {
        await #expect(throws: Passwords.Failure.malformedHash) {
            try await passwords.verify("correct horse", against: hash)
        }
    }

    @Test("A hash of the right form but another length matches nothing")
    func shortKey() async throws {
        #expect(try await !passwords.verify("correct horse", against: "$scrypt$ln=4,r=1,p=1$c2FsdA$a2V5"))
    }

    @Test(
        "A password that attackers guess first is refused",
        arguments: [
            "password", "PassWord123", "12345678", "ｐａｓｓｗｏｒｄ", "qwertyuiop", "aaaaaaaaaa", "AAAAaaaa", "        ",
            "ada.lovelace", "Ada.Lovelace", "1Ada.Lovelace!", "ada.lovelace@clinic.example", "therapybridge",
            "my TherapyBridge", "Therapy-Bridge 1", "therapy bridge",
        ])
    func guessable(_ text: String) async throws {
        await #expect {
            try await passwords.hash(text, for: EmailAddress("Ada.Lovelace@clinic.example"))
        } throws: { error in
            if case Passwords.Failure.unacceptable = error { true } else { false }
        }
    }

    @Test(
        "Any other password is accepted, of whatever characters",
        arguments: ["correct horse", "a long walk", "bridge 42", "ada love"])
    func acceptable(_ text: String) async throws {
        for email in ["ada.lovelace@clinic.example", "a@clinic.example"] {
            let hash = try await passwords.hash(text, for: EmailAddress(email))
            #expect(try await passwords.verify(text, against: hash))
        }
    }

    @Test("A hash is outdated if it took less memory or time than a new one")
    func outdated() async throws {
        let passwords = Passwords(cost: .init(logN: 5, blockSize: 2, parallelism: 2))
        for (logN, blockSize, parallelism, isOutdated) in [
            (5, 2, 2, false), (4, 2, 2, true), (5, 1, 2, true), (5, 2, 1, true), (4, 2, 8, true), (6, 2, 1, false),
            (6, 4, 2, false),
        ] {
            let cost = Passwords.Cost(logN: logN, blockSize: blockSize, parallelism: parallelism)
            let hash = try await Passwords(cost: cost).hash("correct horse")
            #expect(passwords.isOutdated(withoutKey(hash)) == isOutdated, "\(cost)")
        }
        #expect(!passwords.isOutdated("nonsense"))
        // A password in use may break a rule of today.
        let renewed = try await passwords.rehash("password")
        #expect(try await passwords.verify("password", against: renewed))
    }

    @Test("A password costs the same work whether its account has an old hash, a new one or none")
    func sameWork() {
        for present in [Passwords.Cost.standard, .init(logN: 17, blockSize: 8, parallelism: 1)] {
            let passwords = Passwords(cost: present)
            #expect(passwords.supplements(to: present) == [])
            for (logN, blockSize, parallelism) in [
                (14, 8, 1), (14, 8, 5), (15, 8, 1), (15, 8, 2), (15, 4, 3), (16, 8, 1), (13, 16, 2), (10, 1, 1),
            ] {
                let stored = Passwords.Cost(logN: logN, blockSize: blockSize, parallelism: parallelism)
                let total = stored.work + passwords.supplements(to: stored).map(\.work).reduce(0, +)
                #expect(total == present.work, "\(stored)")
            }
            // A costlier hash needs its own work.
            #expect(passwords.supplements(to: .init(logN: 18, blockSize: 8, parallelism: 2)) == [])
        }
    }

    @Test("The server does the same scrypt work for an old hash, a new one, no account, and a wrong password")
    func workDone() async throws {
        let present = Passwords.Cost(logN: 6, blockSize: 4, parallelism: 3)
        let work = Mutex<[Int]>([])
        let passwords = Passwords(cost: present) { _, _, cost in
            work.withLock { $0.append(cost.work) }
            return [UInt8](repeating: 7, count: 32)
        }
        func done(_ password: String, like parameters: String?) async throws -> Int {
            work.withLock { $0 = [] }
            _ = try await passwords.hash(password, like: parameters)
            return work.withLock { $0.reduce(0, +) }
        }
        let none = try await done("correct horse", like: nil)
        #expect(none == present.work)
        for (logN, blockSize, parallelism) in [(6, 4, 3), (5, 4, 1), (5, 4, 3), (4, 2, 1), (6, 4, 1), (6, 2, 2)] {
            let cost = Passwords.Cost(logN: logN, blockSize: blockSize, parallelism: parallelism)
            let stored = withoutKey(try await Passwords(cost: cost).hash("correct horse"))
            for password in ["correct horse", "wrong horse", "x"] {
                let total = try await done(password, like: stored)
                #expect(total == present.work, "\(cost) \(password)")
            }
        }
        // The server refuses this text without any account, too.
        let long = String(repeating: "x", count: 257)
        #expect(try await done(long, like: nil) == 0)
        #expect(try await done(long, like: "$scrypt$ln=5,r=4,p=1$c2FsdHNhbHQ") == 0)
    }

    @Test("Length counts after normalization, by Unicode scalars")
    func normalisedLength() async throws {
        // One scalar becomes 18 in NFKC, and two become one.
        #expect(try await passwords.hash("\u{FDFA}a").isEmpty == false)
        for text in [String(repeating: "\u{FDFA}", count: 15), String(repeating: "e\u{301}", count: 7)] {
            await #expect(throws: Passwords.Failure.self) { try await passwords.hash(text) }
        }
    }

    @Test("A password is refused if too many already wait, and accepted again afterwards")
    func overload() async throws {
        let closed = Passwords(cost: lowCost, threads: 1, waitingLimit: 0)
        await #expect(throws: Passwords.Failure.overloaded) { try await closed.hash("correct horse") }
        await #expect(throws: Passwords.Failure.overloaded) { try await closed.verify("correct horse", against: nil) }

        // Each place in the line becomes free again, also after a failure.
        let single = Passwords(cost: lowCost, threads: 1, waitingLimit: 1)
        for _ in 0..<3 { #expect(try await !single.verify("correct horse", against: nil)) }
    }

    @Test("Passwords wait for their turn if more come than there are threads")
    func manyAtOnce() async throws {
        let passwords = Passwords(cost: lowCost, threads: 1, waitingLimit: 100)
        let hash = try await passwords.hash("correct horse")
        let right = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<100 {
                group.addTask {
                    try await passwords.verify(index.isMultiple(of: 2) ? "correct horse" : "no", against: hash)
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(right == 50)
    }
}

extension Passwords {
    /// Compares a password with a stored hash, as the server and the database do it together.
    fileprivate func verify(_ password: String, against hash: String?) async throws -> Bool {
        try await self.hash(password, like: hash.map(withoutKey)) == hash
    }
}

/// A hash without its last part.
private func withoutKey(_ hash: String) -> String {
    hash.lastIndex(of: "$").map { String(hash[..<$0]) } ?? ""
}
