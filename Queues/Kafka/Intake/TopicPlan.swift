public import Kafka

/// The topics and access rules that tenants should have, and what of it is missing in a cluster. Topics that are there keep their settings.
public struct TopicPlan: Sendable {
    /// How tenants' topics are made.
    public struct Layout: Sendable {
        /// The names after the tenant's code.
        public var queues = ["jobs", "reports", "exports", "backups"]
        /// Partitions of each topic that jobs come by.
        public var partitions = 3
        /// Replicas; nil is the broker's standard.
        public var replication: Int?
        /// For how long a topic keeps messages, in milliseconds.
        public var retention = 7 * 86_400_000
        /// Whom a tenant's producers are: `User:{tenant}`; nil: no access rules.
        public var principal: String?

        /// The standard.
        public init() {}
    }

    /// Topics to make.
    public let create: [KafkaAdmin.Topic]
    /// Topics that need more partitions: how many they have, how many they should.
    public let grow: [String: (has: Int, wants: Int)]
    /// The access rules; a cluster takes the same one twice.
    public let rules: [KafkaAdmin.Rule]
    /// Topics that are as they should be.
    public let present: [String]

    /// What these tenants lack in a cluster with these topics.
    ///
    /// A tenant's producers may write whatever begins with its code and a dot, and so never another tenant's; its events and its audit go the
    /// other way, and nobody but Reeve may write those: a denial outweighs the prefix.
    public init(tenants: [String], names: TopicNames, layout: Layout, existing: [String: Int]) {
        var create: [KafkaAdmin.Topic] = []
        var grow: [String: (has: Int, wants: Int)] = [:]
        var present: [String] = []
        var rules: [KafkaAdmin.Rule] = []
        for tenant in tenants {
            // One partition keeps a tenant's events and its audit in one order.
            let outgoing = ["events", "audit"].map { ($0, 1) }
            for (queue, partitions) in layout.queues.map({ ($0, layout.partitions) }) + outgoing {
                let topic = names.topic(tenant, queue)
                if let has = existing[topic] {
                    if has < partitions { grow[topic] = (has, partitions) } else { present.append(topic) }
                } else {
                    create.append(
                        KafkaAdmin.Topic(
                            topic, partitions: partitions, replication: layout.replication,
                            settings: ["retention.ms": "\(layout.retention)", "cleanup.policy": "delete"]))
                }
            }
            guard let principal = layout.principal?.replacing("{tenant}", with: tenant) else { continue }
            rules.append(KafkaAdmin.Rule(names.topic(tenant, ""), isPrefix: true, principal: principal, .write))
            rules.append(KafkaAdmin.Rule(names.topic(tenant, ""), isPrefix: true, principal: principal, .describe))
            for (queue, _) in outgoing {
                rules.append(
                    KafkaAdmin.Rule(
                        names.topic(tenant, queue), isPrefix: false, principal: principal, .write, isDenial: true))
            }
        }
        self.create = create
        self.grow = grow
        self.rules = rules
        self.present = present.sorted()
    }

    /// Whether nothing of topics is to be done.
    public var isComplete: Bool { create.isEmpty && grow.isEmpty }
}
