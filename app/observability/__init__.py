"""Logs, metrics and traces.

`create_app` creates one of each and hands it to the parts that report to it; nothing here is global. Labels of metrics
come from closed sets. No log line, label or span contains a credential, a document, a variable or a filter.

Read the files in this order: `log` (structured log lines), `operation_lines` (those of operations, for less),
`request_id` (which is in all lines of a request), `metrics` (Prometheus), `tracing` (OpenTelemetry spans, off unless
configured), `operation_log` (what is logged, counted and traced of each operation). `grafana.json` is a dashboard of
all metrics.
"""
