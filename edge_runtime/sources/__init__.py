"""Where sensor values come from: MQTT, OPC UA, Modbus TCP, a recorded file.

A source connects, reconnects for ever, and puts what it hears into the gateway's inbox (see `source`). It knows neither
models nor the journal. What it cannot use it refuses: acknowledged, counted by reason, never raised. Each protocol's
library is an optional extra, imported by its module alone.
"""
