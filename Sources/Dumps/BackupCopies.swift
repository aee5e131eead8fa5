import Encryption
public import JobKit
public import Storage

/// Which store each object of a backup is read from: the first that its manifest names, and after one was found damaged or out
/// of reach there, the next. Of one attempt and one backup; used by one thread.
public final class BackupCopies {
    /// An object that a store holds damaged, or not at all.
    public struct Damage: Sendable, Hashable {
        /// The store's name, as manifests have it.
        public let destination: String
        /// The object.
        public let key: ObjectKey
        /// `backup_missing`, `backup_corrupt` …
        public let code: String

        /// For summaries and the control database.
        public var json: JSON {
            ["destination": .string(destination), "key": .string("\(key)"), "code": .string(code)]
        }
    }

    private struct Failure {
        let destination: String
        let error: any Error
        let isDamage: Bool
    }

    private let destinations: [String]
    private var failures: [ObjectKey: [Failure]] = [:]
    private var read: [ObjectKey: String] = [:]
    private var hasTurned = false

    /// Begins with the first store for every object.
    public init(of record: BackupRecord) { destinations = record.content.destinations }

    /// What was found damaged so far.
    public var damaged: [Damage] {
        failures.flatMap { key, list in
            list.filter(\.isDamage).map {
                Damage(destination: $0.destination, key: key, code: Self.fault($0.error)?.code ?? "backup_corrupt")
            }
        }.sorted { ("\($0.key)", $0.destination) < ("\($1.key)", $1.destination) }
    }

    /// Of those, the ones whose store is to blame for certain: another store's object was whole, or the stored bytes are not those
    /// of the record. A wrong identity opens no copy, and says nothing about one.
    public var proven: [Damage] { damaged.filter { $0.code.hasPrefix("backup_") || read[$0.key] != nil } }

    /// Where objects were read whole.
    public var whole: [(destination: String, key: ObjectKey)] { read.map { ($1, $0) } }

    /// The stores that could not be asked, and why.
    public var unreachable: [String: String] {
        var found: [String: String] = [:]
        for failure in failures.values.joined() where !failure.isDamage {
            found[failure.destination] = "\(failure.error)"
        }
        return found
    }

    /// What an operator has to know of stores that did not give what they should: empty when all did.
    public var summary: [String: JSON] {
        var found: [String: JSON] = [:]
        if !damaged.isEmpty { found["damaged_objects"] = .array(damaged.map(\.json)) }
        if !unreachable.isEmpty { found["stores_not_reached"] = .object(unreachable.mapValues(JSON.string)) }
        return found
    }

    /// Runs `body` again for as long as it ends because of an object that another store may have.
    public func reading<T>(_ body: () throws -> T) throws -> T {
        while true {
            hasTurned = false
            do { return try body() } catch { guard hasTurned else { throw error } }
        }
    }

    /// Lets `body` read an object from the store whose turn it is. What it throws is thrown, and when it says something about the
    /// object or the store, the next store has its turn. After the last store: the first error of a store that could not be
    /// asked, since another attempt may reach it, else the first.
    func using<T>(_ key: ObjectKey, _ body: (_ destination: String) throws -> T) throws -> T {
        let tried = failures[key, default: []]
        guard let destination = destinations.first(where: { name in !tried.contains { $0.destination == name } }) else {
            throw tried.first { !$0.isDamage }?.error ?? tried[0].error
        }
        do {
            let value = try body(destination)
            read[key] = destination
            return value
        } catch {
            let isDamage = Self.fault(error) != nil
            guard isDamage || error is StorageError else { throw error }
            failures[key, default: []].append(Failure(destination: destination, error: error, isDamage: isDamage))
            let all = failures[key, default: []]
            hasTurned = all.count < destinations.count
            throw hasTurned ? error : all.first { !$0.isDamage }?.error ?? all[0].error
        }
    }

    /// The fault when an error says something about the backup, and not about the day on which it was read.
    public static func fault(_ error: any Error) -> BackupFault? {
        if let fault = error as? BackupFault { return fault }
        guard let error = error as? EncryptionError else { return nil }
        switch error.code {
        case .wrongIdentity, .truncated, .corrupt: return BackupFault(error.code.rawValue, error.message)
        default: return nil
        }
    }
}
