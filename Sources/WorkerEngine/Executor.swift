import JobKit

/// Runs one claimed job on a slot's thread: admit, run, classify. Reads like a specification; touches no queue.
struct Executor: Sendable {
    let registry: JobRegistry
    let check: TenantCheck
    let running: RunningJobs
    let suspects = SuspectGate()
    let resources: JobResources
    let store: any AttemptStore
    let log: Log

    /// Runs the job once and says how it ended. Blocks for as long as the handler does. `isCurrent` says whether the lease under
    /// which it was claimed still lasts; it is asked once the attempt can be told to stop.
    func run(_ job: ClaimedJob, tenant: Tenant?, isCurrent: () -> Bool = { true }) -> Settlement {
        Settlement(
            jobID: job.id, leaseID: job.leaseID, tenantID: job.tenantID,
            outcome: outcome(of: job, tenant: tenant, isCurrent: isCurrent))
    }

    /// Gives a job back that this worker may not start any more.
    static func release(_ job: ClaimedJob) -> Settlement {
        Settlement(jobID: job.id, leaseID: job.leaseID, outcome: .release)
    }

    private func outcome(of job: ClaimedJob, tenant: Tenant?, isCurrent: () -> Bool) -> Settlement.Outcome {
        let found: AnyJob?
        do { found = try registry.find(job.kind) } catch {
            log.warning(
                "the kind could not be looked up; the job waits",
                [
                    "job": .int(job.id), "tenant_id": .string(job.tenantID.description),
                    "kind": .string(job.kind.rawValue), "error": .string("\(error)"),
                ])
            return .snooze(.seconds(5))
        }
        guard let kind = found else {
            // A rolling release: another worker may know it.
            log.warning(
                "this worker does not know the kind",
                [
                    "job": .int(job.id), "tenant_id": .string(job.tenantID.description),
                    "kind": .string(job.kind.rawValue),
                ])
            return .snooze(.seconds(30))
        }
        guard case .run = check.verdict(queue: job.queue, tenant: tenant, policy: kind.policy), let tenant else {
            return refusal(of: job, verdict: check.verdict(queue: job.queue, tenant: tenant, policy: kind.policy))
        }
        if job.isSuspect {
            guard suspects.tryEnter() else { return .wait(Executor.suspectTurn) }
            log.info(
                "a suspect runs; its worker crashed while it ran before",
                ["job": .int(job.id), "tenant_id": .string(job.tenantID.description)])
        }
        defer { if job.isSuspect { suspects.leave() } }
        let stop = StopSignal()
        let started = ContinuousClock.now
        let deadline = started + kind.policy.timeLimit
        let entry = HeldJob(id: job.id, lease: job.leaseID)
        running.insert(entry, tenant: job.tenantID, stop: stop, deadline: deadline)
        defer { running.remove(entry) }
        // A lease that was lost before the attempt could be told so: nobody else would tell it.
        guard isCurrent() else { return .release }
        let attempt = JobAttempt(
            jobID: job.id, tenant: tenant, queue: job.queue, kind: job.kind, number: job.attempt, leaseID: job.leaseID,
            traceparent: job.traceparent)
        let tail = LogTail()
        let context = JobContext(
            attempt: attempt, deadline: deadline, stop: stop, log: log.keeping(tail), resources: resources, store: store
        )
        let outcome: Settlement.Outcome
        do {
            outcome = Executor.outcome(of: try kind.run(args: job.args, in: context))
        } catch {
            outcome = Executor.outcome(of: error, stopped: stop.reason, attempt: job.attempt, policy: kind.policy)
            keep(tail, outcome, attempt)
            report(error, outcome, context)
        }
        let took = ContinuousClock.now - started
        // Short successes are not worth a line each: the history has them.
        if took > .milliseconds(100) {
            context.log.info("attempt ended", ["seconds": .double((took / .milliseconds(1)).rounded() / 1000)])
        }
        return outcome
    }

    /// Keeps what the attempt logged where its story is told, if it failed. Nothing depends on it.
    private func keep(_ tail: LogTail, _ outcome: Settlement.Outcome, _ attempt: JobAttempt) {
        switch outcome {
        case .retry, .dead: break
        default: return
        }
        let text = tail.text
        if text.isEmpty { return }
        do { try store.recordLog(text, of: attempt) } catch {
            log.debug("an attempt's log was not kept", ["job": .int(attempt.jobID), "error": .string("\(error)")])
        }
    }

    private func refusal(of job: ClaimedJob, verdict: TenantCheck.Verdict) -> Settlement.Outcome {
        guard case .refuse(let refused) = verdict else { return .release }
        switch refused {
        case .hold(let reason, let limit):
            if limit != nil { warn(job, reason) }
            return .hold(reason: reason, atMost: limit, refused: true)
        case .cancel(let reason): return .cancel(reason: reason, refused: true)
        case .dead(let reason):
            warn(job, reason)
            return .dead(reason: reason, error: nil, refused: true)
        }
    }

    private func warn(_ job: ClaimedJob, _ reason: String) {
        log.warning(
            "job refused",
            [
                "job": .int(job.id), "tenant_id": .string(job.tenantID.description), "queue": .string(job.queue),
                "reason": .string(reason),
            ])
    }

    /// How long a suspect waits for another one to end; with jitter, so that many do not come back at once.
    private static var suspectTurn: Duration { .milliseconds(Int64.random(in: 500...1500)) }

    /// What a handler's own answer means for the row.
    static func outcome(of outcome: JobOutcome) -> Settlement.Outcome {
        switch outcome {
        case .finished(let result): .succeeded(result)
        case .snoozed(let wait): .snooze(wait)
        case .obsolete(let reason): .cancel(reason: storable(reason), refused: false)
        case .discarded(let reason): .dead(reason: storable(reason), error: nil, refused: false)
        }
    }

    /// What an error means for the row. Once the attempt was told to stop, the reason for that decides.
    static func outcome(of error: any Error, stopped: StopReason?, attempt: Int, policy: JobPolicy)
        -> Settlement.Outcome
    {
        let text = Executor.text(of: error)
        switch stopped {
        case .cancelled: return .cancel(reason: "cancelled", refused: false)
        case .leaseLost, .shutdown: return .release
        case .deadline:
            return .retry(
                after: wait(attempt, policy), error: "time limit of \(policy.timeLimit) reached: \(text)")
        case nil: break
        }
        switch (error as? any DispositionedError)?.disposition ?? .retry {
        case .retry: return .retry(after: wait(attempt, policy), error: text)
        case .retryAfter(let delay): return .retry(after: delay, error: text)
        case .hold(let reason, let delay): return .hold(reason: storable(reason), atMost: delay, refused: false)
        case .giveUp: return .dead(reason: "gave up", error: text, refused: false)
        case .interrupted: return .release
        }
    }

    private static func wait(_ attempt: Int, _ policy: JobPolicy) -> Duration {
        var generator = SystemRandomNumberGenerator()
        return policy.backoff.delay(afterAttempt: attempt, using: &generator)
    }

    /// The text that is stored: at most 2,000 bytes; only errors that word themselves may say more than their type.
    private static func text(of error: any Error) -> String {
        if let failure = error as? any DispositionedError & CustomStringConvertible {
            return storable(failure.description)
        }
        if let described = error as? any CustomStringConvertible { return storable(described.description) }
        return storable("\(type(of: error))")
    }

    /// At most 2,000 bytes, and no NUL: PostgreSQL refuses a text that holds one, and the end of the job with it.
    private static func storable(_ text: String) -> String {
        let text = text.utf8.contains(0) ? text.replacing("\0", with: "\u{fffd}") : text
        guard text.utf8.count > 2000 else { return text }
        return String(decoding: text.utf8.prefix(1990), as: UTF8.self) + "…"
    }

    private func report(_ error: any Error, _ outcome: Settlement.Outcome, _ context: JobContext) {
        let text = JSON.string(Executor.text(of: error))
        switch outcome {
        case .release, .cancel, .snooze, .wait, .hold: context.log.info("attempt stopped", ["error": text])
        case .retry(let wait, _):
            context.log.warning("attempt failed", ["error": text, "retry_in_seconds": .int(wait.components.seconds)])
        case .dead: context.log.error("job is dead", ["error": text])
        case .succeeded: break
        }
    }
}
