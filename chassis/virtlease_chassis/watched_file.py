"""A file that is read anew when it changes; a bad change is reported and the last good content stays."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from virtlease_chassis.settings import SettingsError

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
log = logging.getLogger(__name__)


class WatchedFile(Generic[T]):
    """The parsed content of a file. `parse` raises SettingsError with all that is wrong.

    The file is looked at when the content is asked for, at most once in `interval` seconds.
    """

    def __init__(self, path: Path, parse: Callable[[Path], T], interval: float = 1.0) -> None:
        self._path = path
        self._parse = parse
        self._interval = interval
        self._stamp = self._look()
        self._looked = time.monotonic()
        self._content = parse(path)

    def content(self) -> T:
        """The last good content."""
        now = time.monotonic()
        if now - self._looked >= self._interval:
            self._looked = now
            self._reload()
        return self._content

    def _reload(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._content = self._parse(self._path)
        except (SettingsError, OSError) as error:
            log.error("%s was changed and cannot be used; the former content stays. %s", self._path, error)
        else:
            log.info("%s was read anew", self._path)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        # The inode too: Kubernetes swaps a link, and an editor replaces the file.
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def parse_yaml(path: Path, model: type[M]) -> M:
    """Reads a YAML file into a model. Raises SettingsError that names the file and every fault in it."""
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError([f"{path}: {error}"]) from error
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise SettingsError([f"{path}: {_where(fault['loc'])}{fault['msg']}" for fault in error.errors()]) from error


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key that stands twice, where YAML's own would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
