"""A folder with all that a gateway needs, as an edge engineer would write it."""

from pathlib import Path

from tests.edge_runtime.tiny import tiny_bundle

GATEWAY = """
[gateway]
id = "gw-7"
site = "north"
data = "data"
machines = "machines.csv"

[bundles]
tiny = "bundles/tiny"

[link]
url = "{link}"

[http]
port = 0
"""
MQTT = """
[[source]]
type = "mqtt"
name = "plant"
url = "{plant}"
topics = [
  {{ topic = "plant/{{asset}}/readings" }},
  {{ topic = "plant/{{asset}}/shake", format = "waveform", channel = "shake" }},
]
"""
NOWHERE = "mqtt://127.0.0.1:1"


def write_plant(folder: Path, text: str = GATEWAY + MQTT, *, link: str = NOWHERE, plant: str = NOWHERE) -> Path:
    """gateway.toml of `text`, with a bundle and two machines of class tiny; the path of gateway.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "bundles" / "tiny").exists():
        tiny_bundle(folder / "bundles" / "tiny")
    (folder / "machines.csv").write_text("asset,class,offset\np-1,tiny,2\np-2,tiny,\n")
    path = folder / "gateway.toml"
    path.write_text(text.format(link=link, plant=plant))
    return path
