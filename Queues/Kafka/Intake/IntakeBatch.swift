import Kafka

/// Messages that are taken together, in the order in which they came, with the part of each partition.
struct IntakeBatch {
    /// A partition's part: its offset moves from `old` to `new`.
    struct Part {
        let place: TopicPartition
        let old: Int64
        var new: Int64
        var digest: [UInt8] = []
        fileprivate var last: KafkaMessage
    }

    struct Event {
        let part: Int
        let message: KafkaMessage
        let event: JobEvent
    }

    struct Refused {
        let part: Int
        let message: KafkaMessage
        let refusal: JobEvent.Refusal
    }

    private(set) var parts: [Part] = []
    private(set) var events: [Event] = []
    private(set) var refused: [Refused] = []
    private(set) var bytes = 0

    var count: Int { events.count + refused.count }

    /// A batch of these messages of partitions whose offsets are `old`; the others are left out.
    init(_ messages: [KafkaMessage], old: (TopicPartition) -> Int64?) {
        var numbers: [TopicPartition: Int] = [:]
        events.reserveCapacity(messages.count)
        for message in messages {
            let part: Int
            if let known = numbers[message.place] {
                part = known
                parts[part].new = message.offset + 1
                parts[part].last = message
            } else {
                guard let from = old(message.place) else { continue }
                part = parts.count
                numbers[message.place] = part
                parts.append(Part(place: message.place, old: from, new: message.offset + 1, last: message))
            }
            bytes += message.value?.count ?? 0
            do throws(JobEvent.Refusal) {
                events.append(Event(part: part, message: message, event: try JobEvent(message)))
            } catch {
                refused.append(Refused(part: part, message: message, refusal: error))
            }
        }
        for index in parts.indices { parts[index].digest = Fingerprint.of(parts[index].last) }
    }
}
