import FoundationEssentials
import Postgres

@testable import Audit

/// What the owner of the database can do to the audit: its triggers hold nobody who may take them away.
enum Tampering: String, CaseIterable {
    case edited, editedAndRehashed, entryRemoved, cutMiddle, cutMiddleAndRehashed, cutTail, reordered,
        reorderedAndRehashed,
        moved, movedAndRehashed, chainRemoved, expiryForged, expiryForgedAhead, detailEdited, timeEdited

    /// What Reeve's verifier must call it.
    var kind: AuditFault.Kind {
        switch self {
        case .edited, .reordered, .moved, .detailEdited, .timeEdited: .changed
        case .editedAndRehashed, .cutMiddleAndRehashed, .reorderedAndRehashed, .movedAndRehashed: .rewritten
        case .entryRemoved: .removed
        case .cutMiddle: .gap
        case .cutTail, .chainRemoved: .cut
        case .expiryForged, .expiryForgedAhead: .expired
        }
    }

    /// Whether the chain alone shows it, without anchors.
    var showsWithoutAnchors: Bool { [.changed, .removed, .gap].contains(kind) }

    /// Does it to acme's chain.
    func apply(_ fixture: AuditFixture) throws {
        let owner = Owner(fixture)
        try owner.takeTriggersAway()
        let chain = fixture.acme
        let entry = try owner.entry(at: 5, of: chain)
        switch self {
        case .edited: try owner.edit(entry, "actor = 'nobody'")
        case .detailEdited: try owner.edit(entry, "detail = detail || '{\"big\": 2}'")
        case .timeEdited: try owner.edit(entry, "at = at + interval '1 microsecond'")
        case .editedAndRehashed:
            try owner.edit(entry, "reason = 'nothing to see'")
            try owner.rehash(chain)
        case .entryRemoved: try owner.remove(entry: entry)
        case .cutMiddle:
            try owner.remove(entry: entry)
            try owner.remove(places: 5...5, of: chain)
        case .cutMiddleAndRehashed:
            try owner.remove(entry: entry)
            try owner.remove(places: 5...5, of: chain)
            try owner.closeGap(at: 5, of: chain)
            try owner.rehash(chain)
        case .cutTail:
            for place in 10...12 { try owner.remove(entry: try owner.entry(at: Int64(place), of: chain)) }
            try owner.remove(places: 10...12, of: chain)
            try owner.rehash(chain)
        case .reordered: try owner.swap(5, 6, of: chain)
        case .reorderedAndRehashed:
            try owner.swap(5, 6, of: chain)
            try owner.rehash(chain)
        case .moved: try owner.edit(entry, "tenant_id = '\(fixture.birch)'")
        case .movedAndRehashed:
            try owner.edit(entry, "tenant_id = '\(fixture.birch)'")
            _ = try fixture.owner.execute(
                "UPDATE reeve.audit_seal SET chain = $1::uuid, seq = 13 WHERE chain = $2::uuid AND seq = 5",
                [fixture.birch.id, chain.id])
            try owner.closeGap(at: 5, of: chain)
            try owner.rehash(chain)
            try owner.rehash(fixture.birch)
        case .chainRemoved:
            try fixture.owner.executeScript(
                """
                DELETE FROM reeve.audit_entry WHERE tenant_id = '\(chain)'; DELETE FROM reeve.audit_seal WHERE chain = '\(chain)';
                DELETE FROM reeve.audit_head WHERE chain = '\(chain)';
                """)
        case .expiryForged: try owner.expire(3...5, of: chain, at: "2026-11-21")
        case .expiryForgedAhead: try owner.expire(3...5, of: chain, at: "2999-01-01")
        }
    }
}

/// The owner at work: knows the recipe of the hash as well as anybody.
private struct Owner {
    let fixture: AuditFixture

    init(_ fixture: AuditFixture) { self.fixture = fixture }

    func takeTriggersAway() throws {
        try fixture.owner.executeScript(
            """
            DO $$ DECLARE v text; BEGIN
              FOR v IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'reeve'::regnamespace AND c.relkind IN ('r', 'p')
                AND c.relname ~ '^audit_(entry|seal|checkpoint|anchor)' LOOP
                EXECUTE format('ALTER TABLE reeve.%I DISABLE TRIGGER USER', v);
              END LOOP;
            END $$
            """)
    }

    func entry(at place: Int64, of chain: AuditChain) throws -> Int64 {
        try fixture.owner.execute(
            "SELECT entry_id FROM reeve.audit_seal WHERE chain = $1::uuid AND seq = $2::bigint", [chain.id, place])[0]
            .int(0)
    }

    func edit(_ entry: Int64, _ change: String) throws {
        _ = try fixture.owner.execute("UPDATE reeve.audit_entry SET \(change) WHERE id = $1::bigint", [entry])
    }

    func remove(entry: Int64) throws {
        _ = try fixture.owner.execute("DELETE FROM reeve.audit_entry WHERE id = $1::bigint", [entry])
    }

    func remove(places: ClosedRange<Int64>, of chain: AuditChain) throws {
        _ = try fixture.owner.execute(
            "DELETE FROM reeve.audit_seal WHERE chain = $1::uuid AND seq BETWEEN $2::bigint AND $3::bigint",
            [chain.id, places.lowerBound, places.upperBound])
    }

    func closeGap(at place: Int64, of chain: AuditChain) throws {
        for seal in try AuditReader(fixture.owner).seals(of: chain, after: place, limit: 100) {
            _ = try fixture.owner.execute(
                "UPDATE reeve.audit_seal SET seq = seq - 1 WHERE chain = $1::uuid AND seq = $2::bigint",
                [chain.id, seal.place])
        }
    }

    func swap(_ one: Int64, _ other: Int64, of chain: AuditChain) throws {
        _ = try fixture.owner.execute(
            """
            UPDATE reeve.audit_seal s SET entry_id = o.entry_id, expires_on = o.expires_on FROM reeve.audit_seal o
            WHERE s.chain = $1::uuid AND o.chain = $1::uuid AND (s.seq, o.seq) IN (($2::bigint, $3::bigint), ($3::bigint, $2::bigint))
            """, [chain.id, one, other])
    }

    /// Computes the whole chain again, and its head.
    func rehash(_ chain: AuditChain) throws {
        let reader = AuditReader(fixture.owner)
        let seals = try reader.seals(of: chain, after: 0, limit: 1000)
        let entries = try reader.entries(of: seals)
        var hash = [UInt8](repeating: 0, count: 32)
        for seal in seals {
            guard let entry = entries[seal.entry] else { continue }
            hash = entry.hash(after: hash, at: seal.place)
            _ = try fixture.owner.execute(
                "UPDATE reeve.audit_seal SET hash = $3::bytea WHERE chain = $1::uuid AND seq = $2::bigint",
                [chain.id, seal.place, hash])
        }
        _ = try fixture.owner.execute(
            "UPDATE reeve.audit_head SET seq = $2::bigint, hash = $3::bytea WHERE chain = $1::uuid",
            [chain.id, seals.last?.place ?? 0, hash])
    }

    /// Takes entries away and says that their time was over.
    func expire(_ places: ClosedRange<Int64>, of chain: AuditChain, at time: String) throws {
        _ = try fixture.owner.execute(
            """
            INSERT INTO reeve.audit_checkpoint (chain, first_seq, last_seq, hash, at, entry_id)
            SELECT chain, $2::bigint, $3::bigint, hash, $4::timestamptz, 1 FROM reeve.audit_seal WHERE chain = $1::uuid AND seq = $3::bigint
            """, [chain.id, places.lowerBound, places.upperBound, time])
        for place in places { try remove(entry: try entry(at: place, of: chain)) }
        try remove(places: places, of: chain)
    }
}
