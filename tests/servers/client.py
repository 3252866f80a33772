"""Asking the server as a test does: with the real client, and with prompts as autolabel renders them."""

import asyncio
from collections.abc import Callable
from typing import Any

from openai import AsyncOpenAI

from autolabel import prompts
from autolabel.rendering import numbered

KEY = "sk-planted-42"


def judge_prompt(*texts: str, label: str = 'the word "dog"') -> list[dict[str, str]]:
    messages = prompts.load("detection").render(texts=numbered(texts), label=label, n=len(texts))
    return [{"role": message.role, "content": message.content} for message in messages]


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def ask(client: AsyncOpenAI, messages: Any, **parameters: Any) -> Any:
    return await client.chat.completions.create(**{"model": "any", "messages": messages, **parameters})


async def said(client: AsyncOpenAI, messages: list[dict[str, str]], **parameters: Any) -> str:
    return str((await ask(client, messages, **parameters)).choices[0].message.content)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the server notices a moment later."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
