"""From drift, or enough new failures, to a new model in the registry.

    python -m serving.retrain pump --config centre.toml --failures failures.csv [--dry-run]

reasons ──▶ export (`serving.export`) ──▶ dvc add ──▶ dvc exp run ──▶ stage `export` registers the bundle in MLflow

To be run in the repository's root, by cron or by hand. Nothing here moves an alias of the registry: the first version
of a fleet becomes its champion, every later one a challenger (`training.register`), and who promotes it is a person.
"""
