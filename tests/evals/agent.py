"""An agent without a model: it knows nothing of the tools but what their texts say.

It chooses a tool by the words of its title and description, fills arguments by the words of theirs, and does what an
error advises, in the words that a model would read. What it can do with these texts a model can do too; where it gets
lost, a text is missing something.
"""

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from fastmcp import Client

_STOP = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "do", "for", "from", "if", "in", "is", "it", "its", "of", "on",
     "one", "or", "that", "the", "this", "to", "when", "with")
)  # fmt: skip
_MOST_STEPS = 8


@dataclass
class Agent:
    """Works on a task through a client. `agrees` is what its person says when something has to be confirmed."""

    client: Client[Any]
    agrees: bool = False
    steps: list[str] = field(default_factory=list)
    session_id: str | None = None

    async def do(self, intent: str, **facts: Any) -> str:
        """Does one thing, and returns the text of the last answer. `facts` are values by what they are of."""
        tool = await self._choose(intent)
        arguments = self._fill(tool, facts)
        for _ in range(_MOST_STEPS):
            text, failed = await self._call(tool.name, arguments)
            if not failed:
                return text
            following = await self._follow(tool, arguments, text)
            if following is None:
                return text
            arguments = following
        raise AssertionError(f"lost after {_MOST_STEPS} attempts: {self.steps}")

    async def _choose(self, intent: str) -> Any:
        wanted = _words(intent)

        def score(tool: Any) -> float:
            first = (tool.description or "").split("\n\n")[0]
            title, described = _words(f"{tool.name} {tool.title}"), _words(first)
            return 2 * len(wanted & title) + len(wanted & described) - 0.1 * len(title - wanted)

        return max(await self.client.list_tools(), key=score)

    def _fill(self, tool: Any, facts: dict[str, Any]) -> dict[str, Any]:
        properties = tool.input_schema["properties"]
        arguments = {}
        for what, value in facts.items():
            fitting = [name for name in properties if _words(what) <= _words(name)]
            assert fitting, f"{tool.name} takes no {what}"
            arguments[min(fitting, key=len)] = value
        if self.session_id and "session_id" in properties:
            arguments.setdefault("session_id", self.session_id)
        return arguments

    async def _call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        result = await self.client.call_tool(name, arguments, raise_on_error=False)
        text = "\n".join(block.text for block in result.content if block.type == "text")
        self.steps.append(f"{name} {json.dumps(arguments)} -> {text.splitlines()[0][:100]}")
        return text, bool(result.is_error)

    async def _follow(self, tool: Any, arguments: dict[str, Any], text: str) -> dict[str, Any] | None:
        """What to call again with, after the advice of an error; None when there is nothing more to do."""
        if token := re.search(r"^confirmation: (\S+)", text, re.MULTILINE):
            return {**arguments, "confirmation": token[1]} if self.agrees else None
        if found := re.search(r"(\w+): expected true or false", text):
            return {**arguments, found[1]: str(arguments[found[1]]).lower() in ("yes", "true", "1")}
        if found := re.search(r"(\w+): no such argument; did you mean (\w+)\?", text):
            return {found[2] if name == found[1] else name: value for name, value in arguments.items()}
        if found := re.search(r"is (\w+); it has to be (\w+)", text):
            return arguments if await self._bring(arguments, found[1], found[2]) else None
        if "Call create_session" in text and "session_id" in arguments:
            return {**arguments, "session_id": await self.new_session()}
        if found := re.search(r"Call (list_\w+) to see which", text):
            return await self._correct(found[1], arguments)
        if "hypervisor/name" in text:
            return await self._correct("list_vms", arguments)
        return None

    async def new_session(self) -> str:
        """A session to work with."""
        text, failed = await self._call("create_session", {})
        assert not failed, text
        self.session_id = str(json.loads(text)["session"]["session_id"])
        return self.session_id

    async def _bring(self, arguments: dict[str, Any], now: str, wanted: str) -> bool:
        """Brings a VM into a state, by the tool whose words say so."""
        words = {("PAUSED", "RUNNING"): "resume a VM", ("SHUT_OFF", "RUNNING"): "start a VM"}
        if (now, wanted) not in words:
            return False
        await self.do(words[now, wanted], vm_id=arguments["vm_id"])
        return True

    async def _correct(self, lister: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Replaces the argument that is not in a list by what is in it and looks most like it."""
        text, failed = await self._call(lister, {})
        if failed:
            return None
        listed = json.loads(text)
        rows = next(value for value in listed.values() if isinstance(value, list))
        names = [str(row.get("vm_id") or row.get("name")) for row in rows]
        for name, value in arguments.items():
            if isinstance(value, str) and name != "session_id" and value not in names:
                near = [each for each in names if each.endswith(f"/{value}")] or difflib.get_close_matches(
                    value, names, 1, 0.6
                )
                return {**arguments, name: near[0]} if near else None
        return None


def _words(text: str) -> frozenset[str]:
    """The words of a text, without their endings."""
    found = re.findall(r"[a-z]+", text.lower().replace("_", " "))
    return frozenset(re.sub(r"(ing|ed|es|s|e)$", "", word) or word for word in found if word not in _STOP)
