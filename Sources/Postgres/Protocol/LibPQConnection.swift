import CLibPQ
import Polling

/// The state of a session's transaction.
enum TransactionStatus: Equatable {
    case idle, active, inTransaction, failed, unknown
}

/// The only owner of a `PGconn`.
///
/// No call blocks but `PQfinish` in the deinitialiser, which sends one small message. Only the poller's thread uses it:
/// "One thread restriction is that no two threads attempt to manipulate the same PGconn object at the same time"
/// (manual, 34.20).
@safe struct LibPQConnection: ~Copyable {
    private let handle: OpaquePointer

    /// Starts to connect.
    ///
    /// Fails if libpq is out of memory.
    init?(starting parameters: [(key: String, value: String)]) {
        let keys = CStrings(parameters.map(\.key))
        let values = CStrings(parameters.map(\.value))
        // libpq copies the strings during the call and does not use them later.
        let started = unsafe withExtendedLifetime((keys, values)) {
            unsafe PQconnectStartParams(keys.pointers, values.pointers, 0)
        }
        guard let handle = unsafe started else { return nil }
        unsafe self.handle = handle
    }

    deinit { unsafe PQfinish(handle) }

    /// Whether the connection is broken.
    func isBad() -> Bool { unsafe PQstatus(handle) == CONNECTION_BAD }

    /// The descriptor; −1 if there is none.
    ///
    /// It may differ after each `connectPoll`.
    func socket() -> CInt { unsafe PQsocket(handle) }

    func connectPoll() -> PostgresPollingStatusType { unsafe PQconnectPoll(handle) }

    func setNonblocking() -> Bool { unsafe PQsetnonblocking(handle, 1) == 0 }

    /// Sends notices to a box instead of standard error.
    ///
    /// - Parameter box: The box, which must live as long as the connection.
    func setNoticeReceiver(_ box: NoticeBox) {
        _ = unsafe PQsetNoticeReceiver(
            handle,
            { argument, result in
                guard let argument = unsafe argument, let result = unsafe result else { return }
                unsafe Unmanaged<NoticeBox>.fromOpaque(argument).takeUnretainedValue().receive(result)
            }, Unmanaged.passUnretained(box).toOpaque())
    }

    /// Puts the SQLSTATE into messages about a failed connection.
    ///
    /// libpq 15 has no other way to read it.
    func showSQLStates() { _ = unsafe PQsetErrorVerbosity(handle, PQERRORS_VERBOSE) }

    func errorMessage() -> String { unsafe trimmedMessage(unsafe PQerrorMessage(handle)) }

    func serverVersion() -> Int { Int(unsafe PQserverVersion(handle)) }

    func backendProcessID() -> CInt { unsafe PQbackendPID(handle) }

    func transactionStatus() -> TransactionStatus {
        switch unsafe PQtransactionStatus(handle) {
        case PQTRANS_IDLE: .idle
        case PQTRANS_ACTIVE: .active
        case PQTRANS_INTRANS: .inTransaction
        case PQTRANS_INERROR: .failed
        default: .unknown
        }
    }

    func flush() -> QueryStateMachine.Flush {
        switch unsafe PQflush(handle) {
        case 0: .done
        case 1: .pending
        default: .failed
        }
    }

    func consumeInput() -> Bool { unsafe PQconsumeInput(handle) == 1 }

    /// Whether a result is not complete yet.
    ///
    /// On a broken connection this may stay true. `consumeInput` then fails.
    func isBusy() -> Bool { unsafe PQisBusy(handle) == 1 }

    func getResult() -> PostgresResult? {
        guard let result = unsafe PQgetResult(handle) else { return nil }
        return unsafe PostgresResult(owning: result)
    }

    /// Takes the next notification that libpq has read; nil if there is none.
    func nextNotification() -> PostgresNotification? {
        guard let notify = unsafe PQnotifies(handle) else { return nil }
        // "…free it with PQfreemem. It is sufficient to free the PGnotify pointer" (manual, 34.9).
        defer { unsafe PQfreemem(notify) }
        return unsafe PostgresNotification(
            channel: String(cString: notify.pointee.relname),
            payload: String(cString: notify.pointee.extra),
            processID: notify.pointee.be_pid)
    }

    /// The handle that cancels a query.
    ///
    /// Any thread may use it.
    func cancelHandle() -> CancelHandle? {
        guard let cancel = unsafe PQgetCancel(handle) else { return nil }
        return unsafe CancelHandle(owning: cancel)
    }

    func sendSimple(_ sql: String) -> Bool { unsafe PQsendQuery(handle, sql) == 1 }

    func sendPrepare(_ query: PostgresQuery, name: String) -> Bool {
        let types = query.bindings.types.map(\.oid)
        return unsafe PQsendPrepare(handle, name, query.sql, CInt(types.count), types) == 1
    }

    func sendUnnamed(_ query: PostgresQuery) -> Bool {
        let types = query.bindings.types.map(\.oid)
        return unsafe withParameters(query.bindings) { values, lengths, formats in
            unsafe PQsendQueryParams(
                handle, query.sql, CInt(types.count), types, values, lengths, formats, 1) == 1
        }
    }

    func sendPrepared(_ bindings: PostgresBindings, name: String) -> Bool {
        unsafe withParameters(bindings) { values, lengths, formats in
            unsafe PQsendQueryPrepared(handle, name, CInt(bindings.count), values, lengths, formats, 1) == 1
        }
    }

    /// Lends the parameters in libpq's form.
    ///
    /// libpq copies them during the call.
    private func withParameters(
        _ bindings: PostgresBindings,
        _ body: ([UnsafePointer<CChar>?], [CInt], [CInt]) -> Bool
    ) -> Bool {
        unsafe bindings.bytes.withUnsafeBytes { buffer in
            var values: [UnsafePointer<CChar>?] = unsafe []
            var lengths: [CInt] = []
            var start = 0
            // An empty buffer may have no address, and a null pointer would mean NULL.
            let base = unsafe buffer.baseAddress ?? UnsafeRawPointer(emptyValue)
            for (end, isNull) in zip(bindings.ends, bindings.nulls) {
                unsafe values.append(isNull ? nil : (base + start).assumingMemoryBound(to: CChar.self))
                lengths.append(CInt(clamping: end - start))
                start = end
            }
            return unsafe body(values, lengths, [CInt](repeating: 1, count: bindings.count))
        }
    }
}

/// An address for values without bytes.
///
/// It is never read.
private nonisolated(unsafe) let emptyValue = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)

/// C strings that are freed together.
@safe final class CStrings {
    let pointers: [UnsafePointer<CChar>?]

    init(_ strings: [String]) {
        unsafe pointers = strings.map { unsafe UnsafePointer(Self.copy($0)) } + [nil]
    }

    deinit {
        for index in unsafe pointers.indices { unsafe pointers[index]?.deallocate() }
    }

    private static func copy(_ string: String) -> UnsafeMutablePointer<CChar> {
        let bytes = string.utf8CString
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        unsafe bytes.withUnsafeBufferPointer { unsafe copy.initialize(from: $0.baseAddress!, count: $0.count) }
        return unsafe copy
    }
}

/// Cancels a query, apart from its connection.
@safe final class CancelHandle: Sendable {
    /// Safe on any thread: "PQcancel can safely be invoked from a signal handler, if the errbuf is a local variable in
    /// the signal handler.
    ///
    /// The PGcancel object is read-only as far as PQcancel is concerned, so it can also be invoked from a thread that
    /// is separate from the one manipulating the PGconn object." (manual, 34.7)
    private nonisolated(unsafe) let handle: OpaquePointer

    init(owning handle: OpaquePointer) { unsafe self.handle = handle }

    deinit { unsafe PQfreeCancel(handle) }

    /// Asks the server to cancel.
    ///
    /// This call blocks until the server has the request.
    ///
    /// - Returns: Whether the server took the request, which says nothing about its effect.
    func cancel() -> Bool {
        var message = [CChar](repeating: 0, count: 256)
        return unsafe PQcancel(handle, &message, 256) == 1
    }
}
