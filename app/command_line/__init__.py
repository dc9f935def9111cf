"""The commands of `sessions-gateway` that serve the gateway and print its settings; `app/__main__.py` has the options.

`app/__main__.py` imports these modules only when a command needs them, so that `--help`, `--version` and `settings`
answer without loading GraphQL, HTTP and Redis. Keep this file free of imports.

Read the files in this order: `serve` (one process, from the listening socket to the exit status), `announcement` (what
the start says), `own_key` (`serve --own-key`: the gateway's key for this machine only), `workers` (several processes
and their supervisor), `metrics_directory` (where workers add up their metrics) and `settings_report` (`settings`).
"""
