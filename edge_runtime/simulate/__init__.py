"""Stand-ins for machines, for tests and demonstrations: servers and a publisher that play a file of observations.

Each is a command, `overhaul-edge simulate opcua|modbus|mqtt FILE`, and prints the part of gateway.toml that reads it.
"""
