#ifndef REEVE_OUTBOX_H
#define REEVE_OUTBOX_H

/* What `reeve outbox install` makes in a service's database, a C string; run again it brings an older one up to date. */
extern const char *const reeve_outbox_script;

/* The number of that script: the higher, the newer. */
extern const int reeve_outbox_version;

#endif
