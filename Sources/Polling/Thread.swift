import CEpoll
import Glibc

/// Starts a detached thread.
///
/// - Parameters:
///   - name: Its name, of which Linux shows the first 15 bytes.
///   - body: What it runs before it ends.
/// - Throws: `PollerError` if the system has no thread left.
public func startThread(name: String, _ body: @escaping @Sendable () -> Void) throws {
    final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let argument = unsafe Unmanaged.passRetained(
        Start {
            unsafe cepoll_name_this_thread(name)
            body()
        })
    var thread = pthread_t()
    let status = unsafe pthread_create(
        &thread, nil,
        { argument in
            unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().body()
            return nil
        }, argument.toOpaque())
    guard status == 0 else {
        unsafe argument.release()
        errno = status
        throw PollerError(call: "pthread_create")
    }
    pthread_detach(thread)
}
