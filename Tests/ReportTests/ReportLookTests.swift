import Foundation
import JobKit
import Processes
import ReeveTesting
import Storage
import Testing

@testable import Report

/// Reports as readers get them: in a browser on a phone and on a desk, and on paper. With REEVE_LOOK naming a folder the pages, their
/// pictures and their prints stay there to be looked at.
@Suite("How reports look") struct ReportLookTests {
    private static let chromium = "/usr/bin/chromium"

    /// A tenant with all that a brand may have, a scope, long names and hostile ones, and enough rows for several sheets.
    private func page(_ bench: ReportBench, _ formats: [ReportJob.Format] = [.html]) throws -> [Artifact] {
        let tenant = try bench.fixture.tenant("rpt-schema-b")
        try bench.define(
            "look",
            """
            SELECT n AS no, CASE WHEN n = 3 THEN repeat('unbreakable', 30) WHEN n = 4 THEN E'\\u202Eevil\\u202C <b>' ELSE 'Customer ' || n || ' GmbH & Co. KG' END AS a,
                   date '2026-01-01' + n AS d, n * 1234.5 AS amount, -n AS change, n * 0.001 AS share, now() AS seen
            FROM generate_series(1, 180) n
            """,
            columns: [
                ["name": "no", "title": "Number", "format": "integer"],
                ["name": "a", "title": "A customer's name", "total": "count"],
                ["name": "d", "title": "Day"],
                ["name": "amount", "title": "An amount with a long title", "format": "currency", "total": "sum"],
                ["name": "change", "title": "Change", "unit": "kg", "total": "minimum"],
                ["name": "share", "title": "Share", "format": "percent", "total": "average"],
                ["name": "seen", "title": "Seen"],
            ],
            extra: [
                "charts": [
                    ["type": "line", "title": "Amounts by day", "x": "d", "y": ["amount", "change"]],
                    ["type": "bar", "title": "Amounts by number", "x": "no", "y": "amount"],
                ], "description": "What is seen of it.",
            ])
        guard
            case .finished(let result) = try bench.run(
                .init(report: "look", formats: formats), tenant,
                printer: PagePrinter(program: Self.chromium, supervisor: BuiltProducts.supervisor))
        else { throw JobFailure("no", "not finished") }
        return result.artifacts
    }

    private func chromium(_ arguments: [String], in folder: String) throws -> String {
        var bytes: [UInt8] = []
        let run = try ChildProcess.run(
            program: Self.chromium,
            arguments: [
                "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                "--hide-scrollbars", "--user-data-dir=\(folder)/profile",
            ] + arguments,
            environment: ["PATH": "/usr/bin:/bin", "HOME": folder, "LC_ALL": "C.UTF-8"],
            supervisor: BuiltProducts.supervisor, deadline: .now + .seconds(60)
        ) { bytes += $0 }
        guard run.exit == .exited(0) else { throw JobFailure("chromium", run.standardError) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func poppler(_ program: String, _ arguments: [String]) throws -> String {
        var bytes: [UInt8] = []
        let run = try ChildProcess.run(
            program: "/usr/bin/\(program)", arguments: arguments, environment: ["PATH": "/usr/bin:/bin"],
            supervisor: BuiltProducts.supervisor
        ) { bytes += $0 }
        guard run.exit == .exited(0) else { throw JobFailure(program, run.standardError) }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test("a page fits a phone, a tablet and a desk: nothing but the table scrolls sideways")
    func widths() throws {
        let bench = try ReportBench()
        let folder = ScratchFolder()
        var pages = ["look": String(decoding: try bench.bytes(page(bench)[0]), as: UTF8.self)]
        let shipped = try ReportBench(shipped: true)
        let tenant = try bench.fixture.tenant("rpt-schema-a")
        for name in ["receivables", "sales-by-month"] {
            pages[name] = try shipped.texts(.init(report: name), tenant)[.html]
        }
        // The page in frames of three widths; what the frames' own documents measure is written into the outer one.
        var outer = "<!doctype html><meta charset=utf-8><body>"
        for (name, page) in pages.sorted(by: { $0.key < $1.key }) {
            for width in [360, 390, 768, 1280] {
                let source = page.replacing("&", with: "&amp;").replacing("\"", with: "&quot;")
                outer +=
                    "<iframe title=\"\(name)\" style=\"width:\(width)px;height:900px;border:0\" srcdoc=\"\(source)\"></iframe>"
            }
        }
        outer += """
            <script>onload = () => { document.title = [...document.querySelectorAll("iframe")].map(f => {
              const d = f.contentDocument, w = d.documentElement
              const small = [...d.querySelectorAll("svg text")].filter(t => t.checkVisibility() && t.getBoundingClientRect().height < 9).length
              return f.title + ":" + f.clientWidth + ":" + w.scrollWidth + ":" + small }).join(";") }</script>
            """
        let file = "\(folder.path)/outer.html"
        try outer.write(toFile: file, atomically: true, encoding: .utf8)
        let dom = try chromium(["--virtual-time-budget=3000", "--dump-dom", "file://\(file)"], in: folder.path)
        let title = dom.split(separator: "<title>").dropFirst().first?.split(separator: "</title>").first ?? ""
        let measured = title.split(separator: ";").map { $0.split(separator: ":") }
        #expect(measured.count == 12, "\(dom.prefix(400))")
        for entry in measured where entry.count == 4 {
            #expect(entry[1] == entry[2], "\(entry[0]) is \(entry[2]) px wide on a screen of \(entry[1])")
            #expect(entry[3] == "0", "\(entry[0]) has text too small to read at \(entry[1]) px")
        }
        try keep(pages, folder)
    }

    @Test("a print has every row, the table's head on every sheet, page numbers, and the texts as texts")
    func print() throws {
        let bench = try ReportBench()
        let folder = ScratchFolder()
        let plain = try bench.fixture.tenant("rpt-schema-b")
        try bench.define("plain", "SELECT 1 AS a")
        #expect(bench.failure(.init(report: "plain", formats: [.pdf]), plain) == "report_no_printer")
        let artifact = try page(bench, [.pdf])[0]
        let file = "\(folder.path)/look.pdf"
        try Data(try bench.bytes(artifact)).write(to: URL(fileURLWithPath: file))
        let about = try poppler("pdfinfo", [file])
        #expect(about.contains("(A4)") && about.contains("Title of look"), "\(about)")
        let pages = try poppler("pdftotext", ["-layout", file, "-"]).split(separator: "\u{C}").map(String.init)
        #expect(pages.count >= 4)
        let text = pages.joined()
        for number in [1, 2, 90, 180] { #expect(text.contains("Customer \(number) GmbH & Co. KG")) }
        for (index, page) in pages.enumerated() {
            #expect(
                page.replacing(" ", with: "").contains("\(index + 1)/\(pages.count)\n"),
                "no page number on sheet \(index + 1)")
            if page.contains("GmbH & Co. KG") { #expect(page.contains("Change"), "no head on sheet \(index + 1)") }
        }
        // 1234.5 times 180 * 181 / 2, as a German reads it.
        #expect(text.contains("20.110.005,00") && text.contains("Minimum") && text.contains("Durchschnitt"))
        if let look = ProcessInfo.processInfo.environment["REEVE_LOOK"] {
            try? FileManager.default.removeItem(atPath: "\(look)/look.pdf")
            try FileManager.default.copyItem(atPath: file, toPath: "\(look)/look.pdf")
        }
    }

    @Test("another program prints too; one that fails, prints nothing or does not end leaves no report")
    func otherPrinters() throws {
        let bench = try ReportBench()
        let folder = ScratchFolder()
        let tenant = try bench.fixture.tenant("rpt-schema-b")
        try bench.define("plain", "SELECT 1 AS a")
        func printing(_ script: String, stop: StopSignal = StopSignal()) throws -> String? {
            let path = "\(folder.path)/printer-\(UUID())"
            try writeProgram("#!/bin/sh\n\(script)\n", to: path)
            let printer = PagePrinter(program: path, supervisor: BuiltProducts.supervisor)
            guard
                case .finished(let result) = try bench.run(
                    .init(report: "plain", formats: [.pdf]), tenant, printer: printer, stop: stop)
            else { return nil }
            return String(decoding: try bench.bytes(result.artifacts[0]), as: UTF8.self)
        }
        let made = try printing("grep -c '<table' \"$1\" >\"$2\"; env | cut -d= -f1 | sort >>\"$2\"")
        #expect(made?.hasPrefix("1\nHOME\n") == true && made?.contains("REEVE") == false, "\(made ?? "")")
        let files = bench.folder.files()
        for (script, said) in [
            ("exit 3", "exit status 3"), ("exit 0", "exit status 0"), ("kill -9 $$", "signal 9"),
            ("echo 'No usable sandbox! If this is' >&2; exit 1", "user namespaces"),
        ] {
            do {
                _ = try printing(script)
                Issue.record("\(script) printed")
            } catch let error as JobFailure {
                #expect(error.code == "report_print" && error.message.contains(said), "\(script): \(error)")
            }
        }
        #expect(throws: ChildProcessError.self) {
            try bench.run(
                .init(report: "plain", formats: [.pdf]), tenant,
                printer: PagePrinter(program: "/nonexistent/chromium", supervisor: BuiltProducts.supervisor))
        }
        let stop = StopSignal()
        let pipe = "\(folder.path)/begun"
        #expect(mkfifo(pipe, 0o600) == 0)
        let stopper = Thread {
            // Opens once the printer has.
            close(open(pipe, O_RDONLY))
            stop.stop(.cancelled)
        }
        stopper.start()
        let began = ContinuousClock.now
        #expect(throws: Stopped.self) { try printing(": >'\(pipe)'; sleep 600", stop: stop) }
        #expect(.now - began < .seconds(30))
        #expect(bench.folder.files() == files)
    }

    /// Pages with their pictures, for people.
    private func keep(_ pages: [String: String], _ folder: ScratchFolder) throws {
        guard let look = ProcessInfo.processInfo.environment["REEVE_LOOK"] else { return }
        try FileManager.default.createDirectory(atPath: look, withIntermediateDirectories: true)
        for (name, page) in pages {
            try page.write(toFile: "\(look)/\(name).html", atomically: true, encoding: .utf8)
            for width in [390, 1280] {
                _ = try chromium(
                    [
                        "--window-size=\(width),2400", "--screenshot=\(look)/\(name)-\(width).png",
                        "file://\(look)/\(name).html",
                    ], in: folder.path)
            }
        }
    }
}
