"""What is wrong with a configuration file, each with the path of the place."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigurationError(Exception):
    """The file cannot be applied; nothing was written. `problems` has one sentence for each mistake found."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def problem(path: str, sentence: str) -> ConfigurationError:
    """A single mistake at `path`, for example `customers[0].teams[1].name`."""
    return ConfigurationError([f"{path}: {sentence}" if path else sentence])
