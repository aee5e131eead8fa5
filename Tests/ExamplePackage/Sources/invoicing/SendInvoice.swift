import JobKit
import Tenancy

struct SendInvoice: Job {
    struct Payload: Codable, Sendable { let invoice: Int }
    static let kind: JobKind = "send-invoice"
    static let policy = JobPolicy(queue: "invoices", timeLimit: .seconds(60))
    static let schema = JSONSchema.object(["invoice": .integer(minimum: 1)], required: ["invoice"])

    func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let total = try context.withSession { session in
            try session.query("SELECT gross_amount::text FROM invoices WHERE id = $1::bigint", [payload.invoice]).first?
                .text(0)
        }
        guard let total else { return .discarded("there is no invoice \(payload.invoice)") }
        try context.step("sent") { context.log.info("invoice sent", ["total": .string(total)]) }
        return .finished(JobResult(summary: ["total": .string(total)]))
    }
}
