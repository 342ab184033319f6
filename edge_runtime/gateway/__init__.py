"""The gateway as a service: its configuration, its engine, and what it tells about itself.

    gateway.toml → read_config → GatewayConfig       every problem named at once, with key and way out
    GatewayConfig → check                            each connection and mapping tried, before anything runs
    GatewayConfig → run                              sources → engine → journal → link, until it is told to stop
    GatewayStatus → /status, /metrics, `overhaul-edge status`      what every part of it counts

Only `run` configures logging, opens sockets and makes folders.
"""
