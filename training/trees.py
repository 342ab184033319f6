"""Decision-tree ensembles as flat arrays: one form for xgboost and scikit-learn trees, for numpy and for ONNX.

A row goes left where `x < threshold`, float32 against float32, and right otherwise; NaN goes where `missing_left` says.
With one comparison at every node (`BRANCH_LT`) onnxruntime takes its fastest path. A prediction is the base plus the
sum of the leaves reached, per target.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest
    from xgboost import Booster

TINY = np.finfo(np.float32).tiny
CHUNK = 1024  # rows taken through all trees at once: bounds memory to a few MB

# xgboost writes `base_score` as a prediction; trees add to a margin. Only what is used here: a wrong guess is silent.
MARGIN = {
    "reg:squarederror": lambda p: p,
    "reg:absoluteerror": lambda p: p,
    "reg:quantileerror": lambda p: p,
    "binary:logistic": lambda p: np.log(p / (1 - p)),
    "survival:aft": np.log,
}


@dataclass(frozen=True, eq=False)
class Trees:
    """An ensemble of T trees with n nodes in all. A node is a leaf where `left` and `right` point to itself."""

    feature: NDArray[np.int64]  # [n] column of X that the node compares (0 at leaves)
    threshold: NDArray[np.float32]  # [n] (0 at leaves)
    left: NDArray[np.int64]  # [n] index of the node where x < threshold
    right: NDArray[np.int64]  # [n] index of the node otherwise
    missing_left: NDArray[np.bool_]  # [n] NaN goes left
    value: NDArray[np.float32]  # [n] what a leaf adds (0 inside)
    root: NDArray[np.int64]  # [T] index of each tree's first node; a tree's nodes are consecutive, in preorder
    target: NDArray[np.int64]  # [T] which output the tree adds to
    base: NDArray[np.float32]  # [targets] what each output starts from

    @property
    def n_targets(self) -> int:
        return len(self.base)

    @classmethod
    def from_xgboost(cls, booster: Booster, columns: Sequence[int]) -> Trees:
        """The booster's trees; they predict its margin (`output_margin=True`): log of the time for `survival:aft`,
        log-odds for `binary:logistic`. `columns[i]` is the column of X that holds the booster's feature i."""
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        boosting, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
        if boosting != "gbtree" or objective not in MARGIN:
            raise ValueError(
                f"xgboost model with booster '{boosting}' and objective '{objective}': only 'gbtree' with one of "
                f"{', '.join(MARGIN)} can be exported"
            )
        model = learner["gradient_booster"]["model"]
        param = learner["learner_model_param"]
        score = np.array(json.loads(param["base_score"]), dtype=np.float32).reshape(-1)
        n_targets = max(1, int(param["num_class"]), int(param["num_target"]))
        base = np.broadcast_to(MARGIN[objective](score), n_targets).astype(np.float32)
        columns = np.asarray(columns, dtype=np.int64)
        if len(columns) != int(param["num_feature"]):
            raise ValueError(f"the booster has {param['num_feature']} features, `columns` names {len(columns)}")
        return _assemble([_xgboost_tree(tree, columns) for tree in model["trees"]], model["tree_info"], base)

    @classmethod
    def from_isolation_forest(cls, model: IsolationForest, columns: Sequence[int]) -> Trees:
        """The forest's path length relative to the expected one: `score_samples` is `-2 ** -prediction`.

        A leaf at depth d that holds n training rows adds (d + c(n)) / (T c(sub-sample)), with c(n) the mean depth of an
        unsuccessful search in a binary tree of n (Liu, Ting and Zhou, "Isolation Forest", 2008, equation 1).
        `columns[i]` is the column of X that holds the forest's feature i.
        """
        columns = np.asarray(columns, dtype=np.int64)
        if len(columns) != model.n_features_in_:
            raise ValueError(f"the forest has {model.n_features_in_} features, `columns` names {len(columns)}")
        scale = len(model.estimators_) * float(expected_path_length(np.array([model.max_samples_]))[0])
        if scale == 0:
            raise ValueError("an isolation forest of one-row sub-samples tells nothing: give it more rows")
        trees = [
            _isolation_tree(tree.tree_, columns[used], scale)
            for tree, used in zip(model.estimators_, model.estimators_features_, strict=True)
        ]
        return _assemble(trees, np.zeros(len(trees)), np.zeros(1, np.float32))

    @classmethod
    def join(cls, ensembles: Sequence[Trees]) -> Trees:
        """One ensemble with the targets of all, in order; each tree stays as it is."""
        shifted, nodes, targets = [], 0, 0
        for e in ensembles:
            places = {name: getattr(e, name) + nodes for name in ("left", "right", "root")}
            shifted.append(replace(e, **places, target=e.target + targets))
            nodes, targets = nodes + len(e.feature), targets + e.n_targets
        return cls(**{f.name: np.concatenate([getattr(e, f.name) for e in shifted]) for f in fields(cls)})

    def separate(self) -> list[Trees]:
        """One ensemble a target. As operators of their own, of one output each, they take onnxruntime's short path:
        a sixth less time than one operator of three outputs."""
        sizes = np.diff(self.root, append=len(self.feature))
        parts = []
        for target in range(self.n_targets):
            chosen = self.target == target
            node = np.flatnonzero(np.repeat(chosen, sizes))
            place = np.full(len(self.feature), -1, dtype=np.int64)
            place[node] = np.arange(len(node))
            parts.append(
                Trees(
                    feature=self.feature[node],
                    threshold=self.threshold[node],
                    left=place[self.left[node]],
                    right=place[self.right[node]],
                    missing_left=self.missing_left[node],
                    value=self.value[node],
                    root=place[self.root[chosen]],
                    target=np.zeros(chosen.sum(), np.int64),
                    base=self.base[target : target + 1],
                )
            )
        return parts

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """[B, targets], of X[B, features]."""
        out = np.empty((len(X), self.n_targets), np.float32)
        # summed per target in float64: more exact than both libraries, which add float32 in their own orders
        into = (self.target[:, None] == np.arange(self.n_targets)).astype(np.float64)
        for rows in _chunks(len(X)):
            for node, _ in self._walk(X[rows]):
                leaf = node
            out[rows] = self.base + self.value[leaf].astype(np.float64) @ into
        return out

    def margin(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """[B]: the smallest relative distance |x − t| / max(|x|, |t|) to a threshold over the splits each row visits.

        A row whose margin is within float32 rounding may fall on the other side of a split after a harmless difference.
        A zero is exact (what was never observed, or no change at all): on a split at zero it does not count.
        """
        out = np.full(len(X), np.inf, np.float32)
        for rows in _chunks(len(X)):
            for node, x in self._walk(X[rows]):
                # in float64: the distance of two large floats of opposite sign has no place in float32
                x, t = x.astype(np.float64), self.threshold[node].astype(np.float64)
                with np.errstate(invalid="ignore"):
                    gap = np.abs(x - t) / np.maximum(np.maximum(np.abs(x), np.abs(t)), TINY)
                # leaves compare nothing; NaN and the infinities are far from every threshold
                gap = np.where((self.left[node] == node) | ~np.isfinite(gap) | (x == 0) & (t == 0), np.inf, gap)
                out[rows] = np.minimum(out[rows], gap.min(axis=1, initial=np.inf))
        return out

    def _walk(self, X: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Nodes [B, T] and the values compared there, level by level; the last nodes are the leaves."""
        X = np.asarray(X)
        if X.dtype != np.float32:
            raise TypeError(f"trees compare float32, got {X.dtype}: train and predict on the graph's own features")
        node = np.broadcast_to(self.root, (len(X), len(self.root)))
        row = np.arange(len(X))[:, None]
        while True:
            x = X[row, self.feature[node]]
            yield node, x
            goes_left = (x < self.threshold[node]) | (np.isnan(x) & self.missing_left[node])
            below = np.where(goes_left, self.left[node], self.right[node])
            if np.array_equal(below, node):
                return
            node = below

    def attributes(self) -> dict[str, Any]:
        """Attributes of `ai.onnx.ml` (opset 3) TreeEnsembleRegressor, by name."""
        n, trees = len(self.feature), len(self.root)
        tree = np.repeat(np.arange(trees), np.diff(self.root, append=n))
        first = self.root[tree]
        leaf = self.left == np.arange(n)
        attributes = {
            "n_targets": self.n_targets,
            "base_values": self.base.tolist(),
            "nodes_treeids": tree.tolist(),
            "nodes_nodeids": (np.arange(n) - first).tolist(),
            "nodes_featureids": self.feature.tolist(),
            "nodes_values": self.threshold.tolist(),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LT").tolist(),
            "nodes_truenodeids": np.where(leaf, 0, self.left - first).tolist(),
            "nodes_falsenodeids": np.where(leaf, 0, self.right - first).tolist(),
            "target_treeids": tree[leaf].tolist(),
            "target_nodeids": (np.arange(n) - first)[leaf].tolist(),
            "target_ids": self.target[tree[leaf]].tolist(),
            "target_weights": self.value[leaf].tolist(),
        }
        if self.missing_left.any():  # else NaN goes right by itself, and onnxruntime need not look for it
            attributes["nodes_missing_value_tracks_true"] = self.missing_left.astype(np.int64).tolist()
        return attributes

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Trees:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def expected_path_length(n: NDArray[np.int64]) -> NDArray[np.float64]:
    """c(n): mean depth of an unsuccessful search in a binary tree of n keys; H(n) by its asymptote, as scikit-learn.

    >>> expected_path_length(np.array([1, 2, 256])).round(3).tolist()
    [0.0, 1.0, 10.245]
    """
    m = np.maximum(n, 3).astype(np.float64)
    c = 2.0 * (np.log(m - 1.0) + np.euler_gamma) - 2.0 * (m - 1.0) / m
    return np.where(n > 2, c, np.where(n == 2, 1.0, 0.0))


def strictly_below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The float32 u for which x < u is x <= threshold, for every float32 x: the next one above the largest float32
    that is not above the threshold."""
    with np.errstate(over="ignore"):  # a threshold beyond float32 becomes infinite, which is right
        t = threshold.astype(np.float32)
        floor = np.where(t.astype(np.float64) > threshold, np.nextafter(t, np.float32(-np.inf)), t)
        return np.nextafter(floor, np.float32(np.inf))


# One tree: its nodes as arrays named as in `Trees`, children of leaves -1, numbered from 0 in any order.
_Tree = dict[str, NDArray[Any]]


def _xgboost_tree(tree: dict[str, Any], columns: NDArray[np.int64]) -> _Tree:
    if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise ValueError("xgboost trees with categorical splits or vector leaves cannot be exported")
    condition = np.array(tree["split_conditions"], dtype=np.float32)  # at leaves: the leaf's value
    left = np.array(tree["left_children"])
    return {
        "feature": columns[tree["split_indices"]],
        "threshold": condition,
        "left": left,
        "right": np.array(tree["right_children"]),
        "missing_left": np.array(tree["default_left"], dtype=bool),
        "value": condition,
    }


def _isolation_tree(tree: Any, columns: NDArray[np.int64], scale: float) -> _Tree:
    left, right = tree.children_left, tree.children_right
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        if left[node] >= 0:
            depth[[left[node], right[node]]] = depth[node] + 1
    return {
        "feature": columns[np.maximum(tree.feature, 0)],  # -2 at leaves
        "threshold": strictly_below(tree.threshold),
        "left": left,
        "right": right,
        "missing_left": tree.missing_go_to_left.astype(bool),
        "value": ((depth + expected_path_length(tree.n_node_samples)) / scale).astype(np.float32),
    }


def _assemble(trees: Sequence[_Tree], target: Sequence[int] | NDArray[Any], base: NDArray[np.float32]) -> Trees:
    trees = [_in_preorder(tree) for tree in trees]
    root = np.cumsum([0, *(len(tree["left"]) for tree in trees)])[:-1]
    columns = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    first = np.repeat(root, [len(tree["left"]) for tree in trees])
    leaf = columns["left"] < 0
    itself = np.arange(len(leaf))
    return Trees(
        feature=np.where(leaf, 0, columns["feature"]),
        threshold=np.where(leaf, np.float32(0), columns["threshold"]),
        left=np.where(leaf, itself, columns["left"] + first),
        right=np.where(leaf, itself, columns["right"] + first),
        missing_left=columns["missing_left"] & ~leaf,
        value=np.where(leaf, columns["value"], np.float32(0)),
        root=root,
        target=np.asarray(target, dtype=np.int64),
        base=base,
    )


def _in_preorder(tree: _Tree) -> _Tree:
    """Parent, left branch, right branch; nodes that pruning has cut off fall away."""
    order, stack = [], [0]
    while stack:
        node = stack.pop()
        order.append(node)
        if tree["left"][node] >= 0:
            stack += [tree["right"][node], tree["left"][node]]
    place = np.full(len(tree["left"]) + 1, -1, dtype=np.int64)  # the last entry serves the children of leaves: -1
    place[order] = np.arange(len(order))
    ordered = {name: array[order] for name, array in tree.items()}
    return ordered | {side: place[ordered[side]] for side in ("left", "right")}


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, CHUNK):
        yield slice(start, min(start + CHUNK, rows))
