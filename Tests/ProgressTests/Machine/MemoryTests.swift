import Testing

@testable import Progress

/// Most of the memory of a hub with ten thousand streams is in these rows.
@Suite("Memory of the hub") struct MemoryTests {
    @Test("A watcher takes at most 80 bytes in the table and all columns together")
    func watcher() {
        let columns = CatchUps.bytesPerWatcher + Outage.bytesPerWatcher
        #expect(WatcherTable.bytesPerWatcher + columns <= 80)
    }

    @Test("A watched session takes at most 40 bytes, without its entry in the dictionary")
    func session() { #expect(SessionIndex.bytesPerSession + SessionReads.bytesPerSession <= 40) }
}
