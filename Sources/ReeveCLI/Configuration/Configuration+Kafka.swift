import JobKit
import Kafka
import KafkaIntake

extension Configuration {
    private static let prefix = "REEVE_KAFKA_"

    /// Every `REEVE_KAFKA_<PROPERTY>`, and `kafka_<property>` of the file, is a property of librdkafka: dots as underscores. Secrets may
    /// stand in a file that `…_FILE` names.
    static func kafkaEntries(
        _ environment: [String: String], _ members: [String: String], _ file: String?
    ) throws -> [String: Entry] {
        var entries: [String: Entry] = [:]
        for (key, text) in members where key.hasPrefix("kafka_") {
            try add(String(key.dropFirst(6)), text, key, file ?? "reeve.json", to: &entries)
        }
        // A variable that names a file comes after the one that it would contradict.
        var seen: [String: String] = [:]
        for (variable, text) in environment.sorted(by: { $0.key < $1.key })
        where variable.hasPrefix(prefix) && !text.isEmpty {
            var rest = String(variable.dropFirst(prefix.count))
            if rest.hasSuffix("_FILE"), KafkaSettings.isSecret(KafkaSettings.property(String(rest.dropLast(5)))) {
                rest = String(rest.dropLast(5))
            }
            let property = KafkaSettings.property(rest)
            if let other = seen[property] {
                throw CommandError(.usage, "both \(other) and \(variable) are set", hint: "unset one of them")
            }
            seen[property] = variable
            try add(String(variable.dropFirst(prefix.count)), text, variable, variable, to: &entries)
        }
        return entries
    }

    private static func add(
        _ words: String, _ text: String, _ name: String, _ source: String, to entries: inout [String: Entry]
    ) throws {
        if words.lowercased().hasSuffix("_file") {
            let property = KafkaSettings.property(String(words.dropLast(5)))
            if KafkaSettings.isSecret(property) {
                entries[property] = Entry(text: try readSecret(text, name), source: source)
                return
            }
        }
        entries[KafkaSettings.property(words)] = Entry(text: text, source: source)
    }

    /// How to reach Kafka; nil when nothing says where it is.
    func kafkaSettings() -> KafkaSettings? {
        let settings = KafkaSettings(kafka.mapValues(\.text))
        return settings.servers == nil ? nil : settings
    }

    /// How to reach Kafka, or a usage error that says how to configure it.
    func requireKafka() throws -> KafkaSettings {
        guard let settings = kafkaSettings() else {
            throw CommandError(
                .usage, "REEVE_KAFKA_BOOTSTRAP_SERVERS is not set: where the Kafka cluster is",
                hint: "for example REEVE_KAFKA_BOOTSTRAP_SERVERS=kafka1:9092,kafka2:9092")
        }
        return settings
    }

    /// How topics are named.
    func topicNames() throws -> TopicNames {
        guard let names = TopicNames(prefix: self[.topicPrefix] ?? "") else {
            throw CommandError(
                .usage,
                "\(entry(.topicPrefix)?.source ?? "") is not a topic's prefix: letters, digits, '.', '_' and '-'",
                hint: "for example REEVE_TOPIC_PREFIX=prod.")
        }
        return names
    }

    /// The properties for `reeve config`, secrets masked.
    var kafkaItems: [JSON] {
        kafka.sorted { $0.key < $1.key }.map { property, entry in
            [
                "setting": .string("kafka \(property)"),
                "variable": .string(Self.prefix + property.uppercased().replacing(".", with: "_")),
                "value": .string(KafkaSettings.isSecret(property) ? "***" : entry.text),
                "source": .string(entry.source),
            ]
        }
    }
}
