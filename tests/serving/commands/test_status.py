"""What may become of a command, whatever comes in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from serving.commands.status import OPEN, WEIGHTS, answered, out_of_time, published, withdrawable

ENDS = ("done", "failed", "refused", "unknown", "expired", "cancelled")
answers = st.sampled_from(list(WEIGHTS))
steps = st.one_of(
    st.tuples(st.just("answer"), answers),
    st.tuples(st.sampled_from(["approve", "claim", "published", "late", "cancel"]), st.none()),
)


class Model:
    """A command that only what `serving.commands` lets happen happens to."""

    def __init__(self, waiting):
        self.status, self.claims, self.known = "waiting_for_approval" if waiting else "queued", 0, None
        self.heard = []  # answers that came when somebody could have given them

    def step(self, what, answer):
        if what == "answer":
            if self.claims:
                self.heard.append(answer)
            after = answered(self.status, self.claims, self.known, answer)
            if after is not None:
                self.status, self.known = after, answer
        elif what == "approve" and self.status == "waiting_for_approval":
            self.status = "queued"
        elif what == "claim" and self.status == "queued":
            self.claims += 1
        elif what == "published" and self.claims:
            self.status = published(self.status) or self.status
        elif what == "late":
            self.status = out_of_time(self.status, self.claims) or self.status
        elif what == "cancel" and withdrawable(self.status, self.claims):
            self.status = "cancelled"


@given(st.booleans(), st.lists(steps, max_size=30))
def test_nothing_that_was_answered_is_taken_back(waiting, history):
    model, weight = Model(waiting), -1
    for step in history:
        before = model.status
        model.step(*step)
        now = -1 if model.known is None else WEIGHTS[model.known]
        assert now >= weight, "a lighter answer has replaced a heavier one"
        weight = now
        if before in ("expired", "cancelled"):
            assert model.status == before, "it was certain that no gateway has it"
        if before in ENDS:
            assert model.status not in OPEN
        if model.known not in (None, "accepted"):
            assert model.status == model.known
        if model.status in ("expired", "cancelled"):
            assert not model.claims


@given(st.lists(answers, min_size=1, max_size=8), st.randoms(), st.booleans(), st.booleans())
def test_the_order_of_answers_and_their_repetitions_do_not_matter(given_answers, random, sent, late):
    ends = []
    for _ in range(2):
        model = Model(waiting=False)
        model.step("claim", None)
        todo = [("answer", answer) for answer in given_answers] + [("published", None)] * sent + [("late", None)] * late
        random.shuffle(todo)
        for step in todo + [step for step in todo if random.random() < 0.5]:
            model.step(*step)
        ends.append((model.status, None if model.known == "accepted" else model.known))
    assert ends[0] == ends[1]
    heaviest = max(given_answers, key=WEIGHTS.__getitem__)
    assert ends[0][1] == (None if heaviest == "accepted" else heaviest)


def test_what_nobody_was_sent_nobody_can_answer():
    for status in ("waiting_for_approval", "queued", "expired", "cancelled"):
        assert answered(status, 0, None, "done") is None
    assert answered("sent", 1, None, "done") == "done"
    assert answered("unknown", 1, None, "done") == "done", "a late answer"
    assert answered("unknown", 1, None, "refused") == "refused", "a late answer"
    assert answered("unknown", 1, "unknown", "refused") is None, "what the gateway does not know it has not refused"
