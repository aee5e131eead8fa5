public import JobKit
public import Mail
public import Postgres
import TenantBranding

/// Sends one reminder of a trial's end, at most once (LIFE-1).
///
/// 1. Asks the control database what is to be done as everything is now: a tenant that converted, is suspended, suppressed or has no contact ends the
/// reminder, outside the sending hours it waits. 2. Makes the mail. 3. Claims the reminder under this attempt's lease, with everything checked once
/// more. 4. Sends. 5. Records how that ended. An attempt that dies after 3 leaves the reminder unknown: it is listed, and nobody sends it again by
/// itself. Safe to run twice.
public struct ReminderJob: Job {
    /// The arguments.
    public struct Payload: Codable, Sendable {
        /// Which reminder.
        public let reminder: Int64
        /// Creates the arguments.
        public init(reminder: Int64) { self.reminder = reminder }
    }

    /// `trial-reminder`.
    public static let kind: JobKind = "trial-reminder"
    /// On `reminders`, for trials only. Its attempts outlast the longest time that a reminder may be late by default.
    public static let policy = JobPolicy(
        queue: "reminders", timeLimit: .seconds(300), attemptLimit: 60,
        backoff: .exponentialJitter(base: .seconds(15), cap: .seconds(3600)), statuses: [.trial], otherwise: .cancel,
        feature: "reminders")
    /// The reminder's number; housekeeping enqueues it.
    public static let schema = JSONSchema.object(["reminder": .integer(minimum: 1)], required: ["reminder"])

    private let settings: ReminderSettings
    private let control: Pool

    /// Creates the job; `control` reaches the control database.
    public init(settings: ReminderSettings, control: Pool) {
        self.settings = settings
        self.control = control
    }

    /// Sends, waits, or ends the reminder.
    public func run(_ payload: Payload, in context: JobContext) throws -> JobOutcome {
        let ledger = ReminderLedger(control: control, context: context, reminder: payload.reminder)
        // Another contact between the two questions begins anew; a third time is for another attempt.
        for _ in 0..<3 {
            let facts = try ledger.begin()
            switch facts["action"]?.string {
            case "send": break
            case "wait": return .snoozed(.seconds(min(facts["wait_seconds"]?.int ?? 60, 86_400)))
            default: return try end(facts)
            }
            guard let from = settings.from else {
                throw JobFailure(
                    "mail_not_configured", "REEVE_MAIL_FROM is not set on this worker", .retryAfter(.seconds(300)))
            }
            let to: MailAddress
            do {
                to = try MailAddress(facts["contact"]?["email"]?.string ?? "", name: facts["contact"]?["name"]?.string)
            } catch {
                try ledger.fail("the contact's address is none: \(error.message)")
                throw JobFailure("bad_address", "the contact's address is none: \(error.message)", .giveUp)
            }
            let mail = try message(facts, payload.reminder, from, to, context.tenant)
            try context.throwIfStopped()
            let claimed = try ledger.begin(claimingFor: to.address)
            switch claimed["action"]?.string {
            case "send": return try send(mail, ledger)
            case "again": continue
            case "wait": return .snoozed(.seconds(min(claimed["wait_seconds"]?.int ?? 60, 86_400)))
            default: return try end(claimed)
            }
        }
        throw JobFailure("contact_changes", "the contact changes too often", .retry)
    }

    /// The mail as it would be sent, for `reeve reminders preview`.
    public func message(
        _ facts: JSON, _ reminder: Int64, _ from: MailAddress, _ to: MailAddress, _ tenant: Tenant
    ) throws -> MailMessage {
        let template = try ReminderTemplates(folder: settings.templates)
            .template(for: tenant, locale: facts["locale"]?.string ?? "en")
        let brand = try Branding(files: ReportFile(root: settings.branding ?? "/nonexistent"), tenant: tenant)
        return ReminderMail(template: template, brand: brand, facts: facts, settings: settings, tenant: tenant)
            .message(id: reminder, from: from, to: to)
    }

    private func end(_ facts: JSON) throws -> JobOutcome {
        let reason = facts["reason"]?.string ?? "ended"
        if reason == "unknown" {
            throw JobFailure(
                "outcome_unknown",
                "an earlier attempt may have sent it; see: reeve reminders list --state unknown", .giveUp)
        }
        return .obsolete(reason)
    }

    private func send(_ mail: MailMessage, _ ledger: ReminderLedger) throws -> JobOutcome {
        do { try settings.mailer.send(mail) } catch {
            switch error.kind {
            case .temporary: try ledger.end("queued", error.message)
            case .permanent: try ledger.end("failed", error.message)
            case .unknown: try ledger.end("unknown", error.message)
            }
            throw JobFailure("mail_\(error.kind.rawValue)", error.message, error.disposition)
        }
        try ledger.end("sent", nil)
        return .finished(JobResult(summary: ["message_id": .string(mail.messageID)]))
    }
}
