// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
]

func library(_ name: String, _ path: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: path, exclude: exclude, swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], isOptimized: Bool = false) -> Target {
    .testTarget(
        name: name, dependencies: dependencies + ["ReeveTesting"], path: "Tests/\(name)",
        swiftSettings: swiftSettings + (isOptimized ? [.unsafeFlags(["-O"])] : []))
}

let package = Package(
    name: "reeve",
    products: [
        .executable(name: "reeve", targets: ["reeve"]),
        // A platform's own package adds kinds with these and builds its own `reeve` (README, "Add a kind").
        .library(
            name: "ReeveKit", targets: ["JobKit", "Postgres", "Tenancy", "Storage", "Processes", "Backup", "Restore", "Export", "Erasure", "Artifacts", "ReeveCLI"]),
    ],
    targets: [
        // C libraries: one Swift target each may import them.
        .systemLibrary(
            name: "CLibpq", path: "Sources/CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CCrypto", path: "Sources/CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CRdKafka", path: "Sources/CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),

        // Vocabulary and layers.
        library("JobKit", "Sources/JobKit", []),
        library("Postgres", "Sources/Postgres", ["CLibpq", "JobKit"]),
        library("Crypto", "Sources/Crypto", ["CCrypto"]),
        library("Processes", "Sources/Processes", ["JobKit"]),
        library("Storage", "Sources/Storage", ["Processes", "Crypto", "JobKit"]),
        library("Encryption", "Sources/Encryption", ["Processes", "JobKit"]),
        library("Artifacts", "Sources/Artifacts", ["Storage", "Postgres", "Crypto", "JobKit"]),
        library("Dumps", "Sources/Dumps", ["Postgres", "Storage", "Encryption", "Processes", "Crypto", "JobKit"]),
        library("Tenancy", "Sources/Tenancy", ["Postgres", "Crypto", "Encryption", "Processes", "JobKit"]),
        library("TenantBranding", "Sources/TenantBranding", ["Crypto", "JobKit"]),
        library("Certificates", "Sources/Certificates", ["Postgres", "Crypto", "Processes", "JobKit"]),
        library("Mail", "Sources/Mail", ["Processes", "Crypto", "JobKit"]),
        library("Destinations", "Sources/Destinations", ["Postgres", "Storage", "JobKit"]),
        library("Notices", "Sources/Notices", ["Mail", "Postgres", "Crypto", "Processes", "WorkerEngine", "JobKit"]),
        library("Audit", "Sources/Audit", ["Postgres", "Storage", "Crypto", "JobKit"]),
        library("WorkerEngine", "Sources/WorkerEngine", ["JobKit"]),
        library("HTTP", "Sources/HTTP", ["JobKit"]),
        library("Metrics", "Sources/Metrics", ["HTTP", "Postgres", "WorkerEngine", "Processes", "Crypto", "JobKit"]),
        .target(name: "CDashboard", path: "Sources/CDashboard", exclude: ["files"]),
        library(
            "Dashboard", "Sources/Dashboard",
            ["CDashboard", "HTTP", "Metrics", "Artifacts", "Storage", "Postgres", "Crypto", "JobKit"]),
        library("EmbeddedPostgres", "Sources/EmbeddedPostgres", ["Processes", "Crypto", "JobKit"]),

        // The queue.
        .target(name: "CSchema", path: "Queues/Postgres/Schema", exclude: ["sql", "schema.sql"]),
        library(
            "PostgresQueue", "Queues/Postgres/Source", ["CSchema", "Postgres", "WorkerEngine", "JobKit"]),
        library("Kafka", "Queues/Kafka/Client", ["CRdKafka", "JobKit"]),
        library("KafkaIntake", "Queues/Kafka/Intake", ["Kafka", "Postgres", "Crypto", "WorkerEngine", "JobKit"]),

        // Events and the audit on their way to Kafka.
        library("EventRelay", "Queues/Kafka/Relay", ["Kafka", "KafkaIntake", "Postgres", "JobKit"]),

        // Services' databases: the outbox in them, and what brings its rows here.
        .target(name: "COutbox", path: "Queues/Outbox/Schema", exclude: ["sql"]),
        library("OutboxRelay", "Queues/Outbox/Source", ["COutbox", "Postgres", "Tenancy", "Crypto", "JobKit"]),

        library(
            "Benchmarks", "Sources/Benchmarks",
            [
                "JobKit", "Postgres", "Processes", "WorkerEngine", "PostgresQueue", "Backup", "Storage", "Encryption",
                "Restore", "Export", "Dumps", "Tenancy", "Crypto", "Dashboard", "HTTP", "Kafka", "KafkaIntake", "OutboxRelay",
            ]),

        // One target for each kind of job.
        library(
            "Backup", "Jobs/Backup",
            ["JobKit", "Postgres", "Tenancy", "Storage", "Encryption", "Processes", "Crypto", "Dumps"]),
        library(
            "Restore", "Jobs/Restore",
            ["JobKit", "Postgres", "Tenancy", "Storage", "Encryption", "Dumps", "Processes", "Crypto"]),
        // Its final backup is made and proven as every other one is.
        library(
            "Purge", "Jobs/Purge",
            [
                "JobKit", "Postgres", "Tenancy", "Storage", "Encryption", "Dumps", "Certificates", "Backup", "Restore", "Processes",
                "Crypto",
            ]),
        library("Retention", "Jobs/Retention", ["JobKit", "Postgres", "Storage"]),
        library(
            "Report", "Jobs/Report", ["JobKit", "TenantBranding", "Postgres", "Tenancy", "Storage", "Processes", "Crypto"]),
        library(
            "Export", "Jobs/Export",
            ["JobKit", "Postgres", "Tenancy", "Storage", "Encryption", "Processes", "Crypto"]),
        library("Erasure", "Jobs/Erasure", ["JobKit", "Postgres", "Tenancy", "Storage", "Encryption", "Crypto"]),
        library("Reminder", "Jobs/Reminder", ["JobKit", "Postgres", "Mail", "TenantBranding"]),
        library("Program", "Jobs/Program", ["JobKit", "Postgres", "Tenancy", "Processes", "Crypto"]),

        // The command line, and the program that is nothing but its entry point.
        library(
            "ReeveCLI", "Sources/ReeveCLI",
            [
                "JobKit", "Postgres", "Crypto", "Processes", "Storage", "Destinations", "Encryption", "Tenancy",
                "WorkerEngine", "EmbeddedPostgres", "PostgresQueue", "Benchmarks", "Backup", "Retention", "Program",
                "Restore", "Report", "Export", "Erasure", "Artifacts", "Dumps", "Certificates", "Mail", "Notices",
                "Reminder", "TenantBranding", "Audit", "Purge", "HTTP", "Metrics", "Dashboard", "Kafka", "KafkaIntake", "OutboxRelay", "EventRelay",
            ]),
        .executableTarget(
            name: "reeve", dependencies: ["ReeveCLI", "Benchmarks", "JobKit", "Postgres"], path: "Sources/reeve", swiftSettings: swiftSettings),

        // Tests.
        library(
            "ReeveTesting", "Tests/Support",
            [
                "JobKit", "Postgres", "Crypto", "Processes", "Storage", "Tenancy", "WorkerEngine", "EmbeddedPostgres",
                "PostgresQueue", "Backup", "Encryption",
            ]),
        // A program that can be its own supervisor, for the tests of child processes and embedded servers.
        .executableTarget(
            name: "supervise-fixture", dependencies: ["Processes", "Storage"], path: "Tests/SuperviseFixture",
            swiftSettings: swiftSettings),
        // A worker whose handlers keep an unfenced record of what they did, for the fault tests to kill.
        .executableTarget(
            name: "fault-worker", dependencies: ["JobKit", "Postgres", "Processes", "PostgresQueue", "WorkerEngine"],
            path: "Tests/FaultWorker", swiftSettings: swiftSettings),
        // Runs purges and kills itself where it is told to.
        .executableTarget(
            name: "purge-worker",
            dependencies: [
                "Purge", "Backup", "Dumps", "Certificates", "Encryption", "Tenancy", "Storage", "Postgres", "Crypto", "Processes",
                "JobKit", "WorkerEngine", "ReeveTesting",
            ],
            path: "Tests/PurgeWorker", swiftSettings: swiftSettings),
        tests(
            "PurgeTests",
            [
                "Purge", "Backup", "Dumps", "Certificates", "Encryption", "Tenancy", "Storage", "Postgres", "Crypto", "Processes",
                "EmbeddedPostgres", "PostgresQueue", "WorkerEngine", "JobKit", "purge-worker", "supervise-fixture",
            ]),
        // librdkafka's mock cluster in a process of its own.
        .executableTarget(
            name: "mock-kafka", dependencies: ["CRdKafka"], path: "Tests/MockKafka", swiftSettings: swiftSettings),
        tests(
            "KafkaTests",
            [
                "Kafka", "KafkaIntake", "PostgresQueue", "Postgres", "Processes", "Crypto", "WorkerEngine", "EmbeddedPostgres", "JobKit",
                "mock-kafka", "supervise-fixture", "reeve",
            ]),
        tests("JobKitTests", ["JobKit"]),
        tests("PostgresTests", ["Postgres"]),
        tests("CryptoTests", ["Crypto"]),
        tests("MailTests", ["Mail", "Processes", "JobKit", "supervise-fixture"]),
        tests(
            "NoticeTests", ["Notices", "Mail", "PostgresQueue", "Postgres", "Processes", "Crypto", "JobKit", "supervise-fixture"]),
        tests(
            "ReminderTests",
            [
                "Reminder", "TenantBranding", "Mail", "PostgresQueue", "Postgres", "Processes", "Crypto", "JobKit",
                "supervise-fixture",
            ]),
        tests(
            "CertificateTests",
            ["Certificates", "PostgresQueue", "Postgres", "Processes", "Crypto", "JobKit", "supervise-fixture"]),
        tests("ProcessesTests", ["Processes", "JobKit", "supervise-fixture"]),
        tests("StorageTests", ["Storage", "Processes", "Crypto", "JobKit", "supervise-fixture"]),
        tests("DestinationTests", ["Destinations", "Storage", "Postgres", "Processes", "JobKit"]),
        tests("EncryptionTests", ["Encryption", "Crypto", "Processes", "JobKit", "supervise-fixture"]),
        // Key pairs made, kept, fetched and destroyed with the real age.
        tests(
            "KeyTests",
            ["Encryption", "Tenancy", "Processes", "PostgresQueue", "Postgres", "Crypto", "JobKit", "supervise-fixture"]),
        tests("TenancyTests", ["Tenancy", "Postgres"]),
        tests(
            "QueueTests",
            ["PostgresQueue", "Postgres", "JobKit", "WorkerEngine", "Processes", "EmbeddedPostgres", "supervise-fixture"]),
        // Two databases of a real server, and a relay between them.
        tests(
            "OutboxTests",
            [
                "OutboxRelay", "PostgresQueue", "Postgres", "Tenancy", "Crypto", "JobKit", "EmbeddedPostgres", "Processes",
                "supervise-fixture",
            ]),
        tests(
            "EventTests",
            [
                "EventRelay", "Kafka", "KafkaIntake", "PostgresQueue", "Postgres", "Processes", "Crypto", "JobKit",
                "EmbeddedPostgres", "mock-kafka", "supervise-fixture",
            ]),
        tests("SimulationTests", ["WorkerEngine", "JobKit"], isOptimized: true),
        tests("WorkerEngineTests", ["WorkerEngine", "JobKit"]),
        // Attacks on a real server as every role, and the lints of what the migrations and the provisioner make.
        tests("AttackTests", ["PostgresQueue", "Tenancy", "Crypto", "EmbeddedPostgres", "Postgres", "WorkerEngine", "JobKit"]),
        tests("BackupTests", ["Backup", "Dumps", "Tenancy", "Postgres", "Storage", "Encryption"]),
        tests("ArtifactTests", ["Artifacts", "Storage", "Postgres", "PostgresQueue", "Crypto", "JobKit"]),
        tests(
            "ExportTests",
            ["Export", "Tenancy", "Encryption", "Storage", "Postgres", "PostgresQueue", "Processes", "Crypto", "JobKit", "EmbeddedPostgres", "supervise-fixture"]),
        tests(
            "ErasureTests",
            [
                "Erasure", "Restore", "Export", "Backup", "Dumps", "Tenancy", "Encryption", "Storage", "Postgres", "PostgresQueue",
                "WorkerEngine", "Processes", "Crypto", "JobKit", "Certificates", "EmbeddedPostgres", "supervise-fixture",
            ]),
        tests("RetentionTests", ["Retention", "Postgres", "PostgresQueue", "Storage", "Crypto", "JobKit"]),
        tests(
            "ReportTests",
            [
                "Report", "TenantBranding", "Tenancy", "Postgres", "PostgresQueue", "Storage", "Processes", "Crypto", "JobKit", "EmbeddedPostgres",
                "supervise-fixture",
            ]),
        tests(
            "ProgramTests",
            [
                "Program", "Tenancy", "Postgres", "PostgresQueue", "WorkerEngine", "Processes", "Crypto", "JobKit",
                "EmbeddedPostgres", "supervise-fixture",
            ]),
        tests(
            "RestoreTests",
            [
                "Restore", "Backup", "Dumps", "Tenancy", "Postgres", "PostgresQueue", "Storage", "Encryption", "Crypto",
                "EmbeddedPostgres", "Processes", "JobKit", "supervise-fixture",
            ]),
        // Every kind of tampering, done as the database's owner, against both verifiers.
        tests("AuditTests", ["Audit", "Storage", "Processes", "PostgresQueue", "Postgres", "Crypto", "JobKit", "supervise-fixture"]),
        tests("HTTPTests", ["HTTP", "JobKit"]),
        tests(
            "DashboardTests",
            [
                "Dashboard", "Metrics", "HTTP", "Artifacts", "Storage", "PostgresQueue", "WorkerEngine", "Postgres", "Crypto",
                "Processes", "JobKit", "supervise-fixture",
            ]),
        tests("CLITests", ["ReeveCLI", "Postgres", "Processes", "Crypto", "JobKit", "mock-kafka"]),
        tests("FaultTests", ["PostgresQueue", "Postgres", "WorkerEngine", "EmbeddedPostgres", "Processes", "JobKit", "fault-worker", "supervise-fixture"]),
    ]
)
