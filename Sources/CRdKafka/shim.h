#ifndef REEVE_RDKAFKA_H
#define REEVE_RDKAFKA_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

// rd_kafka_producev takes a variable number of arguments, which Swift cannot call. The headers are taken over on success alone.
static inline rd_kafka_resp_err_t reeve_produce(rd_kafka_t *handle, const char *topic, int32_t partition, const void *key, size_t key_size,
                                                const void *value, size_t value_size, rd_kafka_headers_t *headers, int64_t timestamp, void *tag) {
    return rd_kafka_producev(handle, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, key_size),
                             RD_KAFKA_V_VALUE((void *)value, value_size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
                             RD_KAFKA_V_TIMESTAMP(timestamp), RD_KAFKA_V_OPAQUE(tag), RD_KAFKA_V_END);
}

#endif
