import CRdKafka
import Glibc

/// librdkafka's mock cluster in a process of its own, for the tests: `mock-kafka BROKERS FIFO` prints its bootstrap servers, then obeys one
/// command per line of the FIFO and answers `ok` or `error` on standard output.
@main
enum MockKafka {
    static func main() { serve() }
}

func serve() {
    let words = CommandLine.arguments
    // Opened for writing as well, so that it never comes to an end.
    guard words.count == 3, let brokers = Int32(words[1]), dup2(open(words[2], O_RDWR), 0) == 0 else {
        fatalError("usage: mock-kafka BROKERS FIFO")
    }
    guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), nil, 0),
        let cluster = rd_kafka_mock_cluster_new(client, brokers)
    else { fatalError("no mock cluster") }
    say("servers " + String(cString: rd_kafka_mock_cluster_bootstraps(cluster)))
    while let line = readLine() {
        let words = line.split(separator: " ").map(String.init)
        say(obey(words, cluster) ? "ok" : "error")
    }
}

/// - `topic NAME PARTITIONS`
/// - `fail APIKEY CODE…`: the next requests of this kind get these errors; `clear APIKEY`
/// - `topicfail NAME CODE`; `down BROKER`, `up BROKER`, `rtt BROKER MS`
/// - `leader NAME PARTITION BROKER`
func obey(_ words: [String], _ cluster: OpaquePointer) -> Bool {
    let numbers = words.dropFirst().compactMap { Int32($0) }
    switch (words.first, words.count) {
    case ("topic", 3): return isFine(rd_kafka_mock_topic_create(cluster, words[1], numbers[0], 1))
    case ("fail", 3...):
        let codes = numbers.dropFirst().map { rd_kafka_resp_err_t(rawValue: $0) }
        codes.withUnsafeBufferPointer {
            rd_kafka_mock_push_request_errors_array(cluster, Int16(numbers[0]), $0.count, $0.baseAddress)
        }
        return true
    case ("clear", 2):
        rd_kafka_mock_clear_request_errors(cluster, Int16(numbers[0]))
        return true
    case ("topicfail", 3):
        rd_kafka_mock_topic_set_error(cluster, words[1], rd_kafka_resp_err_t(rawValue: numbers[0]))
        return true
    case ("down", 2): return isFine(rd_kafka_mock_broker_set_down(cluster, numbers[0]))
    case ("up", 2): return isFine(rd_kafka_mock_broker_set_up(cluster, numbers[0]))
    case ("rtt", 3): return isFine(rd_kafka_mock_broker_set_rtt(cluster, numbers[0], numbers[1]))
    case ("leader", 4): return isFine(rd_kafka_mock_partition_set_leader(cluster, words[1], numbers[0], numbers[1]))
    default: return false
    }
}

func isFine(_ code: rd_kafka_resp_err_t) -> Bool { code == RD_KAFKA_RESP_ERR_NO_ERROR }

func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
}
