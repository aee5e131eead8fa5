import Dispatch
public import JobKit
public import Mail
public import Postgres
import Synchronization
public import WorkerEngine

/// Delivers what `reeve.notify_people` wrote: takes what is due, tells every target that was not told yet, and records it. At least once: the
/// `Message-ID` and the webhook's `Idempotency-Key` are the same each time. What fails is tried again, later each time, and never given up.
public final class NoticeDelivery: Sendable {
    /// How notices leave.
    public struct Settings: Sendable {
        /// Sends mails.
        public var mailer: any Mailer
        /// Who sends them; without it no mail is sent.
        public var from: MailAddress?
        /// Who of the fleet is told what compliance has to know; nobody: such notices wait for a worker that knows.
        public var compliance: [NoticeTarget]
        /// Signs and posts; without it webhooks are not told.
        public var webhook: Webhook?

        /// Creates the record.
        public init(mailer: any Mailer, from: MailAddress?, compliance: [NoticeTarget], webhook: Webhook?) {
            self.mailer = mailer
            self.from = from
            self.compliance = compliance
            self.webhook = webhook
        }

        /// The words of `reeve.notice.recipients` that a worker with these settings can reach.
        var recipients: [String] {
            (compliance.isEmpty ? [] : ["compliance"]) + (from == nil || mailer is NoMailer ? [] : ["technical"])
        }
    }

    private let settings: Settings
    private let control: Pool
    private let log: Log
    private let queue = DispatchQueue(label: "reeve.notices")
    private let isBusy = Mutex(false)

    /// Delivers with these settings.
    public init(_ settings: Settings, control: Pool, log: Log) {
        self.settings = settings
        self.control = control
        self.log = log
    }

    /// The recurring task. Mail servers may be slow: it only starts a round on a thread of its own, unless one is under way.
    public var task: HousekeepingTask {
        HousekeepingTask(name: "notices", interval: .seconds(2)) { [self] in
            guard !settings.recipients.isEmpty,
                isBusy.withLock({ busy in
                    defer { busy = true }
                    return !busy
                })
            else { return HousekeepingReport() }
            queue.async { [self] in
                defer { isBusy.withLock { $0 = false } }
                do { while try deliver() == Self.batch {} } catch {
                    log.warning("notices cannot be delivered now", ["error": .string("\(error)")])
                }
            }
            return HousekeepingReport()
        }
    }

    private static let batch = 20

    /// Takes what is due and delivers it; returns how many were taken. Blocks.
    @discardableResult
    public func deliver() throws -> Int {
        let found = try control.withConnection { connection in
            try connection.execute(
                """
                SELECT to_jsonb(n) || jsonb_build_object('now', extract(epoch FROM reeve.clock())::bigint)
                FROM reeve.claim_notices($1::text[], $2::int, interval '1 hour') n
                """, [settings.recipients, Int64(Self.batch)]
            ).map { try $0.json(0) }
        }
        for item in found {
            guard let notice = Notice(item) else { continue }
            var delivered: [String] = []
            var problems: [String] = []
            for target in targets(of: notice) where !notice.delivered.contains(target.key) {
                do {
                    try tell(target.value, notice)
                    delivered.append(target.key)
                } catch { problems.append("\(target.key): \(error.message)") }
            }
            if targets(of: notice).isEmpty {
                problems.append("the tenant has no technical contact with a mail address")
            }
            let error: String? = problems.isEmpty ? nil : problems.joined(separator: "; ")
            _ = try control.withConnection {
                try $0.execute(
                    "SELECT reeve.settle_notice($1::bigint, $2::uuid, $3::text[], $4::text)",
                    [notice.id, notice.claim, delivered, error])
            }
            let log = log.with(["notice": .int(notice.id), "topic": .string(notice.topic)])
            if let error {
                log.warning("a notice was not delivered; it is tried again", ["error": .string(error)])
            } else {
                log.info("notice delivered")
            }
        }
        return found.count
    }

    /// By the name under which it is remembered that they were told: a tenant's contact may change, and is no data of the fleet's.
    private func targets(of notice: Notice) -> [String: NoticeTarget] {
        if notice.recipients == "compliance" {
            return Dictionary(settings.compliance.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        }
        guard let email = notice.contact?["email"]?.string,
            let address = try? MailAddress(email, name: notice.contact?["name"]?.string)  // said as no contact
        else { return [:] }
        return ["technical": .mail(address)]
    }

    private func tell(_ target: NoticeTarget, _ notice: Notice) throws(MailError) {
        switch target {
        case .mail(let address):
            guard let from = settings.from else {
                throw MailError(.temporary, "REEVE_MAIL_FROM is not set")
            }
            try settings.mailer.send(notice.message(from: from, to: address))
        case .webhook(let url):
            guard let webhook = settings.webhook else {
                throw MailError(.temporary, "REEVE_WEBHOOK_SECRET is not set: nothing is posted unsigned")
            }
            try webhook.post(notice.document.text, to: url, key: "reeve-notice-\(notice.id)", at: notice.now)
        }
    }
}
