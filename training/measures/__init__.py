"""Measures of a prognosis: how well it did on machines it had not seen, beside what it must beat.

A measure takes rows and says figures; it reads no file and knows no model. What cannot be computed is null, with a
reason, never 0. Rows are weighted so that machines count equally, lives each count once. `rows` are as
`training.native.native` makes them: one a tick, with

    asset, life, time (nanos)      which machine, when
    true_rul                       remaining life, NaN = unknown
    lower, exact                   its capped label, and whether that is known
    failed_within                  1 or 0: the failure came within the horizon; NaN = unknown
    warm                           the twin has warmed up
    rul, rul_lower, rul_upper, failure_probability      what was said

Both label protocols stand side by side: `rmse` caps the truth at the class's cap, above which lives are not told apart;
`rmse_uncapped` is of the same prognosis against the truth as it is.
"""
