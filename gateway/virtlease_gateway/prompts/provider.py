"""The prompts, from the files beside this one."""

from collections.abc import Container, Iterator, Sequence
from importlib.resources import files
from typing import Any

import yaml
from fastmcp.prompts import Message, Prompt, PromptArgument, PromptResult
from fastmcp.server.providers import Provider
from fastmcp.utilities.versions import VersionSpec
from pydantic import PrivateAttr


class TextPrompt(Prompt):
    """A text with its arguments filled in."""

    _text: str = PrivateAttr()

    @classmethod
    def parse(cls, name: str, document: str) -> tuple["TextPrompt", list[str]]:
        """Reads a file: YAML between lines of dashes, then the text. Returns the tools that it needs, too."""
        _, head, text = document.split("---\n", 2)
        said: dict[str, Any] = yaml.safe_load(head)
        arguments = [
            PromptArgument(name=argument, description=meaning, required=True)
            for argument, meaning in said["arguments"].items()
        ]
        prompt = cls(name=name, title=said["title"], description=said["description"], arguments=arguments)
        prompt._text = text.strip()
        return prompt, said["needs"]

    async def render(self, arguments: dict[str, Any] | None = None) -> PromptResult:
        given = arguments or {}
        missing = [each.name for each in self.arguments or [] if not given.get(each.name)]
        if missing:
            raise ValueError(f"missing: {', '.join(missing)}")
        return PromptResult([Message(self._text.format_map(given))])


class PromptProvider(Provider):
    """Offers the prompts whose tools are offered."""

    def __init__(self, tools: Container[str]) -> None:
        super().__init__()
        self._prompts: dict[str, TextPrompt] = {}
        for name, document in _documents():
            prompt, needs = TextPrompt.parse(name, document)
            if all(tool in tools for tool in needs):
                self._prompts[name] = prompt

    @property
    def names(self) -> frozenset[str]:
        """The names of those that are offered."""
        return frozenset(self._prompts)

    async def _list_prompts(self) -> Sequence[Prompt]:
        return list(self._prompts.values())

    async def _get_prompt(self, name: str, version: VersionSpec | None = None) -> Prompt | None:
        return self._prompts.get(name)


def _documents() -> Iterator[tuple[str, str]]:
    for file in sorted(files(__package__).iterdir(), key=lambda each: each.name):
        if file.name.endswith(".md"):
            yield file.name.removesuffix(".md"), file.read_text(encoding="utf-8")
