#ifndef REEVE_SCHEMA_H
#define REEVE_SCHEMA_H

/* A migration of schema `reeve`: its number, its name and its text, a C string. */
typedef struct {
    int number;
    const char *name;
    const char *sql;
} reeve_migration;

/* How many there are; numbers run from 1 without a gap. */
extern const int reeve_migration_count;

/* The migration at this index from 0. The memory is static. */
const reeve_migration *reeve_migration_at(int index);

#endif
