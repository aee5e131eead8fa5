import Dispatch
import WorkerEngine

/// A duration in seconds.
func seconds(_ duration: Duration) -> Double { duration / .seconds(1) }

/// A duration in milliseconds, to the microsecond.
func milliseconds(_ duration: Duration) -> Double { (duration / .microseconds(1)).rounded() / 1000 }

/// Blocks this thread.
func sleep(_ duration: Duration) {
    _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .microseconds(Int(duration / .microseconds(1))))
}

/// The nearest-rank percentile of sorted values.
func percentile(_ sorted: [Duration], _ share: Double) -> Duration {
    guard !sorted.isEmpty else { return .zero }
    return sorted[min(sorted.count - 1, max(0, Int((share * Double(sorted.count)).rounded(.up)) - 1))]
}

/// This process's resident memory.
func residentKilobytes() throws -> Int64 {
    guard let bytes = residentMemory() else { throw BenchFailure("there is no /proc/self/statm") }
    return bytes / 1024
}
