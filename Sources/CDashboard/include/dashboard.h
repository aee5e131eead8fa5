#ifndef REEVE_DASHBOARD_H
#define REEVE_DASHBOARD_H

#include <stddef.h>

/* A file of the dashboard's page: its path, its type and its bytes. */
typedef struct {
    const char *path;
    const char *type;
    const unsigned char *bytes;
    size_t length;
} reeve_page_file;

/* How many there are. */
extern const int reeve_page_file_count;

/* The file at this index from 0. The memory is static. */
const reeve_page_file *reeve_page_file_at(int index);

#endif
