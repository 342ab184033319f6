import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data.readers.partition import Partition


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]))))
def test_each_machine_gets_its_rows_in_order(batches):
    with tempfile.TemporaryDirectory() as folder:
        partition = Partition(Path(folder) / "rows.arrow")
        expected: dict[str, list[int]] = {}
        number = 0
        for assets in batches:
            numbers = list(range(number, number + len(assets)))
            number += len(assets)
            for asset, value in zip(assets, numbers, strict=True):
                expected.setdefault(asset, []).append(value)
            partition.add(
                pa.array(assets, pa.string()), pa.RecordBatch.from_pydict({"n": pa.array(numbers, pa.int64())})
            )
        partition.close()
        assert partition.assets == list(expected)
        for asset, values in expected.items():
            assert partition.rows(asset)["n"].to_pylist() == values
