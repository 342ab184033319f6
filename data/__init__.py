"""Data: sensors in. From a file that declares a class of machines to observations, lives, labels and splits.

What flows in: `asset_classes/<class>.yaml`, and the source files it names. What flows out, for each fleet:

    resolve   artifacts/<fleet>/class.json          the class, checked
    fetch     data/raw/<fleet>/                     source files, checked by sha256
    ingest    data/observations/<fleet>.parquet     what the machines' sensors said, in the class's channels and units
              data/observations/<fleet>.<channel>.parquet     waveform snapshots, if there are any
              artifacts/<fleet>/lives.csv           when each life began and how it ended
              artifacts/<fleet>/machines.csv        settings of each machine
              artifacts/<fleet>/quality.json        what was wrong with the data, counted
              artifacts/<fleet>/rejected.csv        rows that could not be used, as they came
    splits    artifacts/<fleet>/splits.json         which machines train, in which fold, and which are held out

Each stage is `python -m data.<stage> <fleet>`, run in the repository's root. Time is int64 "nanos" everywhere: 1e-9 of
the class's time unit, UTC for seconds. Values are as measured, NaN where nothing was received: the twin's graph, not
this package, cleans them. Nothing is lost: what cannot be used is counted and set aside, and a source that cannot be
what the class says is refused (`data.errors`).
"""
