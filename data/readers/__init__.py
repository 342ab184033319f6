"""Readers: from the source files of a class, as fetched, to one `Recording` a machine.

A reader is a module with

    source_files(source) -> list[SourceFile]            what `data.fetch` brings to data/raw/<fleet>
    read(cls, folder, report) -> Iterator[Recording]    in order of first appearance, each machine once

and, in place of `source_files` when nothing is to be fetched, `make(cls, folder)`.

Readers tell what is wrong with a file to the `Report`, and raise `SourceError` for a file that cannot be what the class
says. They neither sort nor judge values: `data.ingest` does, alike for all.
"""

from types import ModuleType

from data.asset_class import AssetClass
from data.readers import cmapss, simulation, table

READERS: dict[str, ModuleType] = {"cmapss": cmapss, "table": table, "simulation": simulation}


def reader_of(cls: AssetClass) -> ModuleType:
    return READERS[cls.source.reader]
