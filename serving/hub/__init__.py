"""The twin hub: takes what all gateways send, commits it, and then says so.

MQTT ──▶ Inbox ──groups──▶ read ──▶ Store: one transaction ──after COMMIT──▶ down/ack to gateways, PUBACK to the broker

What is acknowledged is on disk. What comes again is left out by its transport key, then by its business key. What may
not be taken (another gateway's machine, an older term) or cannot be read goes to the dead letters, is counted, and is
acknowledged too, so that it never holds up what comes after it. While the database is away nothing is acknowledged and
nothing more is read. Several hubs share the gateways' messages through the broker, and their acknowledgements through
the database. Run one: `python -m serving.hub --config centre.toml`.
"""
