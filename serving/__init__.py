"""The centre: what all gateways send, kept; every machine's twin, now and at any past moment; prognoses on request.

gateways ──MQTT──▶ hub ──one transaction──▶ database ──▶ queries, twins, prediction service, exports
                    └──down/ack, after the commit──▶ gateways

* `database` holds the tables and their migrations; SQLite by default, PostgreSQL for production, the same code on both.
* `registry` knows the machines: who owns each twin under which term, where it stands in the plant, its settings.
* `hub` takes what gateways send: committed first, acknowledged then; nothing twice, nothing lost. It sends down what
  waits in the database.
* `commands` are set-points that people ask for: approved, signed by the hub, written at most once, followed.
* `export`, `drift`, `retrain` close the loop: what the fleet lived through trains the next model.

Times are int64 nanoseconds, UTC unless said to be of the class (cycles × 1e9 for some). All that matters is in the
database: any process may be killed at any time. The package imports `edge_runtime` (the contract, bundles), `twins` and
`data`; nothing imports it.
"""
