import CLibpq
import Glibc

/// Takes the data of a `copyIn`; valid while its closure runs.
public struct CopyWriter {
    let connection: Connection
    let operation: String
    let interruption: Interruption

    /// Sends bytes; they need not end at the end of a row. Blocks while the server is behind.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        let socket = try connection.open(operation)
        var rest = bytes[...]
        while !rest.isEmpty {
            // libpq would buffer all it is given, so it is given little and that is sent before the next.
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(65_536))
            rest = rest.dropFirst(part.count)
            let start = part.baseAddress?.assumingMemoryBound(to: CChar.self)
            guard PQputCopyData(socket, start, Int32(part.count)) == 1 else {
                throw connection.connectionError(operation)
            }
            try flush(socket)
        }
    }

    /// Sends bytes.
    public func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    /// Sends text.
    public func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { try write(UnsafeRawBufferPointer($0)) }
    }

    private func flush(_ pointer: OpaquePointer) throws(PostgresError) {
        if interruption.isDue { throw interruption.error(operation) }
        while true {
            let unsent = PQflush(pointer)
            if unsent == 0 { return }
            if unsent < 0 { throw connection.connectionError(operation) }
            try interruption.watching(connection) { wakeup throws(PostgresError) in
                _ = pollSocket(PQsocket(pointer), POLLIN | POLLOUT, wakeup, until: interruption.deadline)
            }
            if interruption.isDue { throw interruption.error(operation) }
            // What the server says meanwhile is read, so that neither side waits for the other.
            if PQconsumeInput(pointer) == 0 { throw connection.connectionError(operation) }
        }
    }
}
