"""From drift, or enough new failures, to a new model in the registry.

    python -m serving.retrain pump --config centre.toml --failures failures.csv [--dry-run]

reasons ──▶ export (`serving.export`) ──▶ dvc add ──▶ dvc exp run ──▶ stage `export` registers the bundle in MLflow
──▶ `python -m training.promote`, which makes it the champion if it passes the rules of mlflow/promotion.yaml

To be run in the repository's root, by cron or by hand. Nothing here moves an alias of the registry: the rules do, or,
with --judge-only, a person.
"""
