import Glibc
import Logging

/// The file descriptors of the process, each of which is a stream or a file.
public enum DescriptorCapacity {
    /// The most that the program asks for.
    ///
    /// Some libraries go through all possible numbers. More streams than this do not fit one process.
    private static let most: rlim_t = 1 << 20

    /// Raises the soft limit to the hard one.
    ///
    /// systemd starts services with a soft limit of 1024 and a hard limit of 524,288 (systemd.exec(5), `LimitNOFILE=`), because
    /// programs that use select(2) cannot have more.
    public static func raise() {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return }
        let wanted = min(limit.rlim_max, max(most, limit.rlim_cur))
        guard limit.rlim_cur < wanted else { return }
        limit.rlim_cur = wanted
        // If it fails, the old limit stays.
        _ = setrlimit(resource, &limit)
    }

    /// Logs how many connections fit.
    ///
    /// - Parameters:
    ///   - streams: The most streams of the settings.
    ///   - logger: Receives one line.
    static func log(streams: Int, to logger: Logger) {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return }
        let descriptors = Int(clamping: limit.rlim_cur)
        // The reserve is that of the acceptor of connections.
        let capacity = max(0, descriptors - min(64, descriptors / 4))
        var metadata: Logger.Metadata = ["descriptors": "\(descriptors)", "connections": "\(capacity)"]
        if capacity < streams {
            metadata["remedy"] = "raise LimitNOFILE of the service, or lower SSE_MAX_STREAMS"
            logger.notice("fewer connections fit than SSE_MAX_STREAMS", metadata: metadata)
        } else {
            logger.info("capacity", metadata: metadata)
        }
    }

    private static var resource: __rlimit_resource_t { __rlimit_resource_t(RLIMIT_NOFILE.rawValue) }
}
