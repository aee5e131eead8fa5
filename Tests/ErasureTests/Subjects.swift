import Export
import JobKit

@testable import Erasure

/// As the composition root connects exports with requests.
struct Subjects: SubjectMap {
    let find: @Sendable (String, JobContext) throws -> SubjectCondition

    func condition(
        for subject: String, schema: String, table: String, database: String, in context: JobContext
    ) throws -> String? {
        try find(subject, context).sql(schema: schema, table: table)
    }
}
