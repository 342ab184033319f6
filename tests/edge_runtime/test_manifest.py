import json

import pytest

from edge_runtime.errors import FormatError
from edge_runtime.manifest import canonical_json, checksum, model_id, parse
from tests.edge_runtime.tiny import tiny_bundle, tiny_contract


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return json.loads((tiny_bundle(tmp_path_factory.mktemp("bundle")) / "manifest.json").read_text())


def dump(raw):
    return json.dumps(raw).encode()


def test_the_contract_is_typed(raw):
    manifest, _ = parse(dump(raw))
    contract = manifest.contract
    assert contract.channels[0].range == (0.0, 400.0)
    assert contract.channels[1].role == "condition"
    assert contract.state.slices[1].scope == "asset"
    assert contract.alarms[0].below == 0.5
    assert contract.time.assemble  # older bundles do not say
    assert manifest.models["isolation_forest"] == {"trees": 100, "gives": "anomaly_score"}
    assert manifest.provenance.commit == "abc-dirty"


def test_a_newer_format_is_refused_before_anything_else():
    with pytest.raises(FormatError, match="has format 2, this version of overhaul reads up to 1: update overhaul"):
        parse(b'{"format": 2, "all": "else may have changed"}')


def test_a_newer_protocol_is_refused_and_newer_minors_are_read(raw):
    contract = raw["contract"]
    parse(dump(raw | {"contract": contract | {"protocol": "1.7", "hints": ["new"]}, "more": 1}))
    with pytest.raises(FormatError, match=r"speaks protocol 2\.0"):
        parse(dump(raw | {"contract": contract | {"protocol": "2.0"}}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[]", "names no format"),
        (b'{"format": true}', "names no format"),
        (b'{"format": 0}', "count from 1"),
        (b'{"format": 1}', r"manifest\.model_id is missing"),
        (b'{"format": 1, "x": NaN}', "nan|NaN"),
        (b'{"format": 1, "x": 1e999}', "1e999 is not a finite number"),
    ],
)
def test_what_is_no_manifest_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        parse(text)


def test_the_model_id_follows_graph_and_contract_only():
    contract = tiny_contract()
    shuffled = dict(reversed(contract.items()))
    assert model_id(b"graph", contract) == model_id(b"graph", shuffled)
    assert model_id(b"graph", contract) != model_id(b"graph!", contract)
    assert model_id(b"graph", contract) != model_id(b"graph", contract | {"title": "other"})


def test_the_checksum_covers_what_the_model_id_does_not(raw):
    assert raw["checksum"] == checksum(raw)
    assert raw["checksum"] != checksum(raw | {"quality": {"rul": {"rmse": 1.0}}})


def test_canonical_json_refuses_what_json_has_not():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("inf")})
