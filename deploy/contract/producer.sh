#!/bin/sh
# Asks for a backup of a tenant by a message in binary mode: attributes are headers, the value is the data. Needs kcat.
#   producer.sh SERVERS TENANT ID [REASON]
set -eu
[ $# -ge 3 ] || { echo "usage: producer.sh SERVERS TENANT ID [REASON]" >&2; exit 2; }
servers=$1 tenant=$2 id=$3 reason=${4:-asked for by producer.sh}
case $reason in *[\"\\]*) echo "no quotes or backslashes in REASON" >&2; exit 2 ;; esac
printf '{"reason": "%s"}' "$reason" |
  kcat -P -b "$servers" -t "$tenant.jobs" -k "$tenant" -X acks=all -X message.timeout.ms=30000 \
    -H ce_specversion=1.0 -H ce_type=reeve.job.backup -H ce_source=/examples/producer.sh -H "ce_id=$id" -H "ce_tenantid=$tenant" \
    -H content-type=application/json
