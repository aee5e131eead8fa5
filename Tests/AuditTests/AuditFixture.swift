import Testing
@Suite struct AuditPlaceholder {}
