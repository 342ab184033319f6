"""The loop back: what the fleet lived through, as a data set that the pipeline trains the next model on.

    python -m serving.export pump --config centre.toml --fleet pump-plant [--failures failures.csv]

database ──a machine at a time──▶ data/sources/<fleet>/ ──fetch, ingest, … (dvc repro)──▶ bundle
                                  data/asset_classes/<fleet>.yaml

* `machine` reads one machine's observations, a page at a time, and says what could not be taken.
* `ends` tells where lives ended: by a failure log, else by events; an end of unknown cause is never a failure.
* `tables` reads what people keep beside the centre: failures, nameplates.
* `files` writes them; `fleet` puts it together. The same database gives the same bytes.
"""
