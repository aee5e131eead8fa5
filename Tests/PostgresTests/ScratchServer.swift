import Glibc
import JobKit
import Postgres
import Synchronization

/// A real PostgreSQL server on a private socket, started on first use and ended with the test process.
final class ScratchServer: Sendable {
    static let shared = ScratchServer()

    let directory: String
    let port = "54329"
    /// A loopback address of this process's own, so that servers of other test runs are not in the way.
    let address = "127.\(1 + getpid() >> 16 & 63).\(getpid() >> 8 & 255).\(getpid() & 255)"

    private init() {
        guard let made = TemporaryFolder.make("/tmp/rvpg.") else { fatalError("no temporary directory") }
        directory = made
        let prefix = geteuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --clear-groups " : ""
        if geteuid() == 0 { Self.shell("chown postgres: \(directory)") }
        let bin = "/usr/lib/postgresql/15/bin"
        Self.shell(
            "cd \(directory) && \(prefix)\(bin)/initdb -D \(directory)/data -U admin --auth=scram-sha-256 "
                + "--auth-local=trust -N -E UTF8 --locale=C >/dev/null")
        Self.shell(
            "cd \(directory) && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
                + "-keyout data/server.key -out data/server.crt 2>/dev/null && chmod 600 data/server.key"
                + (geteuid() == 0 ? " && chown postgres: data/server.key data/server.crt" : ""))
        // The watching shell ends the server when this process is gone, however it ended.
        Self.shell(
            "cd \(directory) && \(prefix)\(bin)/pg_ctl -D data -w -l log "
                + "-o \"-F -p \(port) -k \(directory) -c listen_addresses=\(address) -c ssl=on "
                + "-c max_connections=40\" start >/dev/null")
        // Set here, before any connection: setenv while another thread reads the environment is undefined.
        Self.shell(
            "printf '[shop]\\nhost=\(directory)\\nport=\(port)\\nuser=admin\\ndbname=template1\\n"
                + "application_name=from_file\\n' > \(directory)/services.conf")
        setenv("PGSERVICEFILE", directory + "/services.conf", 1)
        Self.shell(
            "(while kill -0 \(getpid()) 2>/dev/null; do sleep 0.2; done; "
                + "\(prefix)\(bin)/pg_ctl -D \(directory)/data -m immediate stop; rm -rf \(directory)) "
                + "</dev/null >/dev/null 2>&1 &")
    }

    var settings: ConnectionSettings {
        ConnectionSettings(options: ["host": directory, "port": port, "user": "admin", "dbname": "postgres"])
    }

    func connect() throws -> Connection { try Connection(settings) }

    static func shell(_ command: String) {
        let arguments = (["/bin/sh", "-c", command] as [String]).map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var child: pid_t = 0
        var status: Int32 = 0
        guard posix_spawn(&child, "/bin/sh", nil, nil, arguments, environ) == 0, waitpid(child, &status, 0) == child,
            status == 0
        else { fatalError("failed: \(command)") }
    }
}
