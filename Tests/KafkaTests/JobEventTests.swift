import Foundation
import JobKit
import Kafka
import KafkaIntake
import Testing

/// What is a job's event and what is not: no broker needed.
@Suite("Job events")
struct JobEventTests {
    private func structured(_ text: String) throws -> JobEvent {
        try JobEvent(value: Array(text.utf8), headers: [])
    }

    private func reason(_ text: String, _ headers: [KafkaHeader] = []) -> String? {
        do throws(JobEvent.Refusal) { _ = try JobEvent(value: Array(text.utf8), headers: headers) } catch {
            return error.reason
        }
        return nil
    }

    @Test("a structured event keeps its text whole, so that no number changes on the way")
    func whole() throws {
        let text = """
            {"specversion":"1.0","type":"reeve.job.report","source":"/billing","id":"7","tenantid":"ACME","data":{"amount":12345678901234567890.10},
            "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","runat":"2027-01-02T03:04:05.5+01:00","priority":-3}
            """
        let event = try structured(text)
        #expect(event.body == text && event.isWhole)
        #expect(event.tenant == "acme")
        #expect(event.runAt == "2027-01-02T02:04:05.500Z")
        #expect(event.priority == -3)
        #expect(event.traceparent?.hasPrefix("00-0af7") == true)
    }

    @Test("a binary event takes its attributes from headers")
    func binary() throws {
        let headers = [
            "ce_specversion": "1.0", "ce_type": "reeve.job.report", "ce_source": "s", "ce_id": "1",
            "ce_tenantid": "acme",
        ]
        .map { KafkaHeader($0.key, Array($0.value.utf8)) }
        let event = try JobEvent(
            value: Array(#"{"n":1}"#.utf8),
            headers: headers + [KafkaHeader("content-type", Array("application/json; charset=utf-8".utf8))])
        #expect(event.body == #"{"n":1}"# && !event.isWhole && event.type == "reeve.job.report")
        #expect(try JobEvent(value: nil, headers: headers).body == nil)
        #expect(reason("{", headers) == "not_json")
        #expect(reason("1", headers + [KafkaHeader("ce_source", [0xff])]) == "not_cloudevent")
        #expect(reason("<a/>", headers + [KafkaHeader("content-type", Array("text/xml".utf8))]) != nil)
    }

    @Test(
        "what is no event is refused with the reason",
        arguments: [
            ("", "empty"), ("hello", "not_json"), ("[1]", "not_cloudevent"),
            (#"{"specversion":"0.3"}"#, "not_cloudevent"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":"1"}"#, "tenant_missing"),
            (#"{"specversion":"1.0","type":"t","source":"s","tenantid":"acme"}"#, "not_cloudevent"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":"\u0000","tenantid":"acme"}"#, "not_cloudevent"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":[],"tenantid":"acme"}"#, "not_cloudevent"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme","runat":"soon"}"#, "field"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme","priority":"high"}"#, "field"),
            (
                #"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme","data_base64":"AA=="}"#,
                "not_cloudevent"
            ),
            (String(repeating: "[", count: 200) + String(repeating: "]", count: 200), "too_deep"),
            (#"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme"} x"#, "not_json"),
        ])
    func refused(_ text: String, _ expected: String) { #expect(reason(text) == expected) }

    @Test("a trace that is wrong loses the trace, not the job")
    func trace() throws {
        let event = try structured(
            #"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme","traceparent":"nonsense"}"#)
        #expect(event.traceparent == nil)
    }

    @Test("random bytes and cut events never trap")
    func noise() {
        var generator = SystemRandomNumberGenerator()
        let good = Array(
            #"{"specversion":"1.0","type":"t","source":"s","id":"1","tenantid":"acme","data":{"a":[1,"ü\n"]}}"#.utf8)
        for round in 0..<2000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            _ = try? JobEvent(value: round % 2 == 0 ? bytes : Array(good.prefix(round % good.count)), headers: [])
        }
    }

    @Test("topics are whole names, with the prefix or not at all")
    func topics() throws {
        let names = try #require(TopicNames(prefix: "prod."))
        #expect(names.queue(of: "prod.acme.reports") == "acme.reports")
        #expect(names.queue(of: "prod.acme.jobs") == "acme.jobs")
        for other in [
            "acme.reports", "prod.acme.events", "prod.acme.audit", "prod.acme", "prod.acme.reports.x", "prod.-a.b",
            "prod.ac.b", "prodxacme.reports", "prod.Acme.reports",
        ] {
            #expect(names.queue(of: other) == nil, "\(other)")
        }
        #expect(TopicNames(prefix: "a b") == nil)
    }
}
