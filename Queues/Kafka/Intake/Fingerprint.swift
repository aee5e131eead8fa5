import Crypto
import Kafka

/// By what a message is known again: SHA-256 over its time, key, headers and value, each with its length.
enum Fingerprint {
    static func of(_ message: KafkaMessage) -> [UInt8] {
        let hasher = SHA256Hasher()
        func add(_ bytes: [UInt8]?) {
            withUnsafeBytes(of: Int64(bytes?.count ?? -1).littleEndian) { hasher.update($0) }
            if let bytes { hasher.update(bytes) }
        }
        withUnsafeBytes(of: (message.timestamp ?? -1).littleEndian) { hasher.update($0) }
        add(message.key)
        for header in message.headers {
            add(Array(header.name.utf8))
            add(header.value)
        }
        add(message.value)
        return hasher.finish()
    }
}
