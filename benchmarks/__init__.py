"""Speed, side by side with what a user would pick instead, measured in one run on one machine.

    uv run python -m benchmarks.twin       the whole twin against pandas, Keras, xgboost and scikit-learn
    uv run python -m benchmarks.trees      the tree operator against xgboost and scikit-learn
    uv run python -m benchmarks.history    history streamed through the feature graph: observations a second, memory

Each prints a table, writes the same as JSON with `--json FILE`, and takes options that shorten it (`--help`). All that
is measured runs on one thread. Nothing imports this package.
"""
