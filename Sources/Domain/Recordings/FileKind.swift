/// A kind of file that is no recording, with words for the person who chose it.
///
/// Therapists and patients read these sentences. Each says what the file is and what to do.
public struct FileKind: Hashable, Sendable {
    /// The sentence that says what the file is.
    public let statement: String
    /// The name of the kind with its article: `a Word document`; nil if the statement has none.
    public let name: String?
    /// The sentences that say what to do.
    public let advice: String

    /// Both sentences.
    public var sentences: String { "\(statement) \(advice)" }

    init(statement: String, name: String? = nil, _ advice: String) {
        self.statement = statement
        self.name = name
        self.advice = advice
    }

    /// A kind with a name and its article: `a Word document`.
    init(_ name: String, _ advice: String) { self.init(statement: "This is \(name).", name: name, advice) }
}

/// What to do with a file that is no recording.
enum FileAdvice {
    static let choose = "Choose the recording itself, a sound file such as M4A, MP3 or WAV."
    static let convert = "Save or export it as M4A, MP3 or WAV in the program that made it, and upload that file."
    static let exportSound = "Export its sound as M4A, MP3 or WAV, and upload that file."
    static let unpack = "Unpack it, and upload the recording that is inside."
    static let downloadAgain = "Download or copy the recording again, and play it before you upload it."
    static let share =
        "Play it on the device that made it, and share or save it from there as M4A, MP3 or WAV. "
        + "In Voice Memos on an iPhone, choose Share."
}

extension FileKind {
    // MARK: No content

    /// A file without a byte.
    public static let empty = FileKind(statement: "The file is empty.", FileAdvice.downloadAgain)
    /// A file with fewer bytes than any recording.
    public static let short = FileKind(
        statement: "The file is too short to be a recording.", FileAdvice.downloadAgain)
    /// A file that begins with 64 KiB of zeros.
    public static let zeros = FileKind(
        statement: "The beginning of the file has no content, only zeros: it was not copied completely.",
        FileAdvice.downloadAgain)
    /// Any other file.
    public static let unknown = FileKind(
        statement: "The server does not recognize this file as a recording.", FileAdvice.share)

    // MARK: Documents

    static let word = FileKind("a Word document", FileAdvice.choose)
    static let excel = FileKind("an Excel workbook", FileAdvice.choose)
    static let powerPoint = FileKind("a PowerPoint presentation", FileAdvice.choose)
    static let office = FileKind("an Office document", FileAdvice.choose)
    static let openDocument = FileKind("an OpenDocument file", FileAdvice.choose)
    static let iWork = FileKind("a document of Pages, Numbers or Keynote", FileAdvice.choose)
    /// A PDF document.
    public static let pdf = FileKind("a PDF document", FileAdvice.choose)
    static let rtf = FileKind("a text document (RTF)", FileAdvice.choose)
    static let book = FileKind("an electronic book (EPUB)", FileAdvice.choose)
    static let text = FileKind("a text file", FileAdvice.choose)
    static let subtitles = FileKind("a file of subtitles or a transcript", FileAdvice.choose)
    static let data = FileKind("a data file, not sound", FileAdvice.choose)
    static let mail = FileKind("an e-mail message", "Save its attachment, and upload that.")
    /// A page in HTML, or a picture in SVG.
    public static let page = FileKind(
        "a web page",
        "Perhaps the browser saved a page instead of the recording. \(FileAdvice.downloadAgain)")
    static let playlist = FileKind("a playlist, which only names recordings", FileAdvice.choose)
    static let shortcut = FileKind("a shortcut, which only points to a file", FileAdvice.choose)
    static let placeholder = FileKind(
        "a placeholder of iCloud, and the recording is not on this device yet",
        "Open the file once, so that the device downloads it, and upload it then.")
    static let companion = FileKind(
        "a companion file of macOS, whose name begins with ._",
        "Upload the file of the same name without these two characters.")
    static let download = FileKind("an unfinished download", FileAdvice.downloadAgain)

    // MARK: Pictures and films

    static let picture = FileKind("a picture", FileAdvice.choose)
    static let photo = FileKind("a picture (HEIF or AVIF, as an iPhone takes photos)", FileAdvice.choose)
    static let video = FileKind("a video in a format that the server does not accept", FileAdvice.exportSound)

    // MARK: Archives and programs

    static let archive = FileKind("an archive", FileAdvice.unpack)
    /// A ZIP archive.
    public static let zip = FileKind("a ZIP archive", FileAdvice.unpack)
    static let program = FileKind("a program", FileAdvice.choose)
    /// A script, or a page with PHP.
    public static let script = FileKind("a script", FileAdvice.choose)
    static let database = FileKind("a database", FileAdvice.choose)
    static let font = FileKind("a font", FileAdvice.choose)

    // MARK: Sound in other formats

    static let windowsMedia = FileKind("a Windows Media file (WMA)", FileAdvice.convert)
    static let dictation = FileKind(
        "a dictation (DSS or DS2)", "Save it as WAV or MP3 in the dictation software, and upload that file.")
    static let audible = FileKind("a protected audio book", FileAdvice.choose)
    static let protectedSound = FileKind("a protected purchase, which only its owner's player opens", FileAdvice.choose)
    static let midi = FileKind("a MIDI file, which has notes and no sound", FileAdvice.choose)
    static let layerTwo = FileKind("a recording in MPEG layer I or II (MP2)", FileAdvice.convert)
    static let chatVoice = FileKind("a voice message in SILK, the format of a chat program", FileAdvice.convert)
    static let project = FileKind("a project of an audio program, not the sound itself", FileAdvice.convert)
    static let memo = FileKind(
        "an edited memo of Voice Memos", "In Voice Memos, choose Share, and upload the M4A file that it makes.")
    static func sound(_ name: String) -> FileKind { FileKind("a recording in \(name)", FileAdvice.convert) }
}
