#!/bin/sh
# Throughput and latency; arguments go to `errata bench`.
set -eu
cd "$(dirname "$0")/.."
exec "${ERRATA:-errata}" bench "$@"
