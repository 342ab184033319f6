import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract import topics
from edge_runtime.contract.message import KINDS
from edge_runtime.contract.topics import Topic, parse
from edge_runtime.errors import MajorError, WireError
from tests.edge_runtime.contract.messages import FUZZ, is_read_or_refused, names

PIECES = ["overhaul", "1", "2", "up", "down", "status", "ack", "alarm", "a", "", "+", "#", "..", "ä"]


@given(names, names, st.sampled_from(KINDS), st.none() | names)
def test_a_topic_is_read_as_it_was_made(site, gateway, kind, asset):
    assert parse(topics.up(site, gateway, kind, asset)) == Topic(site, gateway, "up", kind, asset)
    assert parse(topics.status(site, gateway)) == Topic(site, gateway, "status")
    for down in topics.DOWN:
        assert parse(topics.down(site, gateway, down)) == Topic(site, gateway, "down", down)


@FUZZ
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["overhaul", "1", "2", "up", "down", "status", "ack", "a", "", "+", "#", "..", "ä"])
    ).map("/".join)
)
def test_whatever_comes_is_a_topic_or_refused(text):
    found = is_read_or_refused(lambda: parse(text), ("topic", "major"))
    assert found is None or text.startswith(f"overhaul/1/{found.site}/{found.gateway}/{found.direction}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "overhaul",
        "overhaul/1/north/gw",
        "overhaul/1/north/gw/up",
        "overhaul/1/north/gw/up/gossip",
        "overhaul/1/north/gw/up/alarm/",
        "overhaul/1/north/gw/up/alarm/a/b",
        "overhaul/1/north/gw/up/alarm/a b",
        "overhaul/1/north/gw/status/x",
        "overhaul/1/north/gw/down/alarm",
        "overhaul/1/north/gw/down/ack/a",
        "overhaul/1//gw/status",
        "overhaul/1/north/../status",
        "overhaul/x/north/gw/status",
        "overhaul/1/north/gw/status" + "s" * 10_000,
    ],
    ids=lambda text: text[:45],
)
def test_what_is_no_topic(text):
    with pytest.raises(WireError, match="topic"):
        parse(text)


def test_a_topic_of_another_major():
    with pytest.raises(MajorError):
        parse("overhaul/2/north/gw/status")


def test_no_topic_is_made_of_what_is_no_identifier():
    with pytest.raises(ValueError, match="site '\\+'"):
        topics.up("+", "gw", "alarm")
    with pytest.raises(ValueError, match="asset 'a/b'"):
        topics.up("north", "gw", "alarm", "a/b")
    with pytest.raises(ValueError, match="kind 'gossip'"):
        topics.up("north", "gw", "gossip")
    with pytest.raises(ValueError, match="kind 'alarm'"):
        topics.down("north", "gw", "alarm")


def test_subscriptions():
    assert topics.downward("north", "gw") == "overhaul/1/north/gw/down/+"
    assert topics.upward() == ("overhaul/1/+/+/up/#", "overhaul/1/+/+/status")
    assert topics.upward("north")[1] == "overhaul/1/north/+/status"
