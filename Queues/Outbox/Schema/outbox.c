/* The script as bytes of the program, as the migrations are. */
#include "outbox.h"
#pragma clang diagnostic ignored "-Wc23-extensions"

static const char script[] = {
#embed "sql/outbox.sql"
    , 0};

const char *const reeve_outbox_script = script;
const int reeve_outbox_version = 1;
