import FoundationEssentials
import Glibc

/// The small process between a worker and a child program: it holds a pipe from the worker and ends the program with all its
/// descendants when that pipe closes. Neither a process group (the child outlives the worker) nor PR_SET_PDEATHSIG (fires when
/// the spawning thread ends) does that; both were tried.
public struct Supervisor: Sendable {
    /// The words that start it; the parent adds grace in ms, first signal, limits, the number of documents
    /// and whether it holds the input, directory, program and arguments.
    public let command: [String]

    /// A supervisor that is started like this.
    public init(command: [String]) { self.command = command }

    /// This very executable in its supervisor role, or the one that REEVE_SUPERVISOR names.
    public static func current() -> Supervisor {
        let executable = ProcessInfo.processInfo.environment["REEVE_SUPERVISOR"] ?? "/proc/self/exe"
        return Supervisor(command: [executable, role])
    }

    private static let role = "__supervise"
    /// The descriptor of a program's first document; the others follow.
    static let firstDocument: Int32 = 5
    /// Stands behind the number of documents when the descriptor after them is to be held until the program's end.
    static let holding = "+"

    /// Becomes the supervisor when the arguments say so, and then never returns. To be called first thing in `main`.
    public static func runIfAsked(arguments: [String] = CommandLine.arguments) {
        ResourceLimits.becomeProgramIfAsked(arguments)
        guard arguments.count >= 8, arguments[1] == role, let grace = Int32(arguments[2]),
            let signal = Int32(arguments[3]),
            let documents = Int32(arguments[5].hasSuffix(holding) ? arguments[5].dropLast() : arguments[5][...])
        else {
            return
        }
        // A program with limits is started by this executable in a third role, which sets them on itself: here they would
        // bind the supervisor as well.
        let direct = Array(arguments[7...])
        let command =
            arguments[4] == ResourceLimits.none
            ? direct : ["/proc/self/exe", ResourceLimits.role, arguments[4]] + direct
        supervise(
            program: command[0], arguments: command, grace: grace, firstSignal: signal, directory: arguments[6],
            documents: documents, isHolding: arguments[5].hasSuffix(holding))
    }
}

private let lifeline: Int32 = 3
private let statusPipe: Int32 = 4
/// Written by the SIGCHLD handler, so that a child's end wakes `poll`. Set once before the handler is installed.
nonisolated(unsafe) private var wakeWriter: Int32 = -1

private func childEnded(_ signal: Int32) {
    let saved = errno
    _ = write(wakeWriter, "c", 1)
    errno = saved
}

private func supervise(
    program: String, arguments: [String], grace: Int32, firstSignal: Int32, directory: String, documents: Int32,
    isHolding: Bool
) -> Never {
    // Signals to the whole session are for the program; the supervisor stays until it has cleaned up.
    for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT] { signal(number, SIG_IGN) }
    let held = Supervisor.firstDocument + documents
    // What the worker itself inherited without close-on-exec came along: none of it is the program's business.
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
        if let descriptor = Int32(entry), descriptor >= held + (isHolding ? 1 : 0) { close(descriptor) }
    }
    var wake: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &wake) == 0 else {
        exit(70)
    }
    wakeWriter = wake[1]
    signal(SIGCHLD, childEnded)
    adoptOrphans()
    var noCore = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(4), &noCore)  // RLIMIT_CORE: a core file would hold a tenant's data and secrets
    umask(0o077)
    for descriptor in [lifeline, statusPipe] + (isHolding ? [held] : []) { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    _ = chdir(directory)

    let child: pid_t
    switch start(program, arguments) {
    case .success(let pid): child = pid
    case .failure(let failure):
        report("X\(failure.code)")
        exit(71)
    }
    // The program's end must be seen at the other end of these, and its documents are for it alone.
    for descriptor in [0, 1, 2] + (Supervisor.firstDocument..<held) {
        close(descriptor)
    }
    _ = open("/dev/null", O_RDWR)
    dup2(0, 1)
    dup2(0, 2)

    var isOrphaned = false
    var grace = grace
    var killAt: ContinuousClock.Instant?
    while true {
        var ending = reap(child)
        if let killAt, killAt <= .now, ending == nil { ending = endDescendants(child) }
        if let ending {
            _ = endDescendants(child)
            // See <sys/wait.h>: the low seven bits are the signal, the next byte the status.
            report(ending & 0x7f == 0 ? "E\((ending >> 8) & 0xff)" : "S\(ending & 0x7f)")
            exit(0)
        }
        var polled = [
            pollfd(fd: isOrphaned ? -1 : lifeline, events: Int16(POLLIN), revents: 0),
            pollfd(fd: wake[0], events: Int16(POLLIN), revents: 0),
        ]
        _ = poll(&polled, 2, killAt == nil ? -1 : 20)
        if polled[0].revents != 0 {
            isOrphaned = true
            // Another grace than the usual one is said before the end of file.
            var said = [UInt8](repeating: 0, count: 16)
            let count = read(lifeline, &said, said.count)
            if count > 0, let other = Int32(String(decoding: said[..<count], as: UTF8.self)) { grace = other }
            kill(0, firstSignal)
            killAt = .now + .milliseconds(Int64(grace))
        }
        if polled[1].revents != 0 {
            var byte: UInt8 = 0
            _ = read(wake[0], &byte, 1)
        }
    }
}

private func report(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(statusPipe, $0.baseAddress, $0.count) }
}

private struct StartFailure: Error { let code: Int32 }

private func start(_ program: String, _ arguments: [String]) -> Result<pid_t, StartFailure> {
    let attributes = UnsafeMutablePointer<posix_spawnattr_t>.allocate(capacity: 1)
    posix_spawnattr_init(attributes)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigdefault(attributes, &all)
    posix_spawnattr_setflags(attributes, Int16(POSIX_SPAWN_SETSIGDEF))
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var pid = pid_t()
    let code = posix_spawn(&pid, program, nil, attributes, &pointers, environ)
    return code == 0 ? .success(pid) : .failure(StartFailure(code: code))
}

/// Makes this process the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER, prctl(2)), so that one that starts a session
/// of its own is still found. `prctl` is variadic, which Swift cannot call by name.
private func adoptOrphans() {
    guard let symbol = dlsym(nil, "prctl") else { return }
    typealias Prctl = @convention(c) (Int32, UInt, UInt, UInt, UInt) -> Int32
    _ = unsafeBitCast(symbol, to: Prctl.self)(36, 1, 0, 0, 0)
}

/// Collects ended children; the wait status of the program when it is among them.
private func reap(_ child: pid_t) -> Int32? {
    var ending: Int32?
    var code: Int32 = 0
    while true {
        let ended = waitpid(-1, &code, WNOHANG)
        guard ended > 0 else { return ending }
        if ended == child { ending = code }
    }
}

/// Kills all descendants, round after round until none is found: one may fork while it is looked for. Returns the wait status
/// of the program when it ended meanwhile.
private func endDescendants(_ child: pid_t) -> Int32? {
    var ending: Int32?
    for _ in 0..<100 {
        let (found, hasEnded) = descendants()
        // One that ended just then may have left children to this process.
        if found.isEmpty && !hasEnded { break }
        for pid in found { kill(pid, SIGKILL) }
        usleep(1000)
        ending = reap(child) ?? ending
    }
    return ending ?? reap(child)
}

/// The living descendants of this process. From the lists of children that Linux keeps (proc(5), /proc/PID/task/TID/children) where it does:
/// such a list may leave some out while others end, but is never empty while there are any, and who asks asks again until none is left.
/// Else from everybody's parent.
private func descendants() -> (living: [pid_t], hasEnded: Bool) {
    guard access("/proc/thread-self/children", R_OK) == 0 else { return (descendantsByParent(), false) }
    var found: [pid_t] = []
    var hasEnded = false
    var known: Set<pid_t> = []
    var ahead = children(of: getpid())
    while let pid = ahead.popLast() {
        // A process that came to us meanwhile would be met twice.
        guard known.insert(pid).inserted else { continue }
        // One that has ended and is not collected yet has left its children to others, and cannot be killed again.
        guard let fields = stat(of: pid), fields.state != "Z" else {
            hasEnded = true
            continue
        }
        found.append(pid)
        ahead += children(of: pid)
    }
    return (found, hasEnded)
}

/// The children of all threads of a process; none of one that is gone.
private func children(of pid: pid_t) -> [pid_t] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []).flatMap { thread -> [pid_t] in
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/task/\(thread)/children") else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: " ").compactMap { pid_t($0) }
    }
}

private func descendantsByParent() -> [pid_t] {
    var parents: [pid_t: pid_t] = [:]
    // Entries vanish while they are read: those are gone, which is what is wanted.
    for entry in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
        guard let pid = pid_t(entry), let fields = stat(of: pid), fields.state != "Z" else { continue }
        parents[pid] = fields.parent
    }
    let me = getpid()
    return parents.keys.filter { pid in
        var ancestor = parents[pid]
        while let current = ancestor, current > 1 {
            if current == me { return true }
            ancestor = parents[current]
        }
        return false
    }
}

/// A process's state and parent (proc(5), stat); nil of one that is gone.
private func stat(of pid: pid_t) -> (state: Substring, parent: pid_t)? {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat"),
        // The command's name in parentheses may hold anything: the fields follow the last one.
        let tail = String(decoding: data, as: UTF8.self).split(separator: ")").last
    else { return nil }
    let fields = tail.split(separator: " ")
    guard fields.count > 1, let parent = pid_t(fields[1]) else { return nil }
    return (fields[0], parent)
}
