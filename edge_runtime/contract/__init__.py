"""What gateway and centre say to each other, defined once for both.

Up go messages: an envelope (who, when, which one in which order) and a body, JSON or a block of rows or a part of a
waveform. `bodies`, `rows` and `waveform` make them, `wire.encode` puts them into bytes, `wire.decode` takes any bytes
and gives a message or a `WireError` that is counted. Down come acknowledgements, commands and requests. `schemas/` says
the same for other languages. Readers ignore fields they do not know, and refuse another major version.
"""
