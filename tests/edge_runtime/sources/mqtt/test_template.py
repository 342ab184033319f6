"""Topic templates read exactly the topics that the broker sends for their filter."""

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from edge_runtime.sources.mqtt.template import Template, widest

LEVELS = st.sampled_from(["a", "b", "", "ä"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def templates(draw):
    levels = draw(st.lists(st.sampled_from(["a", "b", "+", "{asset}", "{channel}"]), min_size=1, max_size=4))
    for name in ("{asset}", "{channel}"):
        while levels.count(name) > 1:
            levels[levels.index(name)] = "+"
    return Template("/".join(levels + draw(st.sampled_from([[], ["#"]]))))


@given(templates(), TOPICS)
def test_it_reads_what_its_filter_brings(template, topic):
    fields = template.match(topic)
    assert (fields is not None) == topic_matches_sub(template.filter, topic)
    if fields is not None and "+" not in template.text and "#" not in template.text:
        assert template.fill(**fields) == topic


@given(st.lists(templates().map(lambda template: template.filter), max_size=5), TOPICS)
def test_fewer_filters_bring_the_same(filters, topic):
    fewer = widest(filters)
    assert set(fewer) <= set(filters)
    assert any(topic_matches_sub(f, topic) for f in fewer) == any(topic_matches_sub(f, topic) for f in filters)


def test_no_filter_covers_another():
    assert widest(["a/+", "a/b", "#", "a/#"]) == ["#"]
    assert widest(["a/b", "a/b"]) == ["a/b"]
    assert widest(["+/b", "a/+"]) == ["+/b", "a/+"]
