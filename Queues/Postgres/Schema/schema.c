/* The migrations as bytes of the program. SwiftPM's own embedding compiles each byte as a Swift literal, which costs ten
   seconds for 50 kB; clang's #embed (C23) costs nothing and follows changes of the files. */
#include "schema.h"
#pragma clang diagnostic ignored "-Wc23-extensions"

#define MIGRATION(symbol) static const char symbol[]
MIGRATION(V0001) = {
#embed "sql/V0001__foundation.sql"
    , 0};
MIGRATION(V0002) = {
#embed "sql/V0002__tenancy.sql"
    , 0};
MIGRATION(V0003) = {
#embed "sql/V0003__queue.sql"
    , 0};
MIGRATION(V0004) = {
#embed "sql/V0004__enqueue.sql"
    , 0};
MIGRATION(V0005) = {
#embed "sql/V0005__claim.sql"
    , 0};
MIGRATION(V0006) = {
#embed "sql/V0006__settle.sql"
    , 0};
MIGRATION(V0007) = {
#embed "sql/V0007__workers.sql"
    , 0};
MIGRATION(V0008) = {
#embed "sql/V0008__housekeeping.sql"
    , 0};
MIGRATION(V0009) = {
#embed "sql/V0009__operate.sql"
    , 0};
MIGRATION(V0010) = {
#embed "sql/V0010__views.sql"
    , 0};
MIGRATION(V0011) = {
#embed "sql/V0011__grants.sql"
    , 0};
MIGRATION(V0012) = {
#embed "sql/V0012__drain.sql"
    , 0};
MIGRATION(V0013) = {
#embed "sql/V0013__strikes.sql"
    , 0};
MIGRATION(V0014) = {
#embed "sql/V0014__circuits.sql"
    , 0};
MIGRATION(V0015) = {
#embed "sql/V0015__tier_changes.sql"
    , 0};
MIGRATION(V0016) = {
#embed "sql/V0016__lost_claims.sql"
    , 0};
MIGRATION(V0017) = {
#embed "sql/V0017__programs.sql"
    , 0};
MIGRATION(V0018) = {
#embed "sql/V0018__lock_order.sql"
    , 0};
MIGRATION(V0019) = {
#embed "sql/V0019__visibility.sql"
    , 0};
MIGRATION(V0020) = {
#embed "sql/V0020__upkeep.sql"
    , 0};
MIGRATION(V0021) = {
#embed "sql/V0021__hardening.sql"
    , 0};
MIGRATION(V0022) = {
#embed "sql/V0022__kept_promises.sql"
    , 0};
MIGRATION(V0023) = {
#embed "sql/V0023__adopt.sql"
    , 0};
MIGRATION(V0024) = {
#embed "sql/V0024__guard.sql"
    , 0};
MIGRATION(V0025) = {
#embed "sql/V0025__tune.sql"
    , 0};
MIGRATION(V0026) = {
#embed "sql/V0026__keys.sql"
    , 0};
MIGRATION(V0027) = {
#embed "sql/V0027__destinations.sql"
    , 0};
MIGRATION(V0028) = {
#embed "sql/V0028__retention.sql"
    , 0};
MIGRATION(V0029) = {
#embed "sql/V0029__restore.sql"
    , 0};
MIGRATION(V0030) = {
#embed "sql/V0030__dumps.sql"
    , 0};
MIGRATION(V0031) = {
#embed "sql/V0031__reports.sql"
    , 0};
MIGRATION(V0032) = {
#embed "sql/V0032__exports.sql"
    , 0};
MIGRATION(V0033) = {
#embed "sql/V0033__audit.sql"
    , 0};
MIGRATION(V0034) = {
#embed "sql/V0034__purge.sql"
    , 0};
MIGRATION(V0035) = {
#embed "sql/V0035__erasure.sql"
    , 0};
MIGRATION(V0036) = {
#embed "sql/V0036__certificates.sql"
    , 0};
MIGRATION(V0037) = {
#embed "sql/V0037__reminders.sql"
    , 0};
MIGRATION(V0038) = {
#embed "sql/V0038__report_sharing.sql"
    , 0};
MIGRATION(V0039) = {
#embed "sql/V0039__restore_faults.sql"
    , 0};
MIGRATION(V0040) = {
#embed "sql/V0040__batches.sql"
    , 0};
MIGRATION(V0041) = {
#embed "sql/V0041__cron.sql"
    , 0};
MIGRATION(V0042) = {
#embed "sql/V0042__schedules.sql"
    , 0};
MIGRATION(V0043) = {
#embed "sql/V0043__erasure_waits.sql"
    , 0};
MIGRATION(V0044) = {
#embed "sql/V0044__kept_and_gone.sql"
    , 0};
MIGRATION(V0045) = {
#embed "sql/V0045__schedule_faults.sql"
    , 0};
MIGRATION(V0046) = {
#embed "sql/V0046__kafka.sql"
    , 0};
MIGRATION(V0047) = {
#embed "sql/V0047__events.sql"
    , 0};
MIGRATION(V0048) = {
#embed "sql/V0048__outboxes.sql"
    , 0};
MIGRATION(V0049) = {
#embed "sql/V0049__operations.sql"
    , 0};
MIGRATION(V0050) = {
#embed "sql/V0050__statistics.sql"
    , 0};
MIGRATION(V0051) = {
#embed "sql/V0051__recover.sql"
    , 0};
MIGRATION(V0052) = {
#embed "sql/V0052__flow_metrics.sql"
    , 0};
MIGRATION(V0053) = {
#embed "sql/V0053__history_partitions.sql"
    , 0};
MIGRATION(V0054) = {
#embed "sql/V0054__expected_objects.sql"
    , 0};
MIGRATION(V0055) = {
#embed "sql/V0055__batch_window.sql"
    , 0};
MIGRATION(V0056) = {
#embed "sql/V0056__erasure_reach.sql"
    , 0};
MIGRATION(V0057) = {
#embed "sql/V0057__batch_order.sql"
    , 0};
MIGRATION(V0058) = {
#embed "sql/V0058__overview.sql"
    , 0};
MIGRATION(V0059) = {
#embed "sql/V0059__unreadable_backups.sql"
    , 0};
MIGRATION(V0060) = {
#embed "sql/V0060__overtaken_reminders.sql"
    , 0};
MIGRATION(V0061) = {
#embed "sql/V0061__backups_that_count.sql"
    , 0};
MIGRATION(V0062) = {
#embed "sql/V0062__numbers_after_failover.sql"
    , 0};

static const reeve_migration migrations[] = {
    {1, "foundation", V0001},
    {2, "tenancy", V0002},
    {3, "queue", V0003},
    {4, "enqueue", V0004},
    {5, "claim", V0005},
    {6, "settle", V0006},
    {7, "workers", V0007},
    {8, "housekeeping", V0008},
    {9, "operate", V0009},
    {10, "views", V0010},
    {11, "grants", V0011},
    {12, "drain", V0012},
    {13, "strikes", V0013},
    {14, "circuits", V0014},
    {15, "tier_changes", V0015},
    {16, "lost_claims", V0016},
    {17, "programs", V0017},
    {18, "lock_order", V0018},
    {19, "visibility", V0019},
    {20, "upkeep", V0020},
    {21, "hardening", V0021},
    {22, "kept_promises", V0022},
    {23, "adopt", V0023},
    {24, "guard", V0024},
    {25, "tune", V0025},
    {26, "keys", V0026},
    {27, "destinations", V0027},
    {28, "retention", V0028},
    {29, "restore", V0029},
    {30, "dumps", V0030},
    {31, "reports", V0031},
    {32, "exports", V0032},
    {33, "audit", V0033},
    {34, "purge", V0034},
    {35, "erasure", V0035},
    {36, "certificates", V0036},
    {37, "reminders", V0037},
    {38, "report_sharing", V0038},
    {39, "restore_faults", V0039},
    {40, "batches", V0040},
    {41, "cron", V0041},
    {42, "schedules", V0042},
    {43, "erasure_waits", V0043},
    {44, "kept_and_gone", V0044},
    {45, "schedule_faults", V0045},
    {46, "kafka", V0046},
    {47, "events", V0047},
    {48, "outboxes", V0048},
    {49, "operations", V0049},
    {50, "statistics", V0050},
    {51, "recover", V0051},
    {52, "flow_metrics", V0052},
    {53, "history_partitions", V0053},
    {54, "expected_objects", V0054},
    {55, "batch_window", V0055},
    {56, "erasure_reach", V0056},
    {57, "batch_order", V0057},
    {58, "overview", V0058},
    {59, "unreadable_backups", V0059},
    {60, "overtaken_reminders", V0060},
    {61, "backups_that_count", V0061},
    {62, "numbers_after_failover", V0062},
};

const int reeve_migration_count = sizeof migrations / sizeof migrations[0];

const reeve_migration *reeve_migration_at(int index) { return &migrations[index]; }
