"""Twins that the centre owns: their state lives in the database, and is continued by compare-and-set.

asks that continue twins ──▶ read (twins, owners, settings) ──▶ run together ──▶ one transaction: nothing has changed
since? state, observations, prognoses and the answer to an Idempotency-Key, all or nothing ──▶ answers

Whoever comes second gets a conflict, and its observations are nowhere. A twin that a gateway owns is only previewed:
its newest snapshot, the observations stored since, then those of the request; nothing is kept. Under another bundle a
twin takes over the slices whose fingerprints are equal (`edge_runtime.takeover`), and the rest is warmed up by stored
observations.
"""
