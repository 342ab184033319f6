"""Where the files of a fleet go, relative to the folder a stage runs in (the repository's root).

>>> observations("pump")
PosixPath('data/observations/pump.parquet')
>>> artifact("pump", "lives.csv")
PosixPath('artifacts/pump/lives.csv')
"""

from pathlib import Path

from edge_runtime.contract.names import check_identifier

CACHE = Path("data/cache")  # downloads, shared by fleets; outside every DVC output
SOURCES = Path("data/sources")  # files of the user's own


def raw(fleet: str) -> Path:
    """Folder of the source files of `fleet`, as they were fetched."""
    return Path("data/raw") / check_identifier("fleet", fleet)


def observations(fleet: str) -> Path:
    return Path("data/observations") / f"{check_identifier('fleet', fleet)}.parquet"


def waveform(observations_file: Path, channel: str) -> Path:
    """Side file holding the snapshots of one waveform channel."""
    return observations_file.with_name(f"{observations_file.stem}.{channel}.parquet")


def artifact(fleet: str, name: str) -> Path:
    """File `name` among what the stages say about `fleet`."""
    return Path("artifacts") / check_identifier("fleet", fleet) / name
