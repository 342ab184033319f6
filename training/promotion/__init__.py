"""Whether a challenger may take the champion's place: the rules of mlflow/promotion.yaml, judged one by one.

rules ──▶ candidates (bundles from the registry, self-tested) ──▶ race ──▶ judge ──▶ `training.promote` acts on it

Models are judged by cross-validated figures alone: whoever chooses by the test machines has none left. A figure that is
not there fails its rule. Without a champion the absolute limits judge alone.
"""
