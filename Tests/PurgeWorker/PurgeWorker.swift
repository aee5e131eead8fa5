import Backup
import Certificates
import Crypto
import Dumps
import Encryption
import FoundationEssentials
import Glibc
import JobKit
import Postgres
import Processes
import Purge
import ReeveTesting
import Storage
import Tenancy
import WorkerEngine

/// `purge-worker CONTROL_CONNINFO FOLDER POINT`: runs purges that are due until none is left, and kills itself the first time that a
/// purge comes to POINT (none: `-`). Storage, identities and signing keys are below FOLDER. `purge-worker __supervise …` is its supervisor.
@main
struct PurgeWorker {
    static func main() { run() }
}

private func run() {
    Supervisor.runIfAsked()
    let words = CommandLine.arguments
    guard words.count == 4 else { exit(2) }
    do {
        let settings = try ConnectionSettings(words[1])
        let control = Pool(settings, bound: 8, name: "control")
        let folder = words[2]
        let directory = TenantDirectory(
            control: control, sealer: Sealer(key: try SecretKey(contents: [UInt8](repeating: 5, count: 32))))
        let sessions = TenantSessions(directory: directory)
        var resources = JobResources()
        resources.add(sessions)
        let point = words[3]
        let registry = TenantRegistry(directory: directory, actor: "tester")
        let job = PurgeJob(
            registry: registry, control: control,
            stores: SingleStore(FolderStore(root: folder + "/objects")),
            identities: IdentityFolder(folder + "/identities"),
            signing: SigningKeys(store: SigningKeyFolder(folder + "/signing"), control: control)
        ).calling { if $0 == point { kill(getpid(), SIGKILL) } }
        let worker = try ManualWorker(
            settings, [AnyJob(job), AnyJob(OffboardingJob(registry: registry, control: control, hooks: []))],
            resources: resources, pools: ["restore"])
        say(worker.identity.id.uuidString.lowercased(), to: 1)
        let connection = try Connection(settings)
        var idle = 0
        while idle < 2 {
            let claimed = try worker.claim(connection, atMost: 1, promoting: idle > 0)
            idle = claimed.isEmpty ? idle + 1 : 0
            for one in claimed { try worker.run(one) }
        }
        exit(0)
    } catch {
        say("\(error)\n", to: 2)
        exit(1)
    }
}

private func say(_ text: String, to descriptor: Int32) {
    _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
}
