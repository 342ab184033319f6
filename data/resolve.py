"""Stage `resolve`: check the class file of a fleet and write it, resolved, to artifacts/<fleet>/class.json.

Later stages read that file alone, so a change to one class reruns that class only.
"""

from data import command, paths
from data.asset_class import AssetClass
from data.class_file import load
from data.errors import AssetClassError


def resolve(fleet: str) -> AssetClass:
    cls = load(fleet)
    path = paths.artifact(fleet, "class.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(cls.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return cls


def read_class(fleet: str) -> AssetClass:
    """The class that stage `resolve` wrote."""
    path = paths.artifact(fleet, "class.json")
    if not path.exists():
        raise AssetClassError(f"{path} is missing: run `python -m data.resolve {fleet}` first")
    return AssetClass.model_validate_json(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    command.run(__doc__, lambda args: print(f"{resolve(args.fleet).title}: class file is sound"))
