import Foundation
import Recordings

extension SettingsReader {
    /// The keys of stored recordings, from `UPLOAD_KEY_FILE` and `UPLOAD_PREVIOUS_KEY_FILES`; nil when neither is set.
    ///
    /// The keys of before alone are a mistake: recordings would be stored as they come, where none were before.
    func recordingKeys() throws(SettingError) -> RecordingKeys? {
        let name = "UPLOAD_KEY_FILE"
        let previousName = "UPLOAD_PREVIOUS_KEY_FILES"
        let previousFiles = text(previousName)?.split(separator: ",", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
        guard let file = text(name) else {
            if previousFiles == nil { return nil }
            throw SettingError(name, "is missing; \(previousName) only decrypts, and new recordings need a key")
        }
        let current = try recordingKey(file, of: name)
        var previous: [RecordingKey] = []
        for file in previousFiles ?? [] { previous.append(try recordingKey(file, of: previousName)) }
        return RecordingKeys(current: current, previous: previous)
    }

    private func recordingKey(_ file: String, of setting: String) throws(SettingError) -> RecordingKey {
        // Without O_NONBLOCK, opening a pipe would wait for its other end.
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw SettingError(setting, "cannot be read; name a file with a key, made by: openssl rand -hex 32")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw SettingError(setting, "is no regular file; name a file with a key, made by: openssl rand -hex 32")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw SettingError(setting, "is a file that others may read or change; run: chmod 600 FILE")
        }
        // As long as a key in any form, with a line end, and longer.
        var contents = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &contents, contents.count)
        guard count >= 0, let key = RecordingKey(contents: contents.prefix(count)) else {
            throw SettingError(
                setting,
                "has to hold 32 random bytes, as they are, as 64 hexadecimal digits, or as base64; make them by: "
                    + "openssl rand -hex 32")
        }
        return key
    }
}
