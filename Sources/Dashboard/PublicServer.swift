public import Artifacts
import FoundationEssentials
public import HTTP
public import JobKit
public import Postgres
public import Storage

/// The routes for people without an account: links to artifacts (`/artifacts/<link>`) and the end of reminders (`/unsubscribe/<token>`).
/// What they lead to is a capability in the path, so paths are never logged, and no answer tells a wrong one from a spent one.
public final class PublicServer: HTTPResponder {
    private let pool: Pool
    private let links: ArtifactLinks?
    private let stores: any StoreCatalog
    private let log: Log

    /// Serves links signed with `links` from `stores`; without it, only the end of reminders.
    public init(pool: Pool, links: ArtifactLinks?, stores: any StoreCatalog, log: Log) {
        self.pool = pool
        self.links = links
        self.stores = stores
        self.log = log
    }

    /// Health.
    public func answerAtOnce(_ request: HTTPRequest) -> HTTPResponse? {
        request.path == "/healthz" ? HTTPResponse(200, "ok\n") : nil
    }

    /// The two routes.
    public func answer(_ request: HTTPRequest) -> HTTPResponse {
        let words = request.path.split(separator: "/", omittingEmptySubsequences: false)
        guard words.count == 3, words[0].isEmpty, !words[2].isEmpty else { return page(404, "There is nothing here.") }
        do {
            switch (words[1], request.method) {
            case ("artifacts", "GET"): return try download(String(words[2]))
            case ("unsubscribe", "GET"):
                // Nothing changes on GET: what follows links in mails on its own must not unsubscribe anybody.
                return page(
                    200, "Stop reminders?",
                    """
                    <p>No more reminders will be sent to the address that this mail came to.</p>
                    <form method="post"><button>Stop reminders</button></form>
                    """)
            case ("unsubscribe", "POST"):
                if let token = UUID(uuidString: String(words[2])) {
                    _ = try pool.withConnection { try $0.execute("SELECT reeve.unsubscribe($1::uuid)", [token]) }
                }
                return page(200, "Done.", "<p>No more reminders will be sent to this address.</p>")
            case ("artifacts", _), ("unsubscribe", _): return page(405, "This cannot be done here.")
            default: return page(404, "There is nothing here.")
            }
        } catch {
            log.warning("a public request failed", ["error": .string("\(error)")])
            return page(503, "This does not work at the moment.", "<p>Please try again in a few minutes.</p>")
        }
    }

    private func download(_ text: String) throws -> HTTPResponse {
        guard let links else { return page(404, "There is nothing here.") }
        let opened: Result<ArtifactLinks.Download, LinkRefusal> = try pool.withConnection { connection in
            try connection.transaction {
                do { return .success(try links.open(text, on: connection, stores: stores)) } catch let error
                    as LinkRefusal
                {
                    // Refusals are audited too, so the transaction is kept.
                    return .failure(error)
                }
            }
        }
        switch opened {
        case .failure(let refusal):
            let isOver = [.expired, .revoked, .gone].contains(refusal)
            return page(isOver ? 410 : 404, "This link does not work.", "<p>\(refusal.description).</p>")
        case .success(let download):
            let name =
                "\(download.entity)-\(download.artifact.uuidString.lowercased())" + (download.isEncrypted ? ".age" : "")
            return HTTPResponse(
                200,
                headers: [
                    ("Content-Type", "application/octet-stream"),
                    ("Content-Disposition", "attachment; filename=\"\(name)\""),
                    ("Digest", "sha-256=\(download.sha256)"),
                    ("Content-Security-Policy", "default-src 'none'; sandbox"), ("Referrer-Policy", "no-referrer"),
                ],
                body: .stream(length: download.bytes) { writer in try send(download, to: writer) })
        }
    }

    private func page(_ status: Int, _ title: String, _ more: String = "") -> HTTPResponse {
        HTTPResponse(
            status,
            """
            <!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <meta name="robots" content="noindex"><title>\(title)</title><h1>\(title)</h1>\(more)</html>

            """, type: "text/html; charset=utf-8"
        )
        .with("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
        .with("Referrer-Policy", "no-referrer")
    }
}

/// The last piece waits until all bytes have proven to be the artifact's: a damaged one ends short of its length.
private func send(_ download: ArtifactLinks.Download, to writer: HTTPWriter) throws {
    var last: [UInt8] = []
    try download.read { bytes in
        if !last.isEmpty { try last.withUnsafeBytes { try writer.write($0) } }
        last = Array(bytes)
    }
    try last.withUnsafeBytes { try writer.write($0) }
}
