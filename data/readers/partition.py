"""Rows of many machines, mixed, kept on disk and given back machine by machine.

Tables often come ordered by time. Sorting each batch by machine as it arrives and remembering where the pieces lie
costs one pass and one temporary file; memory holds one batch, then one machine.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa


class Partition:
    """Takes batches, then, once `close`d, gives the rows of each machine in the order they came."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.RecordBatchFileWriter | None = None
        self._pieces: dict[str, list[tuple[int, int, int]]] = {}  # asset → batch, start, length
        self._batches = 0

    def add(self, assets: pa.Array, rows: pa.RecordBatch) -> None:
        """`assets` string[R] names the machine of each row; all batches have one schema."""
        if rows.num_rows == 0:
            return
        codes = assets.dictionary_encode()
        code = codes.indices.to_numpy()
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        lengths = np.diff(starts, append=code.size)
        for asset, start, length in zip(codes.dictionary.to_pylist(), starts, lengths, strict=True):
            self._pieces.setdefault(asset, []).append((self._batches, int(start), int(length)))
        self._writer = self._writer or pa.ipc.new_file(str(self._path), rows.schema)
        self._writer.write_batch(rows.take(pa.array(order)))
        self._batches += 1

    @property
    def assets(self) -> list[str]:
        """In order of first appearance."""
        return list(self._pieces)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))

    def rows(self, asset: str) -> pa.Table:
        pieces = [self._reader.get_batch(batch).slice(start, length) for batch, start, length in self._pieces[asset]]
        return pa.Table.from_batches(pieces).combine_chunks()
