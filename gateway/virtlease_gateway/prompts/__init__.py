"""Prompts: ways of working on real tasks, as texts that an agent follows with the tools."""

from virtlease_gateway.prompts.provider import PromptProvider

__all__ = ["PromptProvider"]
