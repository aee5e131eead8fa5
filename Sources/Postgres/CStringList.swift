/// Strings as C wants them: one buffer, and an array of pointers into it that ends with nil.
struct CStringList {
    private var bytes: [CChar] = []
    private var offsets: [Int] = []

    init(_ strings: [String?]) {
        offsets.reserveCapacity(strings.count)
        bytes.reserveCapacity(strings.reduce(0) { $0 + ($1?.utf8.count ?? 0) + 1 })
        for item in strings {
            guard var string = item else {
                offsets.append(-1)
                continue
            }
            offsets.append(bytes.count)
            string.withUTF8 { utf8 in
                utf8.withMemoryRebound(to: CChar.self) { bytes.append(contentsOf: $0) }
            }
            bytes.append(0)
        }
    }

    var count: Int { offsets.count }

    func withPointers<T>(_ body: (UnsafePointer<UnsafePointer<CChar>?>) -> T) -> T {
        bytes.withUnsafeBufferPointer { bytes in
            withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: offsets.count + 1) { pointers in
                for (index, offset) in offsets.enumerated() {
                    pointers.initializeElement(at: index, to: offset < 0 ? nil : bytes.baseAddress! + offset)
                }
                pointers.initializeElement(at: offsets.count, to: nil)
                return body(UnsafePointer(pointers.baseAddress!))
            }
        }
    }
}
