import CDashboard
import HTTP

/// The page's files, which are part of the program. What they may do is said by the content security policy: scripts, styles and data
/// from here, nothing inline, nothing from elsewhere, no frame around it.
enum PageFiles {
    private static let all: [String: HTTPResponse] = {
        var files: [String: HTTPResponse] = [:]
        for index in 0..<reeve_page_file_count {
            guard let file = reeve_page_file_at(index)?.pointee else { continue }
            let bytes = Array(UnsafeBufferPointer(start: file.bytes, count: file.length))
            files[String(cString: file.path)] = secured(
                HTTPResponse(200, headers: [("Content-Type", String(cString: file.type))], body: .bytes(bytes)))
        }
        return files
    }()

    /// The file at this path.
    static func file(_ path: String) -> HTTPResponse? { all[path] }

    /// With the fields that keep other sites out.
    static func secured(_ response: HTTPResponse) -> HTTPResponse {
        response
            .with(
                "Content-Security-Policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                    + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            .with("Referrer-Policy", "no-referrer").with("Cross-Origin-Opener-Policy", "same-origin")
            .with("Cross-Origin-Resource-Policy", "same-origin")
    }
}
