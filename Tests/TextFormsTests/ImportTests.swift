import Foundation
import TestSupport
import Testing

@Suite struct ImportTests {
    @Test("No source of the program imports Foundation, which would add 43 MB of ICU to a release")
    func imports() throws {
        let sources = packageRoot.appending(path: "Sources")
        // The client builds on other systems, too, which have Foundation alone.
        let exempt = ["Tools", "TherapyBridgeClient"].map { sources.appending(path: $0).path + "/" }
        var read = 0
        var found: [String] = []
        for file in FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)?.allObjects ?? [] {
            guard let file = file as? URL, file.pathExtension == "swift", !exempt.contains(where: file.path.hasPrefix)
            else {
                continue
            }
            read += 1
            let text = try String(contentsOf: file, encoding: .utf8)
            if text.contains(/(?m)^(public |package )?import Foundation$/) { found.append(file.lastPathComponent) }
        }
        #expect(read > 100)
        #expect(found == [])
    }
}
