"""The whole thing on one computer: `python -m serving.demo`.

    held-out machines' records ─▶ gateway ─MQTT▶ broker ─▶ hub ─▶ database ◀─ service (HTTP)
                                                                     ▲
                                                       live view ────┘

Each is the program that runs in production, in a process of its own: a gateway that replays the last lives of machines
that no model has seen, an embedded broker, a hub, the prediction service, SQLite. The view shows what the centre has
committed, read by HTTP and from the database, and nothing else. All files lie in one temporary folder, which is kept
when something fails, for its logs; all listeners are on 127.0.0.1, and none is left, however it ends.
"""
