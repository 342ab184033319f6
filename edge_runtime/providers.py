"""The fastest onnxruntime provider of this device that computes a bundle as it was recorded.

Each provider that onnxruntime has here is tried in the order TensorRT, CUDA, CPU. A bundle passes its self-test on it,
within the tolerances that its manifest has for this provider, or the next one is tried.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import onnxruntime as ort

from edge_runtime.bundle import Bundle
from edge_runtime.errors import BundleError, ModelError

ORDER = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
AUTO = "auto"


def load_best(folder: Path | str, threads: int = 1, wanted: str = AUTO) -> tuple[Bundle, list[str]]:
    """The bundle in `folder` on the provider `wanted`, or for "auto" the first of `ORDER` that passes.

    Also returns why the ones before it were passed over, a line each. Raises what `Bundle.load` raises if none passes,
    or if something is wrong with the bundle itself.
    """
    check_runtime()
    if wanted != AUTO:
        return Bundle.load(folder, threads=threads, provider=wanted), []
    available = ort.get_available_providers()
    passed_over: list[str] = []
    for provider in ORDER[:-1]:
        if provider not in available:
            passed_over.append(f"{provider}: not in this onnxruntime")
            continue
        try:
            return Bundle.load(folder, threads=threads, provider=provider), passed_over
        except (ModelError, BundleError) as error:
            passed_over.append(f"{provider}: {error}")
    return Bundle.load(folder, threads=threads, provider=ORDER[-1]), passed_over


def check_runtime() -> None:
    """`ModelError` if several distributions of onnxruntime are installed: they overwrite each other's files."""
    found = installed_runtimes()
    if len(found) > 1:
        raise ModelError(
            f"{' and '.join(found)} are installed together and overwrite each other's files: uninstall all of them, "
            "then install the one for this device"
        )


def installed_runtimes() -> list[str]:
    """Names of the installed distributions that bring the module `onnxruntime`; onnxruntime-extensions does not."""
    found = set()
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name.startswith(("onnxruntime", "ort-")):
            files = distribution.files
            if any(file.parts[:2] == ("onnxruntime", "__init__.py") for file in files or ()) or name == "onnxruntime":
                found.add(name)
    return sorted(found)
