import Foundation

/// A reproducible source of randomness (SplitMix64).
public struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    /// The same numbers for the same seed.
    public init(seed: UInt64) { state = seed }
    /// The next number.
    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// The seed that REEVE_SEED names, or a new one; printed, so that a failing run can be repeated.
    public static func fromEnvironment() -> SeededGenerator {
        let named = ProcessInfo.processInfo.environment["REEVE_SEED"].flatMap { UInt64($0) }
        let seed = named ?? UInt64.random(in: 1...999_999)
        print("fault seed: \(seed)")
        return SeededGenerator(seed: seed)
    }
}
