/// How numbers and dates are written in a locale, and the few words that a report needs. From the tables of Unicode CLDR, for the
/// languages below; others are told in English words with ISO dates.
struct LocaleRules: Sendable {
    /// `de`
    let language: String
    /// The tag for `lang` attributes: `de-CH`.
    let tag: String
    let decimal: String
    let group: String
    /// Whole parts with fewer digits are not grouped.
    let groupFrom: Int
    let date: DateOrder
    let months: [String]
    let words: Words
    /// Whether a space stands before `%`.
    let percentSpace: String

    enum DateOrder: Sendable { case monthDayYear, dayMonthYear, dots, slashes, dashes, iso, cjk }

    struct Words: Sendable {
        let total, average, minimum, maximum, count, noRows, parameters, dataAsOf, made, scope, yes, no, truncated, of,
            noValue, replica, page, customer, division, locations, noChart: String
    }

    /// The rules of a BCP 47 tag such as `de-CH` or `de_CH`.
    init(tag: String) {
        let parts = tag.split(whereSeparator: { $0 == "-" || $0 == "_" }).map(String.init)
        language = parts.first?.lowercased() ?? "en"
        self.tag = parts.joined(separator: "-")
        let region = parts.dropFirst().first { $0.count == 2 }?.uppercased()
        let narrow = "\u{202F}"
        let space = "\u{A0}"
        switch (language, region) {
        case ("de", "CH"), ("de", "LI"), ("it", "CH"): (decimal, group) = (".", "’")
        case ("de", "AT"): (decimal, group) = (",", space)
        case ("fr", "CH"): (decimal, group) = (",", narrow)
        case ("de", _), ("es", _), ("it", _), ("nl", _), ("pt", _), ("da", _), ("id", _), ("tr", _), ("el", _),
            ("ro", _), ("hr", _), ("sl", _):
            (decimal, group) = (",", ".")
        case ("fr", _): (decimal, group) = (",", narrow)
        case ("pl", _), ("cs", _), ("sk", _), ("sv", _), ("nb", _), ("no", _), ("nn", _), ("fi", _), ("hu", _),
            ("uk", _),
            ("bg", _), ("ru", _), ("et", _), ("lv", _), ("lt", _):
            (decimal, group) = (",", space)
        default: (decimal, group) = (".", ",")
        }
        groupFrom = ["es", "pl", "pt", "bg"].contains(language) ? 5 : 4
        percentSpace = ["en", "it", "nl", "pt", "tr", "ja", "zh", "ko"].contains(language) ? "" : space
        switch (language, region) {
        case ("en", nil), ("en", "US"), ("en", "PH"): date = .monthDayYear
        case ("en", "CA"): date = .iso
        case ("en", _): date = .dayMonthYear
        case ("fr", "CH"), ("it", "CH"): date = .dots
        case ("fr", "CA"): date = .iso
        case ("fr", _), ("es", _), ("it", _), ("pt", _), ("el", _): date = .slashes
        case ("nl", _): date = .dashes
        case ("de", _), ("pl", _), ("cs", _), ("sk", _), ("nb", _), ("no", _), ("nn", _), ("da", _), ("fi", _),
            ("ro", _),
            ("hr", _), ("sl", _), ("tr", _), ("uk", _), ("ru", _), ("bg", _), ("et", _), ("lv", _):
            date = .dots
        case ("ja", _), ("zh", _), ("ko", _): date = .cjk
        default: date = .iso
        }
        months = Self.monthNames[language] ?? []
        words = Self.wordsByLanguage[language] ?? Self.english
    }

    private static let monthNames: [String: [String]] = [
        "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        "de": ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."],
        "fr": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
        "es": ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"],
        "it": ["gen", "feb", "mar", "apr", "mag", "giu", "lug", "ago", "set", "ott", "nov", "dic"],
        "nl": ["jan.", "feb.", "mrt.", "apr.", "mei", "jun.", "jul.", "aug.", "sep.", "okt.", "nov.", "dec."],
        "pl": ["sty", "lut", "mar", "kwi", "maj", "cze", "lip", "sie", "wrz", "paź", "lis", "gru"],
        "cs": ["led", "úno", "bře", "dub", "kvě", "čvn", "čvc", "srp", "zář", "říj", "lis", "pro"],
        "pt": ["jan.", "fev.", "mar.", "abr.", "mai.", "jun.", "jul.", "ago.", "set.", "out.", "nov.", "dez."],
        "sv": ["jan.", "feb.", "mars", "apr.", "maj", "juni", "juli", "aug.", "sep.", "okt.", "nov.", "dec."],
        "da": ["jan.", "feb.", "mar.", "apr.", "maj", "jun.", "jul.", "aug.", "sep.", "okt.", "nov.", "dec."],
        "nb": ["jan.", "feb.", "mars", "apr.", "mai", "juni", "juli", "aug.", "sep.", "okt.", "nov.", "des."],
    ]

    private static let english = Words(
        total: "Total", average: "Average", minimum: "Minimum", maximum: "Maximum", count: "Count",
        noRows: "There is nothing to show for this selection.", parameters: "Selection", dataAsOf: "Data as of",
        made: "Made by", scope: "Limited to", yes: "Yes", no: "No",
        truncated: "This page shows the first %@ rows of %@; the totals are those of all. The CSV file has every row.",
        of: "of", noValue: "not set", replica: "read from a replica", page: "Page", customer: "Customer",
        division: "Division", locations: "Locations", noChart: "Too many points to draw; see the table.")

    private static let wordsByLanguage: [String: Words] = [
        "en": english,
        "de": Words(
            total: "Summe", average: "Durchschnitt", minimum: "Minimum", maximum: "Maximum", count: "Anzahl",
            noRows: "Für diese Auswahl gibt es keine Daten.", parameters: "Auswahl", dataAsOf: "Datenstand",
            made: "Erstellt mit", scope: "Eingeschränkt auf", yes: "Ja", no: "Nein",
            truncated:
                "Diese Seite zeigt die ersten %@ von %@ Zeilen; die Summen gelten für alle. Die CSV-Datei enthält jede "
                + "Zeile.", of: "von", noValue: "ohne Angabe", replica: "von einer Replik gelesen", page: "Seite",
            customer: "Kunde", division: "Geschäftsbereich", locations: "Standorte",
            noChart: "Zu viele Punkte für ein Diagramm; siehe Tabelle."),
        "fr": Words(
            total: "Total", average: "Moyenne", minimum: "Minimum", maximum: "Maximum", count: "Nombre",
            noRows: "Aucune donnée pour cette sélection.", parameters: "Sélection", dataAsOf: "Données au",
            made: "Produit avec", scope: "Limité à", yes: "Oui", no: "Non",
            truncated:
                "Cette page montre les %@ premières lignes sur %@ ; les totaux portent sur toutes. Le fichier CSV "
                + "contient chaque ligne.", of: "sur", noValue: "non précisé", replica: "lu depuis un réplica",
            page: "Page",
            customer: "Client", division: "Division", locations: "Sites",
            noChart: "Trop de points pour un graphique ; voir le tableau."),
        "es": Words(
            total: "Total", average: "Media", minimum: "Mínimo", maximum: "Máximo", count: "Número",
            noRows: "No hay datos para esta selección.", parameters: "Selección", dataAsOf: "Datos a",
            made: "Generado con", scope: "Limitado a", yes: "Sí", no: "No",
            truncated:
                "Esta página muestra las primeras %@ filas de %@; los totales son de todas. El archivo CSV contiene "
                + "todas las filas.", of: "de", noValue: "sin indicar", replica: "leído de una réplica", page: "Página",
            customer: "Cliente", division: "División", locations: "Ubicaciones",
            noChart: "Demasiados puntos para un gráfico; véase la tabla."),
        "it": Words(
            total: "Totale", average: "Media", minimum: "Minimo", maximum: "Massimo", count: "Numero",
            noRows: "Nessun dato per questa selezione.", parameters: "Selezione", dataAsOf: "Dati al",
            made: "Prodotto con", scope: "Limitato a", yes: "Sì", no: "No",
            truncated:
                "Questa pagina mostra le prime %@ righe di %@; i totali riguardano tutte. Il file CSV contiene ogni "
                + "riga.", of: "di", noValue: "non indicato", replica: "letto da una replica", page: "Pagina",
            customer: "Cliente", division: "Divisione", locations: "Sedi",
            noChart: "Troppi punti per un grafico; vedere la tabella."),
        "nl": Words(
            total: "Totaal", average: "Gemiddelde", minimum: "Minimum", maximum: "Maximum", count: "Aantal",
            noRows: "Er zijn geen gegevens voor deze selectie.", parameters: "Selectie", dataAsOf: "Gegevens per",
            made: "Gemaakt met", scope: "Beperkt tot", yes: "Ja", no: "Nee",
            truncated:
                "Deze pagina toont de eerste %@ van %@ rijen; de totalen gelden voor alle. Het CSV-bestand bevat elke "
                + "rij.", of: "van", noValue: "niet opgegeven", replica: "gelezen van een replica", page: "Pagina",
            customer: "Klant", division: "Divisie", locations: "Locaties",
            noChart: "Te veel punten voor een grafiek; zie de tabel."),
    ]
}
