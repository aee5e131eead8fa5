import Postgres
import Testing

/// Who may call and touch what in schema `reeve`, as a list: what is granted beyond it fails, whoever granted it.
@Suite("Grants")
struct GrantTests {
    static let functions: [String: String] = [
        "reeve_enqueuer": "actor is_operator enqueue enqueue_many job explain explain_job cancel unsubscribe",
        "reeve_worker": """
        actor is_operator enqueue enqueue_many job explain cancel register_kinds claim complete settle record_progress record_step step_result
        register_worker renew_lease cancellations set_idle rescue rescue_expired rescue_orphans promote release_held move_pools tend_cancellations
        tend_leftovers tend_backlog tend_refusals tend_history tend_sessions tend_drains tend_tier_changes tenant_facts audit open_circuit close_circuit drain_status
        return_lost_claims tend_caps lease_is_current exec_kind_facts tenant_recipients key_facts
        tenant_is_held artifact_is_readable backup_retention retention_work begin_backup_deletion finish_artifact_deletion fail_artifact_deletion withdraw_backup_deletion
        known_objects begin_sweep finish_sweep record_artifact_faults take_dumps return_dumps last_backup
        backup_artifacts record_proof record_reading scratch_makers live_leases enqueue_child restore_request hold_for_restore finish_restore record_safety_backup
        placement destination_for destinations_in seal_audit tend_audit begin_anchor finish_anchor
        report_admit report_done tend_batches tend_old_batches fire_schedules tend_schedules
        record_certificate claim_notices settle_notice notify_people
        tend_purges purge_work begin_purge_step purge_must_stop finish_purge_step repeat_purge_steps running_since_before freeze_for_purge begin_backup_end record_retained tenant_records purge_records
        begin_purge_keys finish_purge_key bury_tenant certify_purge register_hooks offboarding_work keep_archive replace_login_secret finish_offboarding
        expected_objects artifacts_mentioning
        tend_reminders begin_reminder end_reminder fail_reminder
        report_admit report_done report_hold report_unchanged
        artifact_days grace_ends_at may_fetch open_link expired_artifacts begin_artifact_deletion
        erasure_work remember_found subject_request mention_places find_mentions redact_mentions cancel_mentions
        erasure_artifacts mark_erased_artifact finish_erasure erasure_backups ledger_replay
        tend_stats fleet_metrics tenant_metrics overview job_page tenant_page queue_page job_detail stat_bounds
        explain_job record_attempt_log tend_paces tend_dead_letters
        outbox_functions outbox_facts hold_outboxes release_outboxes outbox_place reserve_ids knows_ids pass_ids take_outbox_rows note_outbox tend_outboxes event_types relay_wanted hold_turn note_turn read_events settle_events tend_events read_audit settle_audit
        open_partitions take_messages reject_messages stop_partition report_kafka tend_kafka note_ends
        recent_resets
        """,
        "reeve_operator": """
        actor is_operator enqueue enqueue_many job explain cancel retry pause resume drain drain_status tend_drains tend_sessions set_tenant_status set_tenant_tier
        is_count tier_change_preview schedule_tenant_tier withdraw_tenant_tier audit register_kinds tenant_facts add_exec_kind remove_exec_kind exec_kind_facts
        placement destination_for destinations_in add_destination remove_destination assign_destination unassign_destination allow_copies
        begin_key activate_key begin_destroy finish_destroy tenant_recipients key_facts
        tenant_is_held artifact_is_readable backup_retention hold_tenant release_tenant pin_backup unpin_backup request_restore
        publish_signing_key retry_notice notify_people
        is_approver request_purge resume_purge set_purge_policy cancel_purge tenant_records return_tenant forget_hook purge_request_json
        resolve_reminder set_reminders suppress_address reminder_verdict unsubscribe
        take_report_place release_report_place set_report_window report_reader
        start_batch pause_batch resume_batch cancel_batch retry_batch tend_batches tend_old_batches preview_cron
        create_schedule pause_schedule resume_schedule delete_schedule fire_schedules tend_schedules preview_schedule
        artifact_days grace_ends_at may_fetch make_link presign revoke_links open_link
        request_erasure identify_erasure extend_erasure cancel_erasure export_subject close_access
        seal_audit begin_anchor finish_anchor
        tend_stats fleet_metrics tenant_metrics overview job_page tenant_page queue_page job_detail stat_bounds
        explain_job job_story dead_list dead_groups redrive redrive_many drop_dead drain_progress block_progress
        isolate_tenant note_isolation_logins release_isolation
        add_outbox remove_outbox resume_outbox outbox_functions outbox_facts set_events event_types
        reset_kafka_offset drop_rejected redrive_rejected recover objects_of
        """,
        "reeve_approver": """
        actor is_operator tenant_is_held approve_erasure cancel_erasure is_approver approve_purge cancel_purge purge_request_json
        """,
        "reeve_viewer": """
        actor is_operator tenant_is_held artifact_is_readable backup_retention artifact_days grace_ends_at may_fetch preview_cron preview_schedule purge_request_json
        fleet_metrics tenant_metrics overview job_page tenant_page queue_page job_detail stat_bounds
        job explain explain_job job_story dead_list dead_groups block_progress
        event_types
        """,
    ]

    private static let views =
        "job_list queue_stats tenant_stats worker_list autoscale counter_fault circuit_list key_list"
        + " block_list outbox_list event_status claim_block"
    private static let purges = "purge_request purge_approval purge_step retained_backup purge_policy"
    private static let departures = "hook lifecycle_event offboarding"
    private static let proof = "signing_key certificate notice reminder_list reminder_rule"
    private static let erasures = "erasure_list data_map"
    private static let isolations = "isolation_list tenant_isolation"
    private static let retention =
        "tenant_hold artifact_pin backup_proof artifact_deletion artifact_deleted artifact_fault backup_list report_window report_cost"
        + " report_place artifact_link artifact_list batch batch_item batch_list batch_tenant"
        + " schedule schedule_due schedule_tick schedule_list unprotected_tenant standing_work"
        + " rejected_list kafka_offset kafka_client"

    private static let audit =
        "audit_entry audit_seal audit_checkpoint audit_anchor audit_pending audit_head audit_window"

    /// Table, then the privileges: r SELECT, a INSERT, w UPDATE, d DELETE; `c` SELECT of some columns, `u` UPDATE of some.
    static let tables: [String: [String: String]] = [
        "reeve_enqueuer": ["schema_migration": "r"],
        "reeve_approver": granted("schema_migration signing_key certificate erasure_list data_map \(purges)", "r")
            .merging(["erasure_request": "c", "tenant": "c"]) { $1 },
        "reeve_viewer": granted(
            "\(views) tier tenant kind queue_block tenant_status_change \(audit) artifact tier_change schema_migration exec_kind \(retention) restore backup_set backup_status dump_slot destination destination_rule \(proof) \(erasures) \(purges) \(departures) \(isolations)",
            "r"
        )
        .merging(["tenant_store": "c", "erasure_request": "c", "rejected_messages": "c"]) { $1 },
        "reeve_worker": granted(
            "\(views) tier tenant kind queue_block tenant_status_change tenant_store tenant_server tenant_checkpoint schema_migration exec_kind \(proof) \(departures)",
            "r"),
        "reeve_operator": granted(
            "\(views) kind queue_block tenant_status_change \(audit) artifact tier_change schema_migration exec_kind tenant_key \(retention) restore backup_set backup_status dump_slot destination destination_rule \(proof) \(erasures) erasure_request \(purges) \(departures) \(isolations)",
            "r"
        ).merging([
            "outbox_refusal": "r", "tenant": "rau", "tier": "raw", "tenant_server": "raw", "tenant_store": "rawd",
            "tenant_checkpoint": "rawd",
            "tenant_login": "awd", "rejected_messages": "r", "kafka_key": "r",
        ]) { $1 },
    ]

    private static func granted(_ names: String, _ rights: String) -> [String: String] {
        Dictionary(uniqueKeysWithValues: names.split(separator: " ").map { (String($0), rights) })
    }

    /// What the database grants, as `role: object right`.
    private func actual(_ target: Target) throws -> Set<String> {
        let rows = try target.admin.execute(
            """
            SELECT a.grantee::regrole::text || ': ' || p.proname || '()' FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            WHERE p.pronamespace = 'reeve'::regnamespace AND a.grantee <> p.proowner AND p.proname <> 'clock'
            UNION
            SELECT a.grantee::regrole::text || ': ' || c.relname || ' ' || a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.relnamespace = 'reeve'::regnamespace AND a.grantee <> c.relowner
            UNION
            SELECT a.grantee::regrole::text || ': ' || c.relname || ' some ' || a.privilege_type FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
            WHERE c.relnamespace = 'reeve'::regnamespace AND a.grantee <> c.relowner
            UNION
            SELECT a.grantee::regrole::text || ': schema ' || a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
            WHERE n.nspname = 'reeve' AND a.grantee <> n.nspowner AND a.privilege_type <> 'USAGE'
            """)
        return Set(try rows.map { try $0.text(0) })
    }

    private var allowed: Set<String> {
        let words: [Character: String] = [
            "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "c": "some SELECT", "u": "some UPDATE",
        ]
        var all: Set<String> = []
        for (role, names) in Self.functions {
            for name in names.split(whereSeparator: \.isWhitespace) { all.insert("\(role): \(name)()") }
        }
        for (role, names) in Self.tables {
            for (table, rights) in names {
                for right in rights { all.insert("\(role): \(table) \(words[right] ?? "?")") }
            }
        }
        return all
    }

    @Test("nothing in schema reeve is granted to anybody beyond the list, and PUBLIC has only the clock")
    func list() throws {
        let target = try Target()
        let extra = try actual(target).subtracting(allowed)
        #expect(extra.isEmpty, "\(extra.sorted())")
        try target.admin.execute("GRANT EXECUTE ON FUNCTION reeve.count_down(uuid[]) TO reeve_enqueuer")
        try target.admin.execute("GRANT SELECT (args) ON reeve.job TO reeve_viewer")
        #expect(
            try actual(target).subtracting(allowed) == [
                "reeve_enqueuer: count_down()", "reeve_viewer: job some SELECT",
            ])
    }

    @Test("a call or a statement that is not on the list is refused, and changes nothing", arguments: Attacker.insiders)
    func refused(_ attacker: Attacker) throws {
        let target = try Target()
        _ = try target.enqueue()
        let role = try #require(attacker.role)
        let before = try target.fingerprint()
        let session = try target.session(attacker)
        defer { session.close() }
        let mayCall = Set((Self.functions[role] ?? "").split(whereSeparator: \.isWhitespace).map(String.init))
        let calls = try target.admin.execute(
            """
            SELECT p.proname::text, format('SELECT reeve.%I(%s)', p.proname,
                     (SELECT string_agg(format('NULL::%s', format_type(a.t, NULL)), ', ' ORDER BY a.n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (t, n)))
            FROM pg_proc p WHERE p.pronamespace = 'reeve'::regnamespace AND p.prorettype <> 'trigger'::regtype AND p.proname <> 'clock'
            """)
        var tried = 0
        for row in calls where !mayCall.contains(try row.text(0)) {
            let sql = try row.text(1)
            let attempt = try Attempt(sql, on: session)
            #expect(attempt.state == "42501", "\(attacker): \(sql): \(attempt)")
            tried += 1
        }
        #expect(tried > 15)
        let mayTouch = Self.tables[role] ?? [:]
        let columns = try target.admin.execute(
            """
            SELECT c.relname::text, (SELECT min(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attidentity = '' AND a.attgenerated = ''), c.relkind = 'v'
            FROM pg_class c WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            """)
        for row in columns {
            let (table, column, isView) = (try row.text(0), try row.text(1), try row.bool(2))
            let rights = mayTouch[table] ?? ""
            let statements: [(Character, String)] = [
                ("r", "SELECT * FROM reeve.\(table)"), ("r", "COPY reeve.\(table) TO STDOUT"),
                ("d", "DELETE FROM reeve.\(table)"),
                ("w", "UPDATE reeve.\(table) SET \(column) = \(column)"),
                ("a", "INSERT INTO reeve.\(table) DEFAULT VALUES"),
                ("t", "TRUNCATE reeve.\(table)"), ("t", "SELECT * FROM reeve.\(table) FOR UPDATE"),
            ]
            for (right, sql) in statements where !rights.contains(right) && !(isView && right != "r") {
                if sql.hasSuffix("FOR UPDATE") && rights.contains(where: { "wu".contains($0) }) { continue }
                let attempt = try Attempt(sql, on: session)
                #expect(attempt.state == "42501", "\(attacker): \(sql): \(attempt)")
            }
        }
        let changed = try target.fingerprint().filter { before[$0.key] != $0.value }.keys.sorted()
        #expect(changed == [])
    }

    @Test(
        "secrets of the registry are for the worker and the operator, who open them with a key: nobody else reads them")
    func secrets() throws {
        let target = try Target()
        for attacker in Attacker.insiders {
            let session = try target.session(attacker)
            defer { session.close() }
            let may = attacker == .worker || attacker == .operator
            for sql in [
                "SELECT secret FROM reeve.tenant_store", "SELECT admin_secret FROM reeve.tenant_server",
                "SELECT to_jsonb(s) FROM reeve.tenant_store s",
            ] {
                let isAllowed = try Attempt(sql, on: session).state == nil
                #expect(isAllowed == may, "\(attacker): \(sql)")
            }
        }
    }

    @Test(
        "an operator changes a tenant's status, tier, code or region by the functions or not at all; bindings and servers never unseen"
    )
    func operatorsBypass() throws {
        let target = try Target()
        let session = try target.session(.operator)
        defer { session.close() }
        for column in [
            "status = 'archived'", "tier = 'enterprise'", "code = 'other'", "region = 'us'", "isolation = 'shared'",
            "id = gen_random_uuid()", "version = 1",
        ] {
            #expect(try Attempt("UPDATE reeve.tenant SET \(column)", on: session).state == "42501", "\(column)")
        }
        #expect(try Attempt("UPDATE reeve.tenant SET name = 'New'", on: session).state == nil)
        #expect(try Attempt("SELECT reeve.set_tenant_status('acme', 'archived')", on: session).state == "RV012")
        _ = try Attempt(
            "INSERT INTO reeve.tenant_login SELECT 'attack_viewer', id FROM reeve.tenant WHERE code = 'acme'",
            on: session)
        _ = try Attempt("UPDATE reeve.tenant_server SET conninfo = 'host=evil'", on: session)
        let audited = try target.admin.execute(
            "SELECT action || ' ' || object || ' by ' || login || ' ' || (detail ->> 'columns') FROM reeve.audit_entry WHERE login = 'attack_operator' ORDER BY id"
        )
        let found = try audited.map { try $0.text(0) }
        #expect(
            found == [
                #"registry.insert tenant login attack_viewer by attack_operator ["login", "tenant_id"]"#,
                #"registry.update tenant server main by attack_operator ["conninfo"]"#,
            ])
    }
}
