"""Leak canaries: is what the pipeline learns from really known when it is used, and is what judges it really unseen?

Two detectors make features again in a world from which something is withheld, and compare with what stage `features`
stored: `causality` withholds what comes after a row, `isolation` the machines that a fold is judged on. Each is run on
the pipeline, which has to pass, and on planted leaks, which it has to flag: a check that cannot fail is no check.
`separation` looks at the folds themselves.

Three more canaries know nothing and must score like it, by the code that fits and judges the real models (`chance`): a
machine's identifier, random predictions, shuffled labels.

`LeakError` says which rule was broken, by what, and where to look.
"""
