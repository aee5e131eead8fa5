import Artifacts
import Glibc
import JobKit
import Postgres
import Storage

extension Command {
    static let artifactsFetch = Command(
        "fetch", "fetch what a link leads to",
        details: """
            Checks the link's signature, its expiry and revocation and the tenant's status, writes the download into the audit,
            and writes the file once its bytes are what was stored. What was exported encrypted is fetched encrypted: open it
            with age -d -i IDENTITY. With '-' as LINK it is read from standard input, so that it stands in no list of processes.
            Exit code 4: the link is refused.
            """,
        arguments: [CommandArgument("LINK", "the link, or - for standard input")],
        options: [
            CommandOption("output", "FILE", "where to; must not exist"), .setting(.storage),
        ],
        examples: ["reeve artifacts fetch - --output acme.zip"]
    ) { invocation in
        guard let file = invocation.string("output") else {
            throw CommandError(.usage, "say where to with --output FILE", hint: "see: reeve artifacts fetch --help")
        }
        let text = try linkText(invocation.argument("LINK"))
        let links = try invocation.artifactLinks()
        let output = try FetchedFile(file)
        let download = try invocation.withStores { stores in
            let download: ArtifactLinks.Download
            do {
                download = try open(text, links, stores, invocation).get()
            } catch let refusal as LinkRefusal {
                throw CommandError(.refused, refusal.description, hint: "ask for a new one: reeve artifacts link ID")
            }
            try download.read { try output.write($0) }
            return download
        }
        try output.publish()
        invocation.output.result(
            [
                "file": .string(file), "bytes": .int(download.bytes), "sha256": .string(download.sha256),
                "entity": .string(download.entity), "encrypted": .bool(download.isEncrypted),
            ],
            "\(file): \(Durations.bytes(download.bytes))"
                + (download.isEncrypted ? "; encrypted, open it with: age -d -i IDENTITY" : ""))
        return .done
    }

    /// A refusal is audited too, so it must not roll that back.
    private static func open(
        _ text: String, _ links: ArtifactLinks, _ stores: any StoreCatalog, _ invocation: Invocation
    ) throws -> Result<ArtifactLinks.Download, LinkRefusal> {
        try invocation.change { connection in
            do { return .success(try links.open(text, on: connection, stores: stores)) } catch let error as LinkRefusal
            {
                return .failure(error)
            }
        }
    }

    private static func linkText(_ argument: String) throws -> String {
        guard argument == "-" else { return argument }
        do {
            return String(try TextFile.read("-").prefix { !$0.isWhitespace })
        } catch {
            throw CommandError(.usage, "the link cannot be read from standard input: \(error)")
        }
    }
}

/// A file that appears under its name when it is whole; one that is dropped earlier leaves nothing.
final class FetchedFile {
    private let path: String
    private let part: String
    private let descriptor: Int32
    private var isPublished = false

    init(_ path: String) throws {
        self.path = path
        part = "\(path).part"
        guard access(path, F_OK) != 0 else {
            throw CommandError(.conflict, "\(path) is there already", hint: "choose another name, or remove it")
        }
        descriptor = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw CommandError(.failed, "\(part) cannot be made: \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        close(descriptor)
        if !isPublished { unlink(part) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw CommandError(.failed, "\(part) cannot be written: \(String(cString: strerror(errno)))")
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    func publish() throws {
        // Linked, not renamed: a file that came meanwhile stays.
        guard fsync(descriptor) == 0, link(part, path) == 0 else {
            throw CommandError(.failed, "\(path) cannot be made: \(String(cString: strerror(errno)))")
        }
        unlink(part)
        isPublished = true
    }
}
