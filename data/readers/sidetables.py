"""The small tables beside a record: when machines failed or were repaired, and their settings."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from data.asset_class import AssetClass, TableSource
from data.errors import SourceError
from data.quality import REFUSED_SHARE, Report, moment
from data.readers import files
from data.readers.cells import numbers, times
from data.readers.columns import asset_ids, require, written
from data.recording import End


def failure_log(cls: AssetClass, source: TableSource, folder: Path, report: Report) -> dict[str, list[End]]:
    """Asset → its failures and repairs. Rows that cannot be used are set aside in `report`."""
    log = source.failures
    assert log is not None
    names = files.header(folder / log.file, source.separator)
    require(cls, log.file, names, log.asset, "the asset", "source.failures.asset")
    require(cls, log.file, names, log.time, "the time", "source.failures.time")
    if log.kind:
        require(cls, log.file, names, log.kind, "the kind", "source.failures.kind")
    kind_of = {word.casefold(): "failure" for word in log.failure_values}
    kind_of |= {word.casefold(): "repair" for word in log.repair_values}
    ends: dict[str, list[End]] = {}
    ignored: Counter[str] = Counter()
    rows, unreadable = 0, []  # times that are there
    columns = [log.asset, log.time, *([log.kind] if log.kind else [])]
    for batch in files.batches(folder / log.file, columns, source.separator, report):
        report.file(log.file, batch.rows.num_rows)
        ids, present = asset_ids(batch.rows[log.asset], log.file)
        when = times(batch.rows[log.time], cls.time.unit, source.timezone)
        rows, unreadable = rows + len(ids), unreadable + batch.rows[log.time].filter(pa.array(when.bad)).to_pylist()
        words = batch.rows[log.kind].cast(pa.string()).to_pylist() if log.kind else [log.failure_values[0]] * len(ids)
        for row, (asset, word) in enumerate(zip(ids.to_pylist(), words, strict=True)):
            kind = kind_of.get((word or "").strip().casefold())
            if not (present[row] and when.known[row]):
                report.reject(log.file, batch.number(row), "no asset or usable time", files.content(batch, row))
                report.counts["log_rows_rejected"] += 1
            elif kind is None:
                ignored[word or ""] += 1
            else:
                ends.setdefault(asset, []).append(End(int(when.values[row]), kind))  # type: ignore[arg-type]
    if len(unreadable) > REFUSED_SHARE * rows:
        raise SourceError(
            f"{log.file}, column '{log.time}': {len(unreadable) / rows:.0%} of its times cannot be used, e.g. "
            f"{unreadable[0]!r}; expected are {written(cls)}: check source.failures.time in "
            f"data/asset_classes/{cls.name}.yaml, or write the times anew"
        )
    for word, count in ignored.items():
        report.counts["log_rows_of_other_kinds"] += count
        report.note(
            f"{log.file}: {count} rows of kind '{word}' are neither failure nor repair and end no life; "
            "if they should, add the word to source.failures.failure_values or repair_values"
        )
    return ends


def settings_table(cls: AssetClass, source: TableSource, folder: Path, report: Report) -> dict[str, dict[str, float]]:
    """Asset → its settings; where a cell is empty the class default holds."""
    assert source.settings is not None
    name = source.settings if isinstance(source.settings, str) else source.settings.name
    names = files.header(folder / name, source.separator)
    require(cls, name, names, source.asset, "the asset", "source.asset")
    columns = [setting for setting in cls.settings if setting in names]
    if unused := sorted(set(names) - {source.asset, *columns}):
        report.note(f"{name}: columns that are no settings of the class are not used: {', '.join(unused)}")
    settings: dict[str, dict[str, float]] = {}
    for batch in files.batches(folder / name, [source.asset, *columns], source.separator, report):
        report.file(name, batch.rows.num_rows)
        ids, present = asset_ids(batch.rows[source.asset], name)
        cells = {column: numbers(batch.rows[column]) for column in columns}
        for row, asset in enumerate(ids.to_pylist()):
            where = f"{name}, row {batch.number(row)}"
            if not present[row]:
                report.reject(name, batch.number(row), "no asset", files.content(batch, row))
                continue
            if asset in settings:
                raise SourceError(f"{where}: '{asset}' is there twice: a machine has one row of settings")
            settings[asset] = {
                column: _setting(cls, column, float(cells[column].values[row]), where)
                for column in columns
                if cells[column].known[row] or cells[column].bad[row]
            }
    return settings


def _setting(cls: AssetClass, name: str, value: float, where: str) -> float:
    setting = cls.settings[name]
    if setting.range[0] <= value <= setting.range[1]:
        return value
    raise SourceError(
        f"{where}: setting '{name}' is declared in {setting.unit} ({setting.range[0]:,g}…{setting.range[1]:,g}); "
        f"got {value:,g}: correct the value, or the range in data/asset_classes/{cls.name}.yaml"
    )


def note_strangers(cls: AssetClass, ends: dict[str, list[End]], known: set[str], report: Report) -> None:
    """Count the failures of machines that have no rows."""
    strangers = {asset: own for asset, own in ends.items() if asset not in known}
    report.counts["failures_of_unknown_assets"] += sum(len(own) for own in strangers.values())
    for asset, own in list(strangers.items())[:5]:
        report.note(f"failure log: '{asset}' at {moment(cls, own[0].time)} is no machine of the data")
