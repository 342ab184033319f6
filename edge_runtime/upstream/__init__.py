"""What goes up to the centre, and how it gets there.

    rows ──BlockBuilder──▶ blocks of observations and prognoses      each row in exactly one committed block
    rows ──Summary──▶ one row a machine and interval                 aligned to the UTC epoch
    waveforms ──RawSelector──▶ parts of those around something odd   each waveform at most once
    Journal's spool ──Link──▶ the centre                             until it says that it has committed them

The link promises that what is spooled arrives at least once and in the order of its lane, alarms before all else, live
data before a backlog; that nothing refused blocks what comes after it; and that a long absence costs no memory.
"""
