import Postgres
import ReeveTesting

extension Control {
    /// A database whose tenants are active and whose clock the test sets: it stands still in between.
    static func scheduled() throws -> Control {
        let control = try Control()
        try control.connection.executeScript(
            "UPDATE reeve.tenant SET status = 'active'; SET client_min_messages = warning")
        try control.setClock("2026-03-01 00:00:00Z")
        return control
    }

    /// Sets this database's clock, which then stands still.
    func setClock(_ time: String) throws {
        try connection.executeScript(
            "CREATE OR REPLACE FUNCTION reeve.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT timestamptz '\(time)' $$"
        )
    }

    /// Creates a schedule of the kind `work`, unless the fields say otherwise.
    @discardableResult
    func create(_ fields: String) throws -> Int64 {
        try connection.execute(
            "SELECT reeve.create_schedule('{\"kind\": \"work\", \"args\": {\"n\": 1}}'::jsonb || $1::jsonb)", [fields])[
                0
            ].int(0)
    }

    @discardableResult
    func fire() throws -> Int64 { try connection.execute("SELECT reeve.fire_schedules()")[0].int(0) }

    /// Feeds and ends batches until nothing is left to do.
    func tendBatches() throws { while try connection.execute("SELECT reeve.tend_batches()")[0].int(0) > 0 {} }

    /// What became of a schedule's ticks: `01 21:00 job`.
    func outcomes(_ name: String) throws -> [String] {
        try connection.execute(
            """
            SELECT to_char(t.tick AT TIME ZONE 'UTC', 'DD HH24:MI') || ' ' || t.outcome FROM reeve.schedule_tick t
            JOIN reeve.schedule s ON s.id = t.schedule_id WHERE s.name = $1::text ORDER BY t.tick, t.timezone
            """, [name]
        ).map { try $0.text(0) }
    }
}
