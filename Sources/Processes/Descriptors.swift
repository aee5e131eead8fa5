import Glibc

/// A connected pair of descriptors that no other child inherits: close-on-exec from the start, so that a spawn on another
/// thread cannot hold one open (a held lifeline would keep a dead worker's children alive).
struct DescriptorPair {
    let ours: Int32
    let theirs: Int32

    init() throws(ChildProcessError) {
        var pair: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &pair) == 0 else {
            throw ChildProcessError(
                code: "no_descriptors", message: "no descriptor is left: \(errorText(errno)); raise ulimit -n")
        }
        // As much as an ordinary user may have; a smaller buffer does no harm.
        var size: Int32 = 212_992
        for end in pair {
            setsockopt(end, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        // Above the numbers that the child expects, so that one dup2 cannot overwrite the source of the next.
        ours = pair[0]
        theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, 16)
        close(pair[1])
        guard theirs >= 0 else {
            close(pair[0])
            throw ChildProcessError(code: "no_descriptors", message: "no descriptor is left; raise ulimit -n")
        }
    }
}

/// The text of an errno value.
func errorText(_ code: Int32) -> String { String(cString: strerror(code)) }
