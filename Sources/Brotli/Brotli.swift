public import FoundationEssentials
import Glibc

/// The format Brotli (RFC 7932), made by the library of the machine.
///
/// The library is loaded at run time, so that a machine without it builds and runs the program, too: browsers then get
/// gzip.
@safe public struct Brotli {
    /// `BrotliEncoderCompress` of brotli/encode.h: "returns BROTLI_FALSE in case of compression error, or
    /// BROTLI_FALSE if output buffer is too small".
    private typealias Compress =
        @convention(c) (Int32, Int32, Int32, Int, UnsafeRawPointer, UnsafeMutablePointer<Int>, UnsafeMutableRawPointer)
        ->
        Int32

    private let function: Compress

    /// Loads the library; nil if the machine does not have it.
    public init?() {
        guard let library = unsafe dlopen("libbrotlienc.so.1", RTLD_NOW),
            let symbol = unsafe dlsym(library, "BrotliEncoderCompress")
        else { return nil }
        unsafe function = unsafeBitCast(symbol, to: Compress.self)
    }

    /// Compresses data as far as Brotli can.
    ///
    /// - Parameter data: The data. It is best text.
    /// - Returns: The compressed data; nil if it would not be smaller.
    public func compress(_ data: Data) -> Data? {
        var output = [UInt8](repeating: 0, count: data.count)
        var count = output.count
        // brotli/encode.h: BROTLI_MAX_QUALITY is 11, BROTLI_DEFAULT_WINDOW is 22, BROTLI_MODE_TEXT is 1.
        let isDone = unsafe data.withUnsafeBytes { input -> Bool in
            guard let base = input.baseAddress else { return false }
            return unsafe output.withUnsafeMutableBytes { room in
                guard let start = room.baseAddress else { return false }
                return unsafe function(11, 22, 1, input.count, base, &count, start) == 1
            }
        }
        return isDone ? Data(output.prefix(count)) : nil
    }
}
