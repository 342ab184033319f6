"""What a report says of the data a twin was made from, and of the bundle itself."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import pandas as pd

from data.quality import moment
from edge_runtime.manifest import Manifest
from training.evidence import Evidence
from training.wording import UNKNOWN, count, every, number

Facts = list[tuple[str, str]]
ENDS = {"failure": "ended in failure", "repair": "in a repair", "censored": "still running at the end of the record"}
AGES = {"required": "must be given", "optional": "used where it is known", "none": "not used"}
FINDINGS = {
    "duplicates": "observations given twice; the first was kept",
    "out_of_order": "rows out of order; sorted",
    "rejected": "rows set aside, kept in rejected.csv",
    "failures_outside_record": "failures or repairs outside any record",
    "failures_of_unknown_assets": "failures or repairs of machines without rows",
    "ends_at_the_same_time": "failures or repairs at the end of a life that another one ends",
    "log_rows_of_other_kinds": "rows of the log that are neither failure nor repair",
}


def learnt_from(evidence: Evidence, unit: str) -> Facts:
    """Machines, lives and time."""
    cls, lives, quality = evidence.asset_class, evidence.lives, evidence.quality
    kinds = pd.Series([life.kind for life in lives]).value_counts()
    ends = ", ".join(f"{kinds[kind]:,} {words}" for kind, words in ENDS.items() if kind in kinds)
    drawn = "as the source does itself" if any(life.held_out for life in lives) else "drawn at random"
    held_out = evidence.table.asset.nunique()
    told = [
        ("Machines", f"{quality['assets']:,}, of them {held_out:,} held out for the test, {drawn}"),
        ("Lives", f"{len(lives):,}: {ends}"),
        ("Observations", f"{quality['observations']:,}, one {every(cls.time.interval, cls.time.unit)}"),
    ]
    lengths = [
        (life.end - life.begin) / 1e9 / cls.time_units_per_life_unit
        for life in lives
        if life.kind == "failure" and life.known_new
    ]
    if lengths:
        spread = f"{number(min(lengths))} to {number(max(lengths))} {unit}, median {number(median(lengths))}"
        told.append(("From new to failure", spread))
    if cls.time.unit == "s":
        first, last = min(life.begin for life in lives), max(life.last for life in lives)
        told.append(("Recorded", f"{moment(cls, first)} to {moment(cls, last)}"))
    return told


def channels(evidence: Evidence) -> list[dict[str, Any]]:
    """The quality of each channel, with a remark where there is something to know."""
    made = []
    for name, found in evidence.quality["channels"].items():
        expected = found["received"] + found["missing"]
        made.append(
            {
                "name": name,
                "quantity": evidence.asset_class.channels[name].quantity,
                "unit": "" if found["unit"] == "1" else found["unit"],
                "declared": found["range"],
                "seen": (found["min"], found["max"]) if found["received"] else None,
                "missing": found["missing"] / expected if expected else None,
                "out_of_range": found["out_of_range"],
                "remark": "; ".join(_remarks(found, evidence.quality["assets"])),
            }
        )
    return made


def _remarks(found: Mapping[str, Any], assets: int) -> list[str]:
    if not found["received"]:
        return ["never received"]
    remarks = []
    if found["constant"]:
        remarks.append("never changes")
    elif found["constant_assets"]:
        remarks.append(f"never changes on {len(found['constant_assets'])} of {assets} machines")
    if found["unparsable"]:
        remarks.append(f"{found['unparsable']:,} cells are no numbers")
    if found["longest_missing_run"] > 1:
        remarks.append(f"up to {found['longest_missing_run']:,} missing in a row")
    return remarks


def findings(quality: Mapping[str, Any]) -> list[str]:
    """What was found in the source beside the values themselves."""
    found = [f"{n:,} {FINDINGS.get(name, name.replace('_', ' '))}" for name, n in quality["counts"].items() if n]
    if single := quality["single_observation_assets"]:
        found.append(f"{count(len(single), 'machine')} with one observation: {', '.join(single[:10])}")
    return [*found, *quality["notes"]]


def exported(manifest: Manifest) -> Facts:
    """What is in the bundle, and where it comes from."""
    contract, origin = manifest.contract, manifest.provenance
    state = f"{4 * contract.state.size:,} bytes a machine"
    told = [
        ("Model", manifest.model_id),
        ("Fleet", f"{contract.fleet}, protocol {contract.protocol}"),
        ("Made", f"{origin.created or UNKNOWN}, MLflow run {origin.run_id or UNKNOWN}"),
        ("Code", origin.commit or UNKNOWN),
        ("Data", f"sha256 {origin.data_hash or UNKNOWN}"),
        ("Age of a machine", AGES[contract.life.age]),
        ("New prognosis", f"{every(contract.time.tick, contract.time.unit)}; state of {state}"),
        ("Health", contract.health),
    ]
    for family, about in manifest.models.items():
        known = [f"{key.replace('_', ' ')}: {plain(value)}" for key, value in about.items() if value != []]
        told.append((family.replace("_", " "), "; ".join(known)))
    return told


def plain(value: Any) -> str:
    """
    >>> plain({"aged": 0.5, "free": 0.25}), plain(["t24", "t30"]), plain(1200)
    ('aged 0.5, free 0.25', 't24, t30', '1,200')
    >>> plain(["'t2' does not vary", "'p2' does not vary"])
    "'t2' does not vary; 'p2' does not vary"
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        parts = [plain(each) for each in value]
        return ("; " if any(" " in part for part in parts) else ", ").join(parts)
    return f"{value:,}" if isinstance(value, int) else str(value)
