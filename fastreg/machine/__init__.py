"""The machine under the engines: the one extension, threads, SIMD targets, peak rates, versions."""

from importlib import import_module


def __getattr__(name: str):
    """The extension, or one line that says what to do in a source tree that has none."""
    if name != "_core":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module("fastreg.machine._core")
    except ModuleNotFoundError as error:
        if error.name != "fastreg.machine._core":
            raise
        from pathlib import Path  # here, since a command should hear Ctrl-C soon (`begin_command`)

        root = Path(__file__).parents[2]
        raise ImportError(f"{root} holds the sources of fastreg, not built yet; run: pip install -e {root}") from None
