"""`python -m serving.demo.broker FOLDER PORT`: an MQTT broker on 127.0.0.1 that keeps nothing, until it is killed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

MAX_PAYLOAD = 262_144  # bytes of one packet; a gateway's are below 128 KiB

_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "demo"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload}
max_inflight_count = 100
dynamic_filters = true
"""


def main(arguments: Sequence[str]) -> None:
    from iotcore.iotcore import IotCoreBroker  # type: ignore[import-untyped, unused-ignore]

    folder, port = arguments
    path = Path(folder) / "broker.toml"
    path.write_text(_CONFIG.format(port=int(port), payload=MAX_PAYLOAD))
    IotCoreBroker(config_path=str(path)).run_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
