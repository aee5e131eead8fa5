#!/usr/bin/env python3
"""Asks for a report of each tenant by a message: producer.py SERVERS TENANT... (needs confluent-kafka).

The broker's acknowledgement is waited for. Run again with the same id, nothing runs twice: source and id are what an event is known by.
"""
import json
import sys
import time

from confluent_kafka import Producer


def event(tenant, month):
    return {
        "specversion": "1.0",
        "type": "reeve.job.report",
        "source": "/examples/producer.py",
        "id": f"sales-{tenant}-{month}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "tenantid": tenant,
        "data": {"report": "sales-by-month"},
    }


def main(servers, tenants):
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "message.timeout.ms": 30000})
    failures = []

    def report(error, message):
        if error:
            failures.append(f"{message.topic()}: {error}")

    for tenant in tenants:
        body = json.dumps(event(tenant, "2027-01")).encode()
        # The tenant as the key: its messages stay in order.
        producer.produce(
            f"{tenant}.reports", key=tenant, value=body, headers={"content-type": "application/cloudevents+json"}, on_delivery=report
        )
    left = producer.flush(30)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures or left else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: producer.py SERVERS TENANT...")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
