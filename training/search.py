"""Better parameters by Optuna, each trial a DVC experiment that ends before the test machines are opened.

python -m training.search <fleet> --trials 20

Optuna asks (TPE: Bergstra et al. 2011), `dvc exp run --temp` trains up to stage `calibrate` in a folder of its own,
and the cross-validated RMSE of the blend in cross_validation.json answers. The study is kept in mlflow/store/search.db:
run again, it goes on. Nothing in the workspace changes; what is best is taken over by `dvc exp apply`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from data import paths
from data.errors import DataError
from training import tracking
from training.params import Params, read_params

STORE = Path("mlflow/store/search.db")
OWN = ("data/asset_classes", "data/sources")  # what users put there need not be known to Git


@dataclass(frozen=True)
class Range:
    """Of one parameter, both ends included; whole numbers if they are. `log`: its logarithm is what matters."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Any, name: str) -> int | float:
        ask = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return ask(name, self.low, self.high, log=self.log)


SPACE = {
    "xgboost": {
        "trees": Range(50, 1000, log=True),
        "depth": Range(2, 9),
        "learning_rate": Range(0.01, 0.3, log=True),
        "subsample": Range(0.1, 1.0),
        "colsample": Range(0.05, 1.0),
        "min_child_weight": Range(1.0, 1000.0, log=True),
        "reg_lambda": Range(0.1, 100.0, log=True),
    },
    "lstm": {
        "units": Range(8, 128, log=True),
        "epochs": Range(10, 100, log=True),
        "learning_rate": Range(0.0003, 0.03, log=True),
        "dropout": Range(0.0, 0.5),
    },
}


@dataclass(frozen=True)
class Score:
    """RMSE of the blend, cross-validated, with its standard error, in the unit of life."""

    rmse: float
    se: float


class Search:
    """The study of one fleet, one head and the data, class and split that are here: others' figures do not compare."""

    def __init__(self, fleet: str, head: str, sections: Sequence[str], params: Params) -> None:
        import optuna  # takes a second

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.fleet, self.head, self.sections = fleet, head, sections
        states = optuna.trial.TrialState
        self.failed = states.FAIL
        self.present = {
            f"{section}.{name}": getattr(getattr(params, section), name)
            for section in sections
            for name in SPACE[section]
        }
        self.name = f"{fleet}-{head}-{'-'.join(sections)}-{identity(fleet)}"
        STORE.parent.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{STORE}"
        self.study = optuna.create_study(storage=storage, study_name=self.name, load_if_exists=True)
        # A study that goes on must not draw once more what it began with.
        self.study.sampler = optuna.samplers.TPESampler(seed=len(self.study.trials))
        # Optuna's skip_if_exists would skip them for a trial that failed, too.
        if not any(
            asked(trial) == self.present for trial in self.study.get_trials(states=(states.COMPLETE, states.WAITING))
        ):
            self.study.enqueue_trial(self.present)

    def run(self, trials: int) -> Iterator[tuple[int, Score, float]]:
        """Number, score and seconds of each trial; `DataError` if its training fails, which ends the search."""
        for _ in range(trials):
            trial, began = self.study.ask(), time.monotonic()
            for section in self.sections:
                for name, of in SPACE[section].items():
                    of.suggest(trial, f"{section}.{name}")
            name = f"search-{self.name}-{trial.number:04}"
            try:
                score = experiment(self.fleet, self.head, name, trial.params)
            except BaseException:  # Ctrl-C, too
                self.study.tell(trial, state=self.failed)
                raise
            trial.set_user_attr("se", score.se)
            trial.set_user_attr("experiment", name)
            self.study.tell(trial, score.rmse)
            yield trial.number, score, time.monotonic() - began

    def scores(self) -> tuple[Score, Score | None]:
        """Of the best trial, and of the present parameters if they have been tried."""
        tried = [each for each in self.study.trials if each.value is not None]
        own = next((each for each in tried if each.params == self.present), None)
        best = self.study.best_trial
        return _score(best), _score(own) if own else None


def asked(trial: Any) -> dict[str, Any]:
    """The parameters of a trial, of one that waits for its turn, too."""
    return dict(trial.system_attrs.get("fixed_params", trial.params))


def _score(trial: Any) -> Score:
    return Score(float(trial.value), float(trial.user_attrs["se"]))


def identity(fleet: str) -> str:
    """Of data, class (its cap decides what an error is) and split."""
    try:
        files = [paths.artifact(fleet, name).read_bytes() for name in ("class.json", "splits.json")]
        content = tracking.data_hash(fleet).encode() + b"".join(files)
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is not there: `uv run dvc repro split@{fleet}` makes it") from error
    return sha256(content).hexdigest()[:8]


def experiment(fleet: str, head: str, name: str, values: dict[str, Any]) -> Score:
    """Train with `values` up to `calibrate`, as the DVC experiment `name`."""
    import dvc.api

    # ++: whether params.yaml has the key or leaves it at its default.
    changes = [word for key, value in values.items() for word in ("-S", f"++{key}={value}")]
    copied = [word for path in unknown_to_git() for word in ("--copy-paths", path)]
    options = ["--temp", "--name", name, *copied, *changes]
    command = [sys.executable, "-m", "dvc", "exp", "run", *options, f"calibrate@{fleet}"]
    if code := subprocess.run(command, env=environment(fleet), check=False).returncode:
        raise DataError(
            f"experiment {name} ended with {code}: see above. The study keeps the other trials: run this again to go on"
        )
    cross = json.loads(dvc.api.read(str(paths.artifact(fleet, "cross_validation.json")), rev=name))
    if head not in cross:
        raise DataError(f"'{fleet}' has no head '{head}', only {', '.join(cross)}: name one of these by --head")
    return Score(cross[head]["blend"]["rmse"], cross[head]["blend"]["se"])


def unknown_to_git() -> list[str]:
    """Files and folders of the user's own that DVC would leave out of the folder in which a trial runs."""
    command = ["git", "ls-files", "--others", "--directory", "-z", "--", *OWN]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [path.rstrip("/") for path in told.split("\0") if path]


def environment(fleet: str) -> dict[str, str]:
    """Stages call `python`: that is this one. Their runs go into the store of this workspace."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {**os.environ, "PATH": path}
    if "MLFLOW_TRACKING_URI" not in own:
        tracking.experiment(fleet)  # made here, so that artifacts do not go into the temporary folder either
        store = Path(tracking.library().get_tracking_uri().removeprefix("sqlite:///")).absolute()
        own["MLFLOW_TRACKING_URI"] = f"sqlite:///{store}"
    return own


def summary(search: Search) -> str:
    """What is best, and whether it is worth changing anything."""
    best, present = search.scores()
    trial, tried = search.study.best_trial, [each for each in search.study.trials if each.value is not None]
    lines = [f"{search.name}: {len(tried)} trials", f"  best     {best.rmse:.4g} ± {best.se:.2g}"]
    lines += [f"    {key} {value:.4g}" for key, value in trial.params.items()]
    if present is None:
        return "\n".join([*lines, "  the present parameters are tried first at the next run"])
    gain, se = present.rmse - best.rmse, max(present.se, best.se)
    lines.append(f"  present  {present.rmse:.4g} ± {present.se:.2g}")
    if not gain > se:
        return "\n".join([*lines, f"  better by {gain:.2g}, no more than one standard error: keep the present ones"])
    return "\n".join(
        [
            *lines,
            f"  better by {gain:.2g}, more than one standard error; some of it is luck, as of any best of {len(tried)}",
            f"  take it over: uv run dvc exp apply {trial.user_attrs['experiment']} && uv run dvc repro",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.search", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("fleet", help="<class> or <class>-<subset>, e.g. pump or turbofan-FD001")
    parser.add_argument("--trials", type=int, default=20, help="more of them, on top of those of the study (20)")
    parser.add_argument("--head", choices=("aged", "free"), help="age known, or unknown; the class's first by default")
    parser.add_argument("--sections", nargs="+", choices=[*SPACE], default=[*SPACE], help="of params.yaml (all)")
    options = parser.parse_args(arguments)
    try:
        params = read_params()
        if options.fleet not in params.fleets:
            raise DataError(f"'{options.fleet}' is not among the fleets of params.yaml: add it there")
        head = options.head or first_head(options.fleet)
        search = Search(options.fleet, head, [name for name in SPACE if name in options.sections], params)
        for done, (number, score, seconds) in enumerate(search.run(options.trials), 1):
            left = options.trials - done
            more = f"; {left} to go, about {left * seconds / 60:.0f} min" if left else ""
            print(f"trial {number}: {score.rmse:.4g} ± {score.se:.2g} ({seconds:.0f} s{more})", flush=True)
        print(summary(search))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the study keeps what was tried, run this again to go on", file=sys.stderr)
        return 130
    return 0


def first_head(fleet: str) -> str:
    from training.dataset import Dataset

    return Dataset.of(fleet).heads[0]


if __name__ == "__main__":
    sys.exit(main())
