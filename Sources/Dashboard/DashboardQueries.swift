import HTTP
import JobKit
import Postgres

/// What the dashboard asks the database: each a function of the request, bounded in rows and by keys, never a count of a large table.
struct DashboardQueries: Sendable {
    typealias Query = @Sendable (Connection, HTTPRequest, DashboardUser) throws -> JSON

    /// By the path's first word behind `/api/`; a second word is what it is about.
    static func find(_ path: String) -> (query: Query, subject: String?)? {
        let words = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard words.count >= 3, words.count <= 4, words[0].isEmpty, words[1] == "api" else { return nil }
        let subject = words.count == 4 ? words[3] : nil
        let name = subject == nil ? words[2] : words[2] + "/"
        return all[name].map { ($0, subject) }
    }

    private static let all: [String: Query] = [
        "overview": { connection, request, _ in
            let width = request.queryValue("width") == "hour" ? "hour" : "minute"
            let slots = request.queryValue("slots").flatMap { Int($0) } ?? 60
            return try connection.execute(
                "SELECT reeve.overview($1::text, $2::int)", [width, min(max(slots, 5), 744)])[0]
                .json(0)
        },
        "tenants": { connection, request, _ in
            let isBusiest = request.queryValue("busiest") == "1"
            let found = try rows(
                connection, "SELECT reeve.tenant_page($1::text, $2::text, $3::text, $4::boolean, $5::text, 50)",
                [
                    request.queryValue("search"), request.queryValue("tier"), request.queryValue("status"), isBusiest,
                    request.queryValue("after"),
                ])
            return page(found, next: isBusiest ? nil : keyset(found, 50, "code"))
        },
        "tenants/": { connection, request, _ in
            let code = subject(request)
            let found = try rows(
                connection, "SELECT to_jsonb(t) - 'contacts' - 'flags' FROM reeve.tenant t WHERE t.code = $1::text",
                [code])
            guard let tenant = found.first else { throw NotFound() }
            let figures = try rows(connection, "SELECT reeve.tenant_metrics(NULL, $1::text, 1)", [code]).first ?? .null
            let backup = try rows(
                connection, "SELECT to_jsonb(b) FROM reeve.backup_status b WHERE b.tenant_code = $1::text", [code])
            let holds = try rows(
                connection,
                """
                SELECT to_jsonb(h) FROM reeve.tenant_hold h JOIN reeve.tenant t ON t.id = h.tenant_id
                WHERE t.code = $1::text AND h.released_at IS NULL ORDER BY h.id DESC LIMIT 20
                """, [code])
            let blocks = try rows(
                connection,
                """
                SELECT to_jsonb(b) || jsonb_build_object('progress', CASE WHEN b.mode <> 'pause' THEN reeve.block_progress(b.id) END)
                FROM reeve.block_list b WHERE b.target = 'tenant:' || $1::text
                  OR (b.scope = 'queue' AND $1::text LIKE replace(split_part(b.target, '.', 1), '*', '%')) ORDER BY b.since DESC LIMIT 50
                """, [code])
            return [
                "tenant": tenant, "figures": figures, "backup": backup.first ?? .null, "holds": .array(holds),
                "blocks": .array(blocks),
            ]
        },
        "queues": { connection, request, _ in
            let found = try rows(
                connection, "SELECT reeve.queue_page($1::text, $2::text, 50)",
                [request.queryValue("tenant"), request.queryValue("after")])
            let blocks = try rows(
                connection,
                """
                SELECT to_jsonb(b) || jsonb_build_object('progress', CASE WHEN b.mode <> 'pause' THEN reeve.block_progress(b.id) END)
                FROM reeve.block_list b ORDER BY b.since DESC LIMIT 100
                """, [])
            let owners = Set(found.compactMap { $0["tenant_code"]?.string }).count
            return [
                "rows": .array(found), "blocks": .array(blocks),
                "next": owners >= 50 ? found.last?["tenant_code"] ?? .null : .null,
            ]
        },
        "jobs": { connection, request, _ in
            let states = request.queryValue("state").map { $0.split(separator: ",").map(String.init) }
            return try connection.execute(
                "SELECT reeve.job_page($1::text[], $2::text, $3::text, $4::text, $5::text, $6::bigint, 50)",
                [
                    states, request.queryValue("tenant"), request.queryValue("queue"), request.queryValue("kind"),
                    request.queryValue("search"), request.queryValue("before").flatMap { Int64($0) },
                ])[0].json(0)
        },
        "jobs/": { connection, request, user in
            guard let id = Int64(subject(request)),
                let detail = try connection.execute("SELECT reeve.job_detail($1::bigint)", [id])[0].optionalJSON(0)
            else { throw NotFound() }
            var members = detail.object ?? [:]
            if user.role < .operator {
                members["args"] = nil
                members["result"] = nil
            }
            members["args_hidden"] = .bool(members["args"] == nil)
            let story = try connection.execute("SELECT reeve.job_story($1::bigint)", [id])[0].optionalJSON(0)
            members["attempts"] = story?["attempts"]
            members["cause"] = story?["cause"]
            members["explain"] = .string(
                try connection.execute("SELECT reeve.explain($1::bigint)", [id])[0].text(0))
            members["likely_at"] = try connection.execute("SELECT reeve.explain_job($1::bigint)", [id])[0].json(0)[
                "likely_at"]
            return .object(members)
        },
        "dead": { connection, request, _ in
            var filter: [String: JSON] = ["redriven": .bool(false)]
            for name in ["tenant", "kind"] { filter[name] = request.queryValue(name).map { JSON.string($0) } }
            return page(
                try rows(
                    connection, "SELECT to_jsonb(g) FROM reeve.dead_groups($1::jsonb, 50) g", [JSON.object(filter)]))
        },
        "workers": { connection, _, _ in
            page(
                try rows(
                    connection,
                    """
                    SELECT to_jsonb(w) || jsonb_build_object('late', w.state = 'alive' AND w.lease_until < reeve.clock()) FROM reeve.worker_list w
                    WHERE w.state IN ('alive', 'stopping') OR w.ended_at > reeve.clock() - interval '1 day'
                    ORDER BY w.state, w.started_at DESC LIMIT 500
                    """, []))
        },
        "schedules": { connection, request, _ in
            let found = try rows(
                connection,
                """
                SELECT to_jsonb(s) - 'args' FROM reeve.schedule_list s
                WHERE ($1::text IS NULL OR s.tenant_code = $1::text) AND s.name > coalesce($2::text, '') ORDER BY s.name LIMIT 100
                """, [request.queryValue("tenant"), request.queryValue("after")])
            return page(found, next: keyset(found, 100, "name"))
        },
        "batches": { connection, request, _ in
            let found = try rows(
                connection,
                """
                SELECT to_jsonb(l) FROM reeve.batch_list l WHERE l.id IN (SELECT b.id FROM reeve.batch b
                  WHERE b.id < coalesce($1::bigint, 9223372036854775807) ORDER BY b.id DESC LIMIT 30) ORDER BY l.id DESC
                """, [request.queryValue("before").flatMap { Int64($0) }])
            return page(found, next: keyset(found, 30, "id"))
        },
        "backups": { connection, request, _ in
            let found = try rows(
                connection,
                """
                SELECT to_jsonb(s) FROM (
                  SELECT t.code, t.tier, b.last_backup_at, b.last_verified_at, b.last_proven_at, b.last_rto_seconds, b.unproven
                  FROM (SELECT x.code, x.tier FROM reeve.tenant x WHERE x.status <> 'archived' AND x.code > coalesce($1::text, '') COLLATE "C"
                        AND ($2::text IS NULL OR x.code = $2::text) ORDER BY x.code LIMIT 50) t
                  JOIN reeve.backup_status b ON b.tenant_code = t.code ORDER BY t.code) s
                """, [request.queryValue("after"), request.queryValue("tenant")])
            return page(found, next: keyset(found, 50, "code"))
        },
        "purges": { connection, _, _ in
            page(
                try rows(
                    connection,
                    """
                    SELECT to_jsonb(p) - 'identity_reference' - 'owner' || jsonb_build_object('tenant_code', t.code,
                      'steps', (SELECT count(*) FROM reeve.purge_step s WHERE s.request_id = p.id AND s.finished_at IS NOT NULL),
                      'approvals', (SELECT count(*) FROM reeve.purge_approval a WHERE a.request_id = p.id))
                    FROM reeve.purge_request p JOIN reeve.tenant t ON t.id = p.tenant_id
                    ORDER BY p.ended_at IS NOT NULL, p.not_before DESC LIMIT 100
                    """, []))
        },
        "erasures": { connection, _, _ in
            page(
                try rows(
                    connection,
                    """
                    SELECT to_jsonb(e) - 'report' - 'identity_reference' FROM reeve.erasure_list e
                    ORDER BY e.ended_at IS NOT NULL, e.due_at LIMIT 100
                    """, []))
        },
        "audit": { connection, request, _ in
            let found = try rows(
                connection,
                """
                SELECT to_jsonb(s) FROM (
                  SELECT a.id, a.at, a.actor, a.login, a.action, a.object, a.reason, a.detail, t.code AS tenant_code
                  FROM reeve.audit_entry a LEFT JOIN reeve.tenant t ON t.id = a.tenant_id
                  WHERE a.id < coalesce($1::bigint, 9223372036854775807)
                    AND ($2::text IS NULL OR a.tenant_id = (SELECT x.id FROM reeve.tenant x WHERE x.code = $2::text))
                  ORDER BY a.id DESC LIMIT 50) s
                """, [request.queryValue("before").flatMap { Int64($0) }, request.queryValue("tenant")])
            return page(found, next: keyset(found, 50, "id"))
        },
        "names": { connection, _, _ in
            try connection.execute(
                """
                SELECT jsonb_build_object('kinds', (SELECT coalesce(jsonb_agg(k.name ORDER BY k.name), '[]') FROM reeve.kind k),
                  'tiers', (SELECT coalesce(jsonb_agg(t.name ORDER BY t.concurrency), '[]') FROM reeve.tier t))
                """)[0].json(0)
        },
    ]

    private static func subject(_ request: HTTPRequest) -> String {
        String(request.path.split(separator: "/").last ?? "")
    }

    private static func rows(
        _ connection: Connection, _ sql: String, _ parameters: [(any PostgresEncodable)?]
    ) throws -> [JSON] {
        try connection.execute(sql, parameters).map { try $0.json(0) }
    }

    private static func page(_ rows: [JSON], next: JSON? = nil) -> JSON {
        ["rows": .array(rows), "next": next ?? .null]
    }

    /// The key of the last row, when there may be more.
    private static func keyset(_ rows: [JSON], _ limit: Int, _ name: String) -> JSON? {
        rows.count == limit ? rows.last?[name] : nil
    }
}

/// There is no such thing.
struct NotFound: Error {}
