import JobKit

extension Command {
    static let config = Command(
        "config", "show what is configured and where each value came from",
        details: """
            Secrets are masked. Flag over environment over file (reeve.json, or the path in REEVE_CONFIG). REEVE_KAFKA_<PROPERTY> is a
            property of librdkafka, dots as underscores: REEVE_KAFKA_BOOTSTRAP_SERVERS.
            """,
        options: Setting.all.filter { $0.flag != nil }.map(CommandOption.setting),
        examples: ["reeve config", "reeve config --json"]
    ) { invocation in
        let items: [JSON] = Setting.all.map { setting in
            [
                "setting": .string(setting.key), "variable": .string(setting.variable),
                "value": invocation.configuration.masked(setting).map(JSON.string) ?? .null,
                "source": (invocation.configuration.entry(setting)?.source).map(JSON.string) ?? .null,
            ]
        }
        invocation.output.list(
            items + invocation.configuration.kafkaItems,
            [Column("SETTING", "setting"), Column("VALUE", "value"), Column("SOURCE", "source")], empty: "")
        return .done
    }
}
