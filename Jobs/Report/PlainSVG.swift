/// An SVG that draws and does nothing else: no scripts, events, styles that load, references to the outside, document types or
/// processing instructions. Everything that is not known to be harmless is refused; nothing is cut out.
enum PlainSVG {
    private static let elements: Set<String> = [
        "svg", "g", "defs", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text",
        "tspan", "lineargradient", "radialgradient", "stop", "clippath", "mask", "symbol", "use", "metadata",
    ]

    /// Width and height in pixels, from the attributes or else the view box. Throws a `LogoError`.
    static func size(of bytes: [UInt8]) throws -> (Int, Int) {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw LogoError("it is no PNG, JPEG or SVG") }
        var reader = Reader(text)
        return try reader.read()
    }

    private struct Reader {
        private let characters: [Character]
        private var position = 0
        private var open: [String] = []
        private var size: (Int, Int)?

        init(_ text: String) { characters = Array(text.hasPrefix("\u{FEFF}") ? String(text.dropFirst()) : text) }

        mutating func read() throws -> (Int, Int) {
            while position < characters.count {
                guard characters[position] == "<" else {
                    guard !open.isEmpty || characters[position].isWhitespace else { throw notSVG }
                    position += 1
                    continue
                }
                if starts("<!--") {
                    try skip(to: "-->")
                } else if starts("<?xml ") && position == 0 {
                    try skip(to: "?>")
                } else if starts("</") {
                    try close()
                } else if starts("<!") || starts("<?") {
                    throw LogoError("the SVG holds a document type, CDATA or a processing instruction")
                } else {
                    try element()
                }
            }
            guard open.isEmpty, let size else { throw notSVG }
            return size
        }

        private var notSVG: LogoError { LogoError("it is no PNG, JPEG or well-formed SVG") }

        private func starts(_ text: String) -> Bool { characters[position...].starts(with: text) }

        private mutating func skip(to end: String) throws {
            while position < characters.count {
                if starts(end) {
                    position += end.count
                    return
                }
                position += 1
            }
            throw notSVG
        }

        private mutating func name() throws -> String {
            let start = position
            while position < characters.count, characters[position].isASCII,
                characters[position].isLetter || characters[position].isNumber || ":_-.".contains(characters[position])
            {
                position += 1
            }
            guard position > start else { throw notSVG }
            return String(characters[start..<position])
        }

        private mutating func space() {
            while position < characters.count, characters[position].isWhitespace { position += 1 }
        }

        private mutating func close() throws {
            position += 2
            let name = try name()
            space()
            guard position < characters.count, characters[position] == ">", open.popLast() == name else { throw notSVG }
            position += 1
        }

        private mutating func element() throws {
            position += 1
            let name = try name()
            let isRoot = open.isEmpty
            guard isRoot ? name == "svg" && size == nil : PlainSVG.elements.contains(name.lowercased()) else {
                if isRoot { throw notSVG }
                throw LogoError("the SVG holds the element \(name.prefix(40)), which a logo may not")
            }
            guard open.count < 64 else { throw LogoError("the SVG is nested deeper than 64 elements") }
            var attributes: [String: String] = [:]
            while true {
                space()
                guard position < characters.count else { throw notSVG }
                if characters[position] == ">" {
                    position += 1
                    open.append(name)
                    break
                }
                if starts("/>") {
                    position += 2
                    break
                }
                let (attribute, value) = try attribute()
                try PlainSVG.check(attribute, value)
                attributes[attribute] = value
            }
            if isRoot { size = try PlainSVG.size(attributes) }
        }

        private mutating func attribute() throws -> (String, String) {
            let name = try name()
            space()
            guard position < characters.count, characters[position] == "=" else { throw notSVG }
            position += 1
            space()
            guard position < characters.count, let quote = ["\"", "'"].first(where: { $0 == characters[position] })
            else {
                throw notSVG
            }
            position += 1
            let start = position
            while position < characters.count, characters[position] != quote {
                if characters[position] == "<" { throw notSVG }
                position += 1
            }
            guard position < characters.count else { throw notSVG }
            position += 1
            return (name.lowercased(), String(characters[start..<(position - 1)]))
        }
    }

    private static func check(_ name: String, _ value: String) throws {
        // Escapes could spell anything.
        let plain = value.lowercased().filter { !$0.isWhitespace && !$0.isControlCharacter }
        guard !name.hasPrefix("on") else { throw LogoError("the SVG holds a script (\(name.prefix(40)))") }
        if name == "xmlns" || name.hasPrefix("xmlns:") { return }
        if name == "href" || name == "xlink:href" || name == "src" {
            guard plain.hasPrefix("#") else { throw LogoError("the SVG refers to something outside of it") }
        }
        let bad = [
            "javascript:", "vbscript:", "data:", "@import", "expression(", "http:", "https:", "file:", "//", "\\", "&",
        ]
        for part in bad where plain.contains(part) {
            throw LogoError("the SVG's attribute \(name.prefix(40)) holds \(part), which a logo may not")
        }
        var rest = plain[...]
        while let found = rest.firstRange(of: "url(") {
            rest = rest[found.upperBound...]
            guard rest.drop(while: { $0 == "'" || $0 == "\"" }).hasPrefix("#") else {
                throw LogoError("the SVG refers to something outside of it")
            }
        }
    }

    private static func size(_ attributes: [String: String]) throws -> (Int, Int) {
        func length(_ text: String?) -> Double? {
            guard let text else { return nil }
            return Double(text.hasSuffix("px") ? String(text.dropLast(2)) : text)
        }
        let box =
            attributes["viewbox"]?.split(whereSeparator: { $0 == " " || $0 == "," }).compactMap { Double($0) } ?? []
        let width = length(attributes["width"]) ?? (box.count == 4 ? box[2] : nil)
        let height = length(attributes["height"]) ?? (box.count == 4 ? box[3] : nil)
        guard let width, let height, (0...1e6).contains(width), (0...1e6).contains(height) else {
            throw LogoError("the SVG says neither its size nor a view box in pixels")
        }
        return (Int(width.rounded()), Int(height.rounded()))
    }
}

extension Character {
    fileprivate var isControlCharacter: Bool { unicodeScalars.allSatisfy { $0.properties.generalCategory == .control } }
}
