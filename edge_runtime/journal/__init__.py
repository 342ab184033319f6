"""The gateway's memory on disk: what it accepted, what it has still to send, and where it goes on after a restart.

    engine ──Work──▶ Journal.submit      entries, messages, cursor and checkpoint in one transaction of SQLite
    on_commit(messages), source.acknowledge(receipts)      only once they survive a power cut
    link ──▶ Journal.read, .acknowledge  the spool, lane by lane
    Journal.open ──▶ Recovered           newest checkpoint and all entries after it

It promises that a Work is there entirely or not at all, that seqs have no gaps, that what was acknowledged is never
lost but by the stated policies (counted), and that a full or failing disk stops neither the engine nor the writer.
"""
