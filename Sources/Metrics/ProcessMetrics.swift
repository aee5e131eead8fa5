import Glibc

/// What Prometheus expects every process to say about itself, from proc(5).
enum ProcessMetrics {
    static func write(to text: inout MetricsText) {
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        let stat = read("/proc/self/stat")
        // The name in parentheses may hold anything; the fields behind it are numbers.
        let fields = stat.lastIndex(of: ")").map { stat[$0...].split(separator: " ") } ?? []
        if fields.count > 20, let user = Double(fields[12]), let system = Double(fields[13]),
            let started = Double(fields[20])
        {
            text.counter("process_cpu_seconds_total", "Processor time used.", (user + system) / ticks)
            let boot = read("/proc/stat").split(separator: "\n").first { $0.hasPrefix("btime ") }?.dropFirst(6)
            if let boot = boot.flatMap({ Double($0) }) {
                text.gauge("process_start_time_seconds", "When the process started.", boot + started / ticks)
            }
        }
        let pages = read("/proc/self/statm").split(separator: " ").dropFirst().first.flatMap { Double($0) }
        text.gauge(
            "process_resident_memory_bytes", "Resident memory.",
            pages.map { $0 * Double(sysconf(Int32(_SC_PAGESIZE))) })
        text.gauge("process_open_fds", "Open file descriptors.", openDescriptors())
    }

    private static func openDescriptors() -> Double? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = -3.0  // itself, "." and ".."
        while readdir(folder) != nil { count += 1 }
        return count
    }

    private static func read(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(file, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : ""
    }
}
