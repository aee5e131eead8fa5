import FoundationEssentials
import JobKit
import ReeveTesting
import Storage
import Testing

@Suite("Links that a store signs itself")
struct PresignedLinkTests {
    @Test("a link reads its one object, says that it ends within 15 minutes, and a folder has none")
    func read() throws {
        let fixture = BucketFixture()
        let key = try fixture.newKey()
        try fixture.put(key, bytes: 1000)
        for (asked, seconds) in [(Duration.seconds(60), 60), (.seconds(86_400), 900)] {
            let link = try #require(try fixture.store.presignedLink(for: key, expires: asked))
            #expect(link.contains("X-Amz-Expires=\(seconds)&") && link.contains("X-Amz-Signature="))
            let path = String(link.drop { $0 != "?" })
            let start = try #require(link.split(separator: "/", maxSplits: 2).last)
            let place = "/" + start.prefix { $0 != "?" }
            #expect(place.hasSuffix("/base/\(key)"))
            #expect(fixture.server.ask("GET", place + path).status == 200)
        }
        #expect(throws: StorageError.self) {
            try fixture.store.presignedLink(for: fixture.newKey(), expires: .seconds(60))
        }
        let folder = FolderStore(root: "/tmp/nowhere")
        #expect(try folder.presignedLink(for: key, expires: .seconds(60)) == nil)
    }
}
