/// What libFuzzer calls: any bytes, whole and byte by byte; a request that is let through must keep what the parser promises. Built with
/// the parser's own sources by deploy/fuzz, not part of the package.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTP(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: size))
    let parser = HTTPParser()
    let verdict = parser.parse(bytes)
    guard case .request(let request, let length) = verdict else { return 0 }
    precondition(length <= bytes.count)
    precondition(request.path.hasPrefix("/"))
    precondition(request.body.count <= 65_536)
    precondition(request.headers.count { $0.name == "host" } <= 1)
    precondition(
        request.headers.allSatisfy { field in
            !field.name.isEmpty && !(field.name + field.value).utf8.contains { $0 == 13 || $0 == 10 || $0 == 0 }
        })
    // What came in one piece is read the same however it is cut.
    for cut in [1, length / 2, length - 1] where cut > 0 && cut < length {
        precondition(parser.parse(Array(bytes[..<cut])) == .incomplete)
    }
    precondition(parser.parse(Array(bytes[..<length])) == verdict)
    return 0
}
