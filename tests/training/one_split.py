"""The smallest tree: one split of the only feature, with leaves 1 and 2."""

import numpy as np

from training.trees import Trees


def one_split(threshold):
    return Trees(
        feature=np.array([0, 0, 0]),
        threshold=np.array([threshold, 0, 0], np.float32),
        left=np.array([1, 1, 2]),
        right=np.array([2, 1, 2]),
        missing_left=np.zeros(3, bool),
        value=np.array([0, 1, 2], np.float32),
        root=np.array([0]),
        target=np.array([0]),
        base=np.zeros(1, np.float32),
    )
