"""Times of a class in queries and answers."""

import pytest

from serving.api.desk import moment, told
from serving.errors import RequestError

T0 = 1_767_434_400_000_000_000


def test_moments():
    for text in ("2026-01-03T10:00:00Z", "2026-01-03 12:00+02:00", "1767434400", "1767434400.0"):
        assert moment(text, "s", "t") == moment(text, None, "t") == T0
    assert moment("12.5", "cycle", "t") == 12_500_000_000
    for text, unit in (("2026-01-03", "cycle"), ("soon", "s"), ("nan", "s"), ("1e11", "cycle"), ("", None)):
        with pytest.raises(RequestError, match="is no time: expected") as caught:
            moment(text, unit, "start")
        assert (caught.value.code, caught.value.where) == ("time", "start")


def test_told():
    assert told(T0, "s") == "2026-01-03T10:00:00Z"
    assert told(12_500_000_000, "cycle") == "12.5"
    assert told(T0, None) == "1767434400"
