import FoundationEssentials
import Glibc
import JobKit
import Testing

@Suite("JSON: depth")
struct JSONDepthTests {
    private static func nested(_ depth: Int, _ open: String, _ close: String) -> String {
        String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
    }

    @Test("a document nested as deep as is allowed is read, written and decoded on a stack as small as a slot's")
    func deep() {
        let passed = onSmallStack {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let text = JSONDepthTests.nested(128, open, close)
                guard let value = try? JSON(parsing: text), value.text == text else { return false }
                guard let copy = try? JSON(encoding: value), copy == value else { return false }
                guard let decoded = try? value.decode(JSON.self), decoded == value else { return false }
            }
            return true
        }
        #expect(passed)
    }

    @Test("a document nested too deep is refused, however deep it is", arguments: [129, 1_000, 100_000])
    func tooDeep(_ depth: Int) {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            #expect(throws: DecodingError.self) { try JSON(parsing: JSONDepthTests.nested(depth, open, close)) }
            #expect(throws: DecodingError.self) { try JSON(parsing: String(repeating: open, count: depth)) }
        }
    }

    @Test("a payload that holds JSON nested too deep is refused on a slot's stack", arguments: [130, 500])
    func deepPayload(_ depth: Int) {
        let passed = onSmallStack {
            [("[", "]"), ("{\"a\":", "}")].allSatisfy { open, close in
                let text = JSONDepthTests.nested(depth, open, close)
                do {
                    _ = try JSONDecoder().decode(JSON.self, from: Data(text.utf8))
                    return false
                } catch { return error is DecodingError }
            }
        }
        #expect(passed)
    }
}

/// Runs `body` on a thread with a slot's stack and returns what it returned.
private func onSmallStack(_ body: @escaping @Sendable () -> Bool) -> Bool {
    let attributes = UnsafeMutablePointer<pthread_attr_t>.allocate(capacity: 1)
    defer { attributes.deallocate() }
    pthread_attr_init(attributes)
    defer { pthread_attr_destroy(attributes) }
    pthread_attr_setstacksize(attributes, 1 << 20)
    var thread = pthread_t()
    let created = pthread_create(&thread, attributes, runBoxed, Unmanaged.passRetained(Box(body)).toOpaque())
    guard created == 0 else { return false }
    var result: UnsafeMutableRawPointer?
    pthread_join(thread, &result)
    return result != nil
}

private final class Box: Sendable {
    let body: @Sendable () -> Bool
    init(_ body: @escaping @Sendable () -> Bool) { self.body = body }
}

private func runBoxed(_ raw: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let raw else { return nil }
    return Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body() ? UnsafeMutableRawPointer(bitPattern: 1) : nil
}
