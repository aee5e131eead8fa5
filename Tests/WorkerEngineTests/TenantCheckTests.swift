import FoundationEssentials
import JobKit
import Testing

@testable import WorkerEngine

@Suite("TenantCheck")
struct TenantCheckTests {
    private let check = TenantCheck(region: "local")

    @Test(
        "a job on another tenant's queue is a spoof, however alike the names are",
        arguments: [
            "globex.work", "acme2.work", "acm.work", "acme", "acme.", ".acme.work", "ACME.work", "acmé.work", "",
            "acme-work", "a\u{301}cme.work", "acme\u{301}.work",
        ])
    func spoof(queue: String) {
        #expect(
            check.verdict(queue: queue, tenant: tenant("acme"), policy: policy())
                == .refuse(.dead("queue_of_another_tenant")))
    }

    @Test(
        "a job on the tenant's own queue runs, also when the queue's name has dots",
        arguments: ["acme.work", "acme.a.b", "acme.x"])
    func own(queue: String) {
        #expect(check.verdict(queue: queue, tenant: tenant("acme"), policy: policy()) == .run)
    }

    @Test("a tenant that does not exist has no jobs")
    func unknown() {
        #expect(check.verdict(queue: "acme.work", tenant: nil, policy: policy()) == .refuse(.dead("tenant_unknown")))
    }

    @Test("another region's job is held for a worker of that region, not ended")
    func region() {
        let verdict = check.verdict(queue: "acme.work", tenant: tenant("acme", region: "eu"), policy: policy())
        #expect(verdict == .refuse(.hold("tenant_in_another_region", atMost: .seconds(300))))
    }

    @Test(
        "each status that a kind allows runs it and no other does", arguments: TenantStatus.allCases,
        TenantStatus.allCases)
    func statuses(allowed: TenantStatus, actual: TenantStatus) {
        let verdict = check.verdict(
            queue: "acme.work", tenant: tenant("acme", status: actual), policy: policy(statuses: [allowed]))
        #expect((verdict == .run) == (allowed == actual))
    }

    @Test("a suspended tenant's job is held until it comes back, another status ends it")
    func held() {
        func verdict(_ status: TenantStatus) -> TenantCheck.Verdict {
            check.verdict(queue: "acme.work", tenant: tenant("acme", status: status), policy: policy())
        }
        #expect(verdict(.suspended) == .refuse(.hold("tenant_suspended", atMost: nil)))
        #expect(verdict(.churned) == .refuse(.dead("tenant_churned")))
        #expect(verdict(.archived) == .refuse(.dead("tenant_archived")))
    }

    @Test("a reminder of a trial that has converted is cancelled as obsolete")
    func obsolete() {
        let reminder = policy(statuses: [.trial], otherwise: .cancel)
        let verdict = check.verdict(queue: "acme.work", tenant: tenant("acme", status: .active), policy: reminder)
        #expect(verdict == .refuse(.cancel("tenant_active")))
    }

    @Test("a feature that the tier does not include is refused, one that it includes is not")
    func features() {
        let api = policy(feature: "api")
        #expect(
            check.verdict(queue: "acme.work", tenant: tenant("acme", features: ["apis"]), policy: api)
                == .refuse(.dead("feature_api_not_in_tier")))
        #expect(check.verdict(queue: "acme.work", tenant: tenant("acme", features: ["api"]), policy: api) == .run)
    }

    @Test("the checks come in order: a spoof on a suspended tenant of another region is a spoof")
    func order() {
        let other = tenant("acme", status: .suspended, region: "eu")
        #expect(
            check.verdict(queue: "globex.work", tenant: other, policy: policy())
                == .refuse(.dead("queue_of_another_tenant")))
        guard
            case .refuse(.hold("tenant_in_another_region", _)) = check.verdict(
                queue: "acme.work", tenant: other, policy: policy())
        else {
            Issue.record("the region comes before the status")
            return
        }
    }

    @Test("a worker refuses before the handler runs, and records each refusal as such")
    func inWorker() {
        let (acme, gone) = (tenant("acme"), tenant("gone", status: .suspended))
        let (trial, abroad) = (tenant("trial", status: .active), tenant("abroad", region: "eu"))
        let source = MemoryJobSource(tenants: [acme, gone, trial, abroad])
        let ids = [
            source.enqueue(acme, kind: "work", queue: "gone.work"), source.enqueue(tenant("ghost"), kind: "work"),
            source.enqueue(abroad, kind: "work"), source.enqueue(gone, kind: "work"),
            source.enqueue(trial, kind: "remind"), source.enqueue(acme, kind: "feature"),
        ].flatMap { $0 }
        let ran = Counter()
        let body: @Sendable (JobContext) -> JobOutcome = { _ in
            ran.add()
            return .done
        }
        let jobs = [
            job("work", policy(), body), job("remind", policy(statuses: [.trial], otherwise: .cancel), body),
            job("feature", policy(feature: "api"), body),
        ]
        let worker = RunningWorker(source, jobs, .one(4))
        defer { worker.end() }
        #expect(eventually { ids.allSatisfy { source.ends($0).count == 1 } })
        #expect(ran.value == 0)
        let ends = ids.map { id in
            switch source.ends(id).first {
            case .dead(let reason, nil, true): "dead \(reason)"
            case .hold(let reason, let limit, true): "hold \(reason) \(limit.map { "\($0)" } ?? "")"
            case .cancel(let reason, true): "cancel \(reason)"
            default: "?"
            }
        }
        #expect(
            ends == [
                "dead queue_of_another_tenant", "dead tenant_unknown", "hold tenant_in_another_region 300.0 seconds",
                "hold tenant_suspended ", "cancel tenant_active", "dead feature_api_not_in_tier",
            ])
    }

    @Test("a claim that saw a newer record of the tenant makes the worker read it again; an equal one does not")
    func freshness() throws {
        let acme = tenant("acme")
        let source = MemoryJobSource(tenants: [acme])
        let cache = TenantCache(source: source)
        func claimed(_ version: Int64) -> ClaimedJob {
            ClaimedJob(
                id: 1, tenantID: acme.id, tenantVersion: version, queue: "acme.work", kind: "work", attempt: 1,
                isFirst: true, leaseID: UUID(), args: "{}", traceparent: nil)
        }
        #expect(try cache.tenants(of: [claimed(1), claimed(1)])[acme.id]?.status == .active)
        source.with { $0.tenants[acme.id] = tenant("acme", status: .suspended, version: 2, id: acme.id) }
        #expect(try cache.tenants(of: [claimed(1)])[acme.id]?.status == .active)
        #expect(source.with { $0.calls[.tenants] } == 1)
        #expect(try cache.tenants(of: [claimed(2)])[acme.id]?.status == .suspended)
        #expect(try cache.tenants(of: [claimed(1)])[acme.id]?.status == .suspended)
        #expect(source.with { $0.calls[.tenants] } == 2)
    }

    @Test("a tenant that has gone is not answered from memory")
    func gone() throws {
        let acme = tenant("acme")
        let source = MemoryJobSource(tenants: [acme])
        let cache = TenantCache(source: source)
        func claimed(_ version: Int64) -> ClaimedJob {
            ClaimedJob(
                id: 1, tenantID: acme.id, tenantVersion: version, queue: "acme.work", kind: "work", attempt: 1,
                isFirst: true, leaseID: UUID(), args: "{}", traceparent: nil)
        }
        _ = try cache.tenants(of: [claimed(1)])
        source.with { $0.tenants = [:] }
        #expect(try cache.tenants(of: [claimed(2)]).isEmpty)
        #expect(try cache.tenants(of: [claimed(1)]).isEmpty)
    }
}
