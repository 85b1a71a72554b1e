"""What a tool call came to, and how it is written: for FastMCP, and as it goes over the wire."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from fastmcp.tools import ToolResult
from fastmcp.tools.base import InputRequiredToolResult
from mcp_types import ContentBlock, ImageContent, InputRequiredResult, TextContent

from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.translate.results import Image

SESSION_META = "virtlease/session_id"
WARNINGS_META = "virtlease/warnings"


@dataclass(slots=True)
class Answer:
    """A result, an error, or a question to the user. `word` is what a history says of it."""

    word: str
    texts: list[str]
    structured: dict[str, Any] = field(default_factory=dict)
    image: Image | None = None
    is_error: bool = False
    question: InputRequiredResult | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, structured: dict[str, Any], image: Image | None) -> "Answer":
        """A result. Clients that know nothing of structured content get it as text, unless there is a picture."""
        texts = [] if image else [json.dumps(structured, ensure_ascii=False, separators=(",", ":"))]
        return cls("OK", texts, structured, image)

    @classmethod
    def refused(cls, failure: ToolFailure, hint: str, trace_id: str) -> "Answer":
        """An error."""
        structured = {"error": failure.structured(hint, trace_id)}
        return cls(failure.reason, [failure.to_text(hint, trace_id)], structured, is_error=True)

    @classmethod
    def asking(cls, question: InputRequiredResult) -> "Answer":
        """A question to the user."""
        return cls("CONFIRMATION_REQUIRED", [], question=question)

    def made_with(self, session_id: str) -> "Answer":
        """The same, with the session that the call was made with."""
        self.meta[SESSION_META] = session_id
        return self

    def warning(self, warning: str) -> "Answer":
        """The same, with a warning."""
        self.texts.append(f"warning: {warning}")
        self.meta.setdefault(WARNINGS_META, []).append(warning)
        return self

    def to_tool_result(self) -> ToolResult:
        """For FastMCP."""
        if self.question is not None:
            return InputRequiredToolResult(self.question)
        content: list[ContentBlock] = []
        if self.image:
            data = base64.b64encode(self.image.data).decode()
            content.append(ImageContent(type="image", data=data, mime_type=self.image.mime_type))
        content += (TextContent(type="text", text=text) for text in self.texts)
        return ToolResult(content, self.structured, self.meta or None, self.is_error)

    def to_wire(self) -> dict[str, Any]:
        """As a client of the modern protocol gets it. There is no picture and no question in it."""
        return {
            **({"_meta": self.meta} if self.meta else {}),
            "content": [{"type": "text", "text": text} for text in self.texts],
            "structuredContent": self.structured,
            "isError": self.is_error,
            "resultType": "complete",
        }
