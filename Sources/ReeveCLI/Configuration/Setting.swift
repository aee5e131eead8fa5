/// One thing that can be configured (design section 11). The table of all settings is what `reeve config` prints.
public struct Setting: Sendable, Equatable {
    /// The key in `reeve.json`: `database_url`.
    public let key: String
    /// The option that overrides it, where a command has it; secrets have none.
    public let flag: String?
    /// How a value is shown in help.
    public let placeholder: String
    /// What it is.
    public let summary: String
    /// Whether it is never printed and may be read from the file that `…_FILE` names.
    public let isSecret: Bool
    /// What may be said, when only some words are.
    public let choices: [String]?
    /// What holds when nobody says anything.
    public let standard: String?

    /// The environment variable: `REEVE_DATABASE_URL`.
    public var variable: String { "REEVE_" + key.uppercased() }

    init(
        _ key: String, _ placeholder: String, _ summary: String, flag: String? = nil, isSecret: Bool = false,
        choices: [String]? = nil, standard: String? = nil
    ) {
        self.key = key
        self.flag = flag
        self.placeholder = placeholder
        self.summary = summary
        self.isSecret = isSecret
        self.choices = choices
        self.standard = standard
    }

    /// The control database.
    public static let databaseURL = Setting(
        "database_url", "URL", "the control database: any libpq URL, keyword string or service=name", isSecret: true)
    /// Where artifacts are stored.
    public static let storage = Setting(
        "storage", "PLACE", "where artifacts are stored: a folder, or <remote>:<path> for rclone", flag: "storage")
    /// The key that seals credentials.
    public static let keyFile = Setting("key_file", "FILE", "the key that seals credentials", flag: "key-file")
    /// A command that prints that key.
    public static let keyCommand = Setting("key_command", "COMMAND", "a command that prints that key")
    /// The folder of tenants' identities.
    public static let identities = Setting(
        "identities", "FOLDER", "the folder of tenants' identities (private keys); for restore workers and reeve keys")
    /// A program that keeps tenants' identities.
    public static let identityCommand = Setting(
        "identity_command", "PROGRAM",
        "a program that keeps tenants' identities instead: an absolute path, no arguments")
    /// Whose recipients an escrow adds.
    public static let escrowRecipients = Setting(
        "escrow_recipients", "RECIPIENTS", "age recipients that reeve keys --escrow adds to a tenant's: age1…,age1…")
    /// What a worker may run.
    public static let role = Setting(
        "role", "ROLE", "plain, or restore: jobs that need tenants' identities, and no others", flag: "role",
        choices: ["plain", "restore"], standard: "plain")
    /// The region of this process.
    public static let region = Setting("region", "REGION", "the region that this process runs in", flag: "region")
    /// Slots by tier.
    public static let pools = Setting("pools", "SLOTS", "slots by tier: starter=4,professional=8", flag: "pools")
    /// The queues that a worker serves.
    public static let queues = Setting("queues", "PATTERNS", "the queues to serve: 'acme.*,*.backups'", flag: "queues")
    /// The tiers that a worker serves.
    public static let tiers = Setting("tiers", "TIERS", "the tiers to serve: starter,professional", flag: "tiers")
    /// Where programs may be run from.
    public static let programs = Setting(
        "programs", "FOLDERS", "where kinds in other languages may be run from: /opt/jobs:/srv/jobs", flag: "programs")
    /// The memory that a worker may use.
    public static let maxRSS = Setting(
        "max_rss", "SIZE",
        "resident memory over which a worker drains and ends with status 75, to be started again: 2G",
        flag: "max-rss")
    /// Above which size a database is dumped in several streams.
    public static let backupSplit = Setting(
        "backup_split", "SIZE", "above how much data a database is dumped in several streams: 20G", standard: "20G")
    /// The SQL that a new tenant's tables are made from.
    public static let template = Setting("template", "FOLDER", "the SQL that tenants are made from", flag: "template")
    /// The report definitions.
    public static let reports = Setting(
        "reports", "FOLDER", "the folder of report definitions and branding", flag: "reports")
    /// Where personal data is.
    public static let dataMap = Setting(
        "data_map", "FILE", "where personal data is: the data map, or a folder of <tenant>.json and default.json",
        flag: "data-map")
    /// What prints PDF.
    public static let pdfProgram = Setting(
        "pdf_program", "PATH",
        "what prints reports to PDF: a Chromium (/usr/bin/chromium), or a program that is run as PROGRAM PAGE PDF",
        flag: "pdf-program")
    /// How logs are written.
    public static let log = Setting("log", "FORMAT", "the form of log lines", flag: "log", choices: ["json", "text"])
    /// The least serious log line that is written.
    public static let logLevel = Setting(
        "log_level", "LEVEL", "the least serious log line that is written", flag: "log-level",
        choices: ["debug", "info", "warning", "error"], standard: "info")
    /// How long dead letters are kept.
    public static let deadLettersKept = Setting(
        "dead_letters_kept", "TIME", "how long dead letters are kept: 90d", standard: "90d")
    /// How long a proven backup counts.
    public static let proofLimit = Setting(
        "proof_limit", "TIME", "how long a backup that was proven by a restore counts: 35d", standard: "35d")
    /// The systems that a purge clears besides databases and stores.
    public static let purgeHooks = Setting(
        "purge_hooks", "FILE", "caches and search indices that are cleared of a tenant: a file of JSON")
    /// The folder of the fleet's signing keys.
    public static let signingKeys = Setting(
        "signing_keys", "FOLDER", "the folder of the fleet's signing keys; for restore workers and reeve keys signing")
    /// A program that keeps the fleet's signing keys.
    public static let signingCommand = Setting(
        "signing_command", "PROGRAM", "a program that keeps the fleet's signing keys instead: an absolute path")
    /// Where the heads of the audit's chains are anchored.
    public static let anchorStorage = Setting(
        "anchor_storage", "PLACE",
        "where the heads of the audit's chains are anchored: best where nothing can be overwritten (REEVE_STORAGE)",
        flag: "anchor-storage")
    /// How often.
    public static let anchorEvery = Setting(
        "anchor_every", "TIME", "how often workers anchor the audit, when it moved: 5m", standard: "5m")
    /// Under which ticket somebody acts.
    public static let ticket = Setting(
        "ticket", "TICKET", "the ticket or case that this is done for; the audit keeps it", flag: "ticket")
    /// The mail server.
    public static let smtpURL = Setting(
        "smtp_url", "URL", "the mail server: smtp://user:password@mail.example.com:587", isSecret: true)
    /// A program that sends mail instead.
    public static let sendmail = Setting(
        "sendmail", "PROGRAM", "a program with sendmail's interface that sends mail instead: an absolute path")
    /// Who mails come from.
    public static let mailFrom = Setting(
        "mail_from", "ADDRESS", "who mails come from: Platform <noreply@platform.example>")
    /// The folder of mail templates.
    public static let mailTemplates = Setting("mail_templates", "FOLDER", "the folder of templates for reminders")
    /// Where a plan is chosen.
    public static let planURL = Setting(
        "plan_url", "URL", "where reminders send people to choose a plan: https://app.example/{tenant_code}/plan")
    /// Where reminders are ended.
    public static let unsubscribeURL = Setting(
        "unsubscribe_url", "URL", "the page that ends reminders: https://app.example/unsubscribe/{token}")
    /// Who of the fleet is told what compliance has to know.
    public static let compliance = Setting(
        "compliance", "TARGETS", "who is told what compliance has to know: dpo@platform.example,https://…")
    /// What webhooks are signed with.
    public static let webhookSecret = Setting(
        "webhook_secret", "SECRET", "what webhooks are signed with; 16 characters or more", isSecret: true)
    /// What is before the tenant's code in the names of topics.
    public static let topicPrefix = Setting(
        "topic_prefix", "PREFIX", "what is before the tenant's code in every topic's name ('prod.')",
        flag: "topic-prefix")
    /// Where messages are taken in.
    public static let intake = Setting(
        "intake", "WHERE", "who takes jobs from Kafka: workers too, or reeve intake alone", flag: "intake",
        choices: ["worker", "alone"], standard: "worker")

    /// Where outboxes are relayed and events sent.
    public static let relay = Setting(
        "relay", "WHERE", "who relays outboxes and sends events: workers too, or reeve relay alone",
        choices: ["worker", "alone"], standard: "worker")
    /// Where a process serves its metrics and health, or the dashboard.
    public static let listen = Setting(
        "listen", "ADDRESS", "where metrics and health, or the dashboard, are served: 127.0.0.1:9464", flag: "listen")
    /// Where the routes for people without an account are served.
    public static let publicListen = Setting(
        "public_listen", "ADDRESS", "where links to artifacts and the end of reminders are served: 0.0.0.0:8080",
        flag: "public")
    /// Under which names the dashboard is reached.
    public static let dashboardHosts = Setting(
        "dashboard_hosts", "NAMES", "the names under which the dashboard is reached: ops.platform.example", flag: "host"
    )
    /// Who may come into the dashboard.
    public static let dashboardTokens = Setting(
        "dashboard_tokens", "TOKENS", "who may come in, as name:role:token,…; roles: viewer, operator, admin",
        isSecret: true)
    /// Which proxies are trusted to say who somebody is.
    public static let dashboardProxies = Setting(
        "dashboard_proxies", "ADDRESSES", "proxies that are trusted to say who somebody is: 10.0.0.5,10.0.0.6")
    /// Which roles the groups have that those name.
    public static let dashboardGroups = Setting(
        "dashboard_groups", "GROUPS", "the roles of the groups that those name: viewer=*,operator=sre,admin=leads")
    /// Where spans go.
    public static let otlpEndpoint = Setting(
        "otlp_endpoint", "URL", "where spans of attempts go as OTLP/JSON over HTTP: http://127.0.0.1:4318")

    /// Every setting.
    public static let all: [Setting] = [
        databaseURL, storage, keyFile, keyCommand, identities, identityCommand, escrowRecipients, region, role, pools,
        queues, tiers, maxRSS, programs, backupSplit, template, reports, dataMap, pdfProgram, log, logLevel,
        deadLettersKept, proofLimit, anchorStorage, anchorEvery, ticket, signingKeys, signingCommand, purgeHooks,
        smtpURL, sendmail,
        mailFrom, mailTemplates, planURL, unsubscribeURL, compliance, webhookSecret, topicPrefix, intake, relay, listen,
        publicListen, dashboardHosts, dashboardTokens, dashboardProxies, dashboardGroups, otlpEndpoint,
    ]
}
