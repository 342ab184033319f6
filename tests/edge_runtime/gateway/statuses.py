"""A status with something in every part of it."""

from collections import Counter

from edge_runtime.gateway.status import (
    SECOND,
    BundleStatus,
    EngineStatus,
    GatewayStatus,
    JournalStatus,
    LaneStatus,
    LinkStatus,
    StreamStatus,
)
from edge_runtime.sources.source import SourceStatus

NOW = 1_767_434_400 * SECOND


def full_status(**changes):
    return GatewayStatus(
        **{
            "gateway": "gw-7",
            "site": "north",
            "version": "0.1.0",
            "started": NOW - 93_784 * SECOND,
            "time": NOW,
            "clock_synced": True,
            "engine": EngineStatus(moved=0.02, batches=90_311, busy=412.5, inbox=3, overflow=0),
            "journal": JournalStatus(
                None, 91_200, 310_000_000, 286_000_000, 41_000_000, 180_622, NOW - 31 * SECOND, 130.1
            ),
            "bundles": (
                BundleStatus(
                    "pump",
                    "3f2a9c0011bbaa",
                    "CPUExecutionProvider",
                    40,
                    90_311,
                    2,
                    1,
                    0,
                    {"1": 3, "2": 1},
                    {"late": 9, "not_a_number": 3},
                    ("CUDAExecutionProvider: not in this onnxruntime",),
                    {"pump-07": 4},
                ),
            ),
            "sources": (
                SourceStatus(
                    "line-3",
                    "mqtt",
                    True,
                    "connected",
                    Counter(received=361_244, not_json=3, connects=1),
                    NOW - SECOND // 4,
                    refused=("not_json: plant/pump-07/readings: b'{\"flow\": NaN}'",),
                ),
                SourceStatus(
                    "press",
                    "opcua",
                    False,
                    "connection refused",
                    Counter(connects=1, received=10, disconnects=1, failures=6),
                    NOW - 90_000 * SECOND,
                    "security policy None",
                ),
            ),
            "spool": (
                LaneStatus("alarm", 0, 0),
                LaneStatus("live", 2, 8_312, NOW - 2 * SECOND),
                LaneStatus("backfill", 0, 0),
                LaneStatus("raw", 4, 260_000, NOW - 10 * SECOND, 3),
            ),
            "link": LinkStatus(
                "mqtts://centre:8883",
                True,
                True,
                "connected",
                last_ack=NOW - SECOND,
                sent=92_000,
                resent=14,
                connects=2,
                streams=(
                    StreamStatus("observation", 46_000, 21_000_000, 180_000_000),
                    StreamStatus("alarm", 9, 4_000, 0),
                ),
            ),
            "commands": {"done": 4, "refused_out_of_range": 1},
            "assignments": {"done": 3, "refused_version": 1},
            "dropped": {"spool_raw": 3, "unknown_asset": 12},
            "insecure": ("source press: security policy None",),
        }
        | changes
    )


def empty_status(**changes):
    """A gateway that has just started."""
    return GatewayStatus(
        **{
            "gateway": "gw-7",
            "site": "north",
            "version": "0.1.0",
            "started": NOW,
            "time": NOW,
            "clock_synced": True,
            "engine": EngineStatus(moved=0.0),
            "journal": JournalStatus(),
        }
        | changes
    )
