"""Finding the columns that a class asks for in the files of its source, and the ids of machines in them."""

import difflib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.asset_class import AssetClass
from data.errors import SourceError
from edge_runtime.contract.names import check_identifier


def require(cls: AssetClass, file: str, names: Sequence[str], column: str, purpose: str, key: str) -> None:
    """Raise `SourceError` unless `column` is among the `names` of a file; `key` of the class file names the column."""
    if column in names:
        return
    where = f"data/asset_classes/{cls.name}.yaml"
    if len(names) == 1 and (other := next((sign for sign in ";\t|," if sign in names[0]), None)):
        raise SourceError(
            f"{file}: the header is a single column {names[0]!r}: set source.separator: {other!r} in {where} "
            "(all tables of a class have the same: save this one anew if only it differs)"
        )
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(column.casefold(), folded, n=1, cutoff=0.5)
    guess = f"; did you mean '{folded[close[0]]}'?" if close else "."
    raise SourceError(
        f"{file}: no column '{column}' for {purpose}{guess} Its columns are {', '.join(names)}. "
        f"Name the right one in {key} of {where}"
    )


def written(cls: AssetClass) -> str:
    """How times are to be written."""
    return "cycle numbers" if cls.time.unit == "cycle" else "ISO 8601 or seconds since 1970"


def asset_ids(column: pa.Array, file: str) -> tuple[pa.Array, np.ndarray]:
    """Ids as text, and where there are any. Raises `SourceError` for one that is no identifier."""
    ids = pc.utf8_trim_whitespace(column.cast(pa.string()))
    present = pc.fill_null(pc.not_equal(ids, ""), False)
    for asset in pc.unique(ids.filter(present)).to_pylist():
        try:
            check_identifier("asset", asset)
        except ValueError as error:
            better = re.sub(r"[^A-Za-z0-9_-]+", "-", asset)[:64].strip("-") or "machine-1"
            raise SourceError(
                f"{file}: {error}; rename it in the file, e.g. to '{better}': ids name topics, files and machines "
                "everywhere alike"
            ) from error
    return ids, present.to_numpy(zero_copy_only=False)
