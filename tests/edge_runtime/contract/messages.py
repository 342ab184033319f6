"""Messages of all kinds, as hypothesis draws them."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from edge_runtime.contract import bodies, tables
from edge_runtime.contract.message import Lane, Outgoing, Spooled
from edge_runtime.contract.rows import FLAGS, Keys, Observations, Prognoses, Snapshots, States, Summaries
from edge_runtime.contract.waveform import split
from edge_runtime.errors import AssignmentRefusedError, CommandRefusedError, WireError

# What parses bytes from outside is tried 10,000 times where thoroughness is asked for.
FUZZ = settings(max_examples=10_000 if settings.default.max_examples >= 3000 else 200, deadline=None)
PATIENT = settings(deadline=None)  # other work shares the processor

names = st.text("abcXYZ019_-", min_size=1, max_size=12)
codes = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
ids = st.text("abcXYZ019_.:-", min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
whole = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
tallies = st.dictionaries(codes, counts, max_size=3)

excerpts = st.builds(
    bodies.Excerpt,
    **{name: st.none() | finite for name in ("health", "anomaly_score", "failure_probability", "warming_up")},
    **{name: st.none() | finite for name in ("rul", "rul_lower", "rul_upper", "unfamiliar")},
    open=st.booleans(),
)


@st.composite
def alarms(draw):
    state = draw(st.sampled_from(bodies.ALARM_STATES))
    previous = 0 if state == "raised" else draw(st.integers(1, 3))
    level = 0 if state == "cleared" else draw(st.integers(1, 3).filter(lambda level: level != previous))
    return bodies.Alarm(
        id=draw(ids),
        state=state,
        level=level,
        previous=previous,
        since=draw(whole),
        asset=draw(names),
        term=draw(counts),
        number=draw(counts),
        t=draw(whole),
        prognosis=draw(excerpts),
        contributions=tuple(draw(st.lists(st.builds(bodies.Contribution, names, finite), max_size=3))),
        simulated=draw(st.booleans()),
    )


events = st.builds(
    bodies.Event,
    id=ids,
    code=codes,
    state=st.sampled_from(bodies.EVENT_STATES),
    severity=st.sampled_from(bodies.SEVERITIES),
    t=whole,
    asset=st.none() | names,
    source=st.none() | texts,
    detail=texts,
    counts=tallies,
    simulated=st.booleans(),
)
answers = st.builds(
    bodies.Ack,
    id=ids,
    status=st.sampled_from(bodies.ANSWERS),
    asset=st.none() | names,
    channel=st.none() | names,
    reason=st.none() | texts,
    value=st.none() | finite,
    t=whole,
)
heartbeats = st.builds(
    bodies.Heartbeat,
    uptime=finite,
    machines=counts,
    observations=counts,
    refused=tallies,
    backlog=tallies,
    backlog_bytes=counts,
    oldest=st.none() | whole,
    written_bytes=counts,
)
statuses = st.builds(
    bodies.Status,
    state=st.sampled_from(["online", "offline"]),
    gateway=names,
    epoch=counts,
    t=whole,
    version=texts,
    bundles=st.dictionaries(names, texts, max_size=3),
    insecure=st.lists(texts, max_size=3).map(tuple),
    clock=st.sampled_from(["free", "synced"]),
    heartbeat=st.none() | heartbeats,
)
json_bodies = st.one_of(
    alarms().map(lambda body: ("alarm", body)),
    events.map(lambda body: ("event", body)),
    answers.map(lambda body: ("ack", body)),
)


def floats(*shape):
    """f32, any bits but those of a signalling NaN (copying one may quieten it on some processors)."""
    return hn.arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=True))


def longs(*shape, low=-(2**63)):
    return hn.arrays(np.int64, shape, elements=st.integers(low, 2**63 - 1))


@st.composite
def keys(draw):
    fleet = draw(st.lists(names, unique=True, min_size=1, max_size=4))
    length = draw(st.integers(0, 5))
    rows = draw(hn.arrays(np.int64, length, elements=st.integers(0, len(fleet) - 1)))
    return Keys.of(fleet, rows, draw(longs(length, low=0)), draw(longs(length, low=0)), draw(longs(length)))


@st.composite
def outputs(draw, length, width):
    wanted = draw(st.sets(st.sampled_from(["health", "rul", "contribution", "quality", "novel"])))
    shapes = {"contribution": (length, width), "quality": (length, width)}
    drawn = {name: draw(floats(*shapes.get(name, (length,)))) for name in sorted(wanted)}
    if "quality" in drawn and draw(st.booleans()):
        drawn["quality"] = draw(hn.arrays(np.uint8, (length, width))).astype(np.float32)
    return drawn


@st.composite
def rows(draw):
    key = draw(keys())
    length, asset_class = len(key), draw(names)
    channels = tuple(draw(st.lists(names, unique=True, max_size=3)))
    width = len(channels)
    kind = draw(st.sampled_from(["observation", "prognosis", "summary", "state"]))
    if kind == "prognosis":
        return Prognoses(asset_class, key, draw(outputs(length, width)))
    if kind == "state":
        return States(asset_class, key, draw(floats(length, draw(st.integers(0, 4)))))
    if kind == "summary":
        return Summaries(
            asset_class,
            key,
            channels,
            *(draw(longs(length)) for _ in range(3)),
            draw(longs(length, width)),
            *(draw(floats(length, width)) for _ in range(3)),
            draw(longs(length)),
            draw(longs(length, FLAGS)),
            draw(outputs(length, width)),
        )
    waveforms = {}
    for name in draw(st.sets(names, max_size=2)) if length else ():
        place = draw(hn.arrays(np.int32, draw(st.integers(0, 3)), elements=st.integers(0, length - 1)))
        waveforms[name] = Snapshots(place, draw(floats(len(place), draw(st.integers(0, 3)))))
    readings, event, age = draw(floats(length, width)), draw(floats(length)), draw(floats(length))
    return Observations(asset_class, key, channels, draw(longs(length)), readings, event, age, waveforms)


@st.composite
def outgoings(draw):
    """(what it is made of, the message)."""
    lane, t_rx = draw(st.sampled_from(Lane)), draw(whole)
    which = draw(st.sampled_from(["json", "block", "waveform"]))
    if which == "json":
        kind, body = draw(json_bodies)
        return body, Outgoing(kind, lane, draw(st.none() | names), draw(whole), t_rx, bodies.pack(body))
    if which == "block":
        block = draw(rows())
        return block, tables.outgoing(block, lane, t_rx, draw(st.none() | ids), clock_synced=draw(st.booleans()))
    samples = draw(floats(draw(st.integers(1, 3)), draw(st.integers(1, 8))))
    term, number = draw(counts), draw(counts)
    parts = split(samples, asset="a", channel="c", term=term, number=number, t=1, t_rx=t_rx, lane=lane)
    return samples, parts[0]


spooled = st.builds(
    lambda epoch, seq, made: (made[0], Spooled(epoch, seq, made[1])), counts, st.integers(1, 2**63 - 1), outgoings()
)


def is_read_or_refused(read, reasons):
    """What `read()` gives, None if it refuses by one of `reasons`. Anything else that it raises fails the test."""
    try:
        return read()
    except (WireError, CommandRefusedError, AssignmentRefusedError) as error:
        assert error.reason in reasons, error  # noqa: PT017  (being read is as good)
    return None


def same(a, b):
    """Whether two values are equal, floats bit by bit."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, Keys | Snapshots | Observations | Prognoses | Summaries | States):
        return type(a) is type(b) and same(vars(a), vars(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return a == b
