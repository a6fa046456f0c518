import FoundationEssentials
import NIOFileSystem
import Recordings
import SystemPackage

/// A fault of the installation: the worker cannot work on any recording now, and the recording is not at fault.
///
/// The session keeps its status and goes back to the queue, and the worker pauses.
struct InstallationFault: Error, Equatable {
    /// What is missing or broken, for metrics.
    enum Kind: String, CaseIterable {
        /// A program of a stage is missing, or cannot be started.
        case program
        /// A stage says that it cannot work now (exit status 75).
        case stage
        /// The folder of the recordings is away.
        case recordings
        /// The worker has no key for a recording.
        case key
        /// The work folder cannot be used, or has no room.
        case workFolder = "work_folder"
        /// The session has a status of a newer release.
        case release
    }

    let kind: Kind
    /// What an operator needs to find the cause.
    ///
    /// It holds nothing of a session.
    let detail: String

    /// What the watchers of the session read.
    var publicMessage: String {
        switch kind {
        case .key: "Waiting for a worker that can open the recording"
        case .release: "Waiting for a worker of a newer release"
        case .program, .stage, .recordings, .workFolder: "Waiting until the server can work on recordings again"
        }
    }

    init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    /// The fault of the installation that an error means, or nil if the installation is not at fault.
    ///
    /// - Parameter error: An error of the work on a session.
    init?(_ error: any Error) {
        switch error {
        case let fault as InstallationFault: self = fault
        case let failure as StageFailure where failure.fault == .installation:
            self.init(failure.code == .unavailable ? .stage : .program, failure.detail)
        case let error as RecordingError where error.code == .unknownKey: self.init(.key, "\(error)")
        case let fault as StorageFault: self.init(fault)
        // The worker opens recordings, and makes directories and files of its own. Only a stage reads a recording.
        case let error as Errno: self.init(.workFolder, "a file of the worker: \(error)")
        case let error as FileSystemError:
            self.init(.workFolder, "a file of the worker: \(error.code)")
        case let error as CocoaError: self.init(.workFolder, "a file of the worker: error \(error.code.rawValue)")
        default: return nil
        }
    }

    /// The folder of the recordings cannot be used.
    init(_ fault: StorageFault) { self.init(.recordings, "UPLOAD_DIR cannot be used: \(fault)") }
}

extension RecordingStore {
    /// Opens a recording for the work on a session.
    ///
    /// A folder that is missing or empty was not mounted, or is another one.
    ///
    /// - Parameter key: The key of the recording.
    /// - Returns: The recording, or nil if it alone is missing.
    /// - Throws: ``InstallationFault``; `RecordingError` for a damaged recording.
    func openForWork(key: String) async throws -> RecordingFile? {
        if let recording = try await openIfThere(key: key) { return recording }
        do {
            guard try await hasFiles() else {
                throw InstallationFault(.recordings, "UPLOAD_DIR is empty; is its file system mounted?")
            }
        } catch let error as FileSystemError {
            throw InstallationFault(.recordings, "UPLOAD_DIR cannot be read: \(error.code)")
        }
        return nil
    }

    /// How many recordings are missing.
    ///
    /// - Parameter keys: Their keys.
    /// - Returns: The number.
    /// - Throws: ``InstallationFault``.
    func countMissing(_ keys: [String]) async throws -> Int {
        var count = 0
        for key in keys {
            do {
                if try await openIfThere(key: key) == nil { count += 1 }
            } catch is RecordingError {
                // The file is there.
            }
        }
        return count
    }

    private func openIfThere(key: String) async throws -> RecordingFile? {
        do {
            return try await open(key: key)
        } catch let fault as StorageFault {
            throw InstallationFault(fault)
        } catch let error as Errno {
            throw InstallationFault(.recordings, "a recording in UPLOAD_DIR cannot be opened: \(error)")
        }
    }

    private func hasFiles() async throws -> Bool {
        try await FileSystem.shared.withDirectoryHandle(atPath: directory) { folder in
            for try await _ in folder.listContents() { return true }
            return false
        }
    }
}
