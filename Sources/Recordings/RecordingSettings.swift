import Foundation
public import SettingsReading

/// Where recordings are stored, and which keys encrypt them.
public struct RecordingSettings: Sendable {
    private static let directoryName = "UPLOAD_DIR"

    /// The folder of the recordings.
    private let directory: String
    /// The keys, or nil if recordings are stored unencrypted.
    private let keys: RecordingKeys?

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Recordings")
        directory = reader.text(
            Self.directoryName, form: "a folder", default: ".data/uploads",
            "The folder of the recordings. Several hosts must share it.")
        keys = try RecordingKeys(reader)
    }

    /// Makes the folder, and returns its store.
    ///
    /// - Returns: The store.
    /// - Throws: ``SettingError`` when the folder can be neither made nor used.
    public func store() async throws(SettingError) -> RecordingStore {
        let store = RecordingStore(directory: directory, keys: keys)
        do {
            try await store.prepare()
        } catch {
            throw SettingError(
                Self.directoryName, "cannot be made or used; name a folder that this account may write to")
        }
        return store
    }
}

extension RecordingKeys {
    /// Reads the key files; nil without any.
    ///
    /// Earlier keys without a present one are an error, because new recordings would be stored unencrypted.
    init?(_ reader: SettingsReader) throws(SettingError) {
        let name = "UPLOAD_KEY_FILE"
        let previousName = "UPLOAD_PREVIOUS_KEY_FILES"
        let file = reader.text(
            name, form: "a file that only its owner may read",
            "The key that recordings are [encrypted with](security.md#recordings).")
        let previousFiles = reader.text(
            previousName, form: "comma-separated files that only their owner may read",
            "Earlier keys, which only decrypt.")?
            .split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
        guard let file else {
            if previousFiles == nil { return nil }
            throw SettingError(name, "is missing; \(previousName) only decrypts, and new recordings need a key")
        }
        let current = try RecordingKey(file: file, of: name)
        var previous: [RecordingKey] = []
        for file in previousFiles ?? [] { previous.append(try RecordingKey(file: file, of: previousName)) }
        self.init(current: current, previous: previous)
    }
}

extension RecordingKey {
    /// Reads the file that a setting names.
    fileprivate init(file: String, of setting: String) throws(SettingError) {
        let how = "name a file with a key, made by: openssl rand -hex 32"
        // Without O_NONBLOCK, opening a pipe would wait for its other end.
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw SettingError(setting, "cannot be read; \(how)") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw SettingError(setting, "is not a regular file; \(how)")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw SettingError(setting, "is a file that others may read or change; run: chmod 600 FILE")
        }
        // Longer than a key in any form, with a line end.
        var contents = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &contents, contents.count)
        guard count >= 0, let key = RecordingKey(contents: contents.prefix(count)) else {
            throw SettingError(
                setting,
                "has to hold 32 random bytes, as they are, as 64 hexadecimal digits, or as base64; make them by: "
                    + "openssl rand -hex 32")
        }
        self = key
    }
}
