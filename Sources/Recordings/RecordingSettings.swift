import FoundationEssentials
import SecretFiles
public import SettingsReading
import TextForms

/// Where recordings are stored, and which keys encrypt them.
public struct RecordingSettings: Sendable {
    private static let directoryName = "UPLOAD_DIR"

    /// The folder of the recordings (`UPLOAD_DIR`).
    public let directory: String
    /// The keys, or nil if recordings are stored unencrypted.
    private let keys: RecordingKeys?
    /// False if the server also accepts a folder that others may write to or replace.
    ///
    /// `dev` does: it works in the checkout of any user.
    public var checksFolder = true

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

    /// Reads the files of the keys again.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Returns: False if recordings are stored unencrypted, which only a restart changes.
    /// - Throws: ``SettingError`` if a file is unusable. The keys then stay.
    public func rereadKeys(_ reader: SettingsReader) throws(SettingError) -> Bool {
        guard let keys, let new = try RecordingKeys(reader.group("Recordings")) else { return false }
        keys.replace(by: new)
        return true
    }

    /// Makes the folder, and returns its store.
    ///
    /// - Returns: The store.
    /// - Throws: ``SettingError`` when the folder can be neither made nor used, or others may write to it or replace it.
    public func store() async throws(SettingError) -> RecordingStore {
        let store = RecordingStore(directory: directory, keys: keys)
        do {
            try await store.prepare()
        } catch {
            throw SettingError(
                Self.directoryName, "cannot be made or used; name a folder that this account may write to")
        }
        if checksFolder, let danger = FolderDanger(of: directory) {
            throw SettingError(Self.directoryName, danger.description)
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
            .split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmed }
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
    private static let form =
        "has to hold 32 random bytes, as they are, as 64 hexadecimal digits, or as base64; make them by: openssl rand -hex 32"

    /// Reads the file that a setting names.
    fileprivate init(file: String, of setting: String) throws(SettingError) {
        let contents: [UInt8]
        do {
            // Longer than a key in any form, with a line end.
            contents = try SecretFile.read(file, limit: 256)
        } catch {
            switch error.code {
            case .shared: throw SettingError(setting, "\(error)")
            case .tooLong: throw SettingError(setting, Self.form)
            default: throw SettingError(setting, "\(error); name a file with a key, made by: openssl rand -hex 32")
            }
        }
        guard let key = RecordingKey(contents: contents) else { throw SettingError(setting, Self.form) }
        self = key
    }
}
