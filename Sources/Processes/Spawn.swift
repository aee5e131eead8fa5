import FoundationEssentials
import Glibc

/// Spawns a program as the leader of a session of its own with exactly these descriptors (standard input is /dev/null
/// unless given) and this environment, default signal dispositions and an empty signal mask. Returns its process id.
func spawn(_ command: [String], environment: [String: String], descriptors: [(Int32, Int32)]) throws -> pid_t {
    let actions = UnsafeMutablePointer<posix_spawn_file_actions_t>.allocate(capacity: 1)
    let attributes = UnsafeMutablePointer<posix_spawnattr_t>.allocate(capacity: 1)
    posix_spawn_file_actions_init(actions)
    posix_spawnattr_init(attributes)
    defer {
        posix_spawn_file_actions_destroy(actions)
        posix_spawnattr_destroy(attributes)
        actions.deallocate()
        attributes.deallocate()
    }
    posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0)
    for (target, source) in descriptors { posix_spawn_file_actions_adddup2(actions, source, target) }
    var all = sigset_t()
    var none = sigset_t()
    sigfillset(&all)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(attributes, &all)
    posix_spawnattr_setsigmask(attributes, &none)
    // POSIX_SPAWN_SETSID (glibc 2.26) is a macro that Swift does not see: 0x80 in <spawn.h>.
    posix_spawnattr_setflags(attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | 0x80))
    var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in arguments + variables { free(pointer) } }
    var pid = pid_t()
    let code = posix_spawn(&pid, command[0], actions, attributes, &arguments, &variables)
    guard code == 0 else {
        throw ChildProcessError(code: "spawn_failed", message: "\(command[0]) could not be started: \(errorText(code))")
    }
    return pid
}
