import Foundation

/// The number of streams that this machine can hold, and their division among servers.
struct StreamCapacity: Sendable, Equatable {
    /// The number of streams of each server.
    let servers: [Int]
    /// Why there are fewer streams than wanted; nil if there are not.
    let shortage: String?

    var streams: Int { servers.reduce(0, +) }

    /// The memory that a stream may take, in the kernel for both ends of its connection, in the server and in the client.
    private static let bytesPerStream = 32_000

    /// Divides the wanted streams among servers, or as many as the limits allow.
    ///
    /// - Parameters:
    ///   - wanted: The wanted number of streams.
    ///   - perServer: The most streams of one server.
    ///   - mostServers: The most servers that PostgreSQL has connections for.
    ///   - freeMemory: The free memory of the machine in bytes.
    ///   - freeDescriptors: The number of descriptors that all processes together can still open.
    init(wanted: Int, perServer: Int, mostServers: Int, freeMemory: Int, freeDescriptors: Int) {
        let limits = [
            (freeMemory / Self.bytesPerStream, "the free memory allows no more"),
            // One for the server and one for the client.
            (freeDescriptors / 2, "the descriptors of the machine allow no more"),
            (perServer * mostServers, "the connections of PostgreSQL and the descriptors of a process allow no more"),
        ]
        let least = limits.min { $0.0 < $1.0 } ?? (wanted, "")
        let streams = min(wanted, least.0)
        shortage = streams < wanted ? least.1 : nil
        servers = stride(from: 0, to: streams, by: perServer).map { min(perServer, streams - $0) }
    }

    /// The capacity of this machine now: 100,000 streams, 19,000 for each server, if the limits allow it.
    static func present(of bed: TestBed) -> StreamCapacity {
        StreamCapacity(
            wanted: bed.isQuick ? 2 * bed.streams : 100_000,
            perServer: min(bed.isQuick ? bed.streams : 19_000, bed.mostStreams, bed.database.patients),
            mostServers: 12, freeMemory: freeMemory, freeDescriptors: freeDescriptors)
    }

    /// `MemAvailable` of proc(5), `/proc/meminfo`, in bytes.
    private static var freeMemory: Int {
        let text = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)) ?? ""
        return text.firstMatch(of: /MemAvailable: *(\d+) kB/).flatMap { Int($0.1) }.map { $0 * 1024 } ?? 0
    }

    /// proc(5), `/proc/sys/fs/file-nr`: "the number of allocated file handles […]; the number of free file handles; and
    /// the maximum number of file handles".
    private static var freeDescriptors: Int {
        let text = (try? String(contentsOfFile: "/proc/sys/fs/file-nr", encoding: .utf8)) ?? ""
        let numbers = text.split { $0.isWhitespace }.compactMap { Int($0) }
        return numbers.count == 3 ? numbers[2] - numbers[0] : 0
    }
}
