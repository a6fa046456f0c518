import Testing

@testable import Progress

/// A hub of ten thousand streams is mostly these rows.
@Suite("The memory of the hub") struct MemoryTests {
    @Test("A watcher takes at most 80 bytes in the table and all columns")
    func watcher() {
        let columns = Rights.bytesPerWatcher + CatchUps.bytesPerWatcher + Trouble.bytesPerWatcher
        #expect(WatcherTable.bytesPerWatcher + columns <= 80)
    }

    @Test("A watched session takes at most 40 bytes, besides its entry in the dictionary")
    func session() { #expect(SessionIndex.bytesPerSession + SessionReads.bytesPerSession <= 40) }
}
