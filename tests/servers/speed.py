"""How many requests a second the server answers: `taskset -c 0 python -m tests.servers.speed --seconds 5 --server-cpu 1`.

Prompts are those of the judge, ten texts each and no two alike; 64 connections that send the next request as soon as they are answered.
"""

import argparse
import asyncio
import json
import sys
from itertools import count
from time import perf_counter
from urllib.parse import urlsplit

import psutil

from autolabel import prompts
from autolabel.rendering import numbered
from tests.servers.options import Options
from tests.servers.processes import running

CONNECTIONS = 64
_TEXT = "The keeper of the lighthouse had a dog that ran down to the boat whenever the wind turned and rain was near, number {}."


def requests() -> list[bytes]:
    """Two thousand different requests as they go over the wire."""
    prompt = prompts.load("detection")
    found = []
    for first in range(2000):
        texts = numbered(_TEXT.format(first + i) for i in range(10))
        messages = [{"role": m.role, "content": m.content} for m in prompt.render(texts=texts, label=f'the word "{first}"', n=10)]
        body = json.dumps({"model": "any", "messages": messages, "temperature": 0.0, "max_tokens": 38}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: loopback\r\nauthorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


async def answered(base_url: str, sent: list[bytes], until: float) -> int:
    """Requests answered on all connections until a moment of `perf_counter`."""
    address, numbers = urlsplit(base_url), count()

    async def one() -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        n = 0
        while perf_counter() < until:
            writer.write(sent[next(numbers) % len(sent)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            n += 1
        writer.close()
        return n

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--server-cpu", type=int)
    arguments = parser.parse_args()
    sent = requests()
    with running(Options()) as server:
        process = psutil.Process(server.pid)
        if arguments.server_cpu is not None:
            process.cpu_affinity([arguments.server_cpu])
        used, start = sum(process.cpu_times()[:2]), perf_counter()
        n = asyncio.run(answered(server.base_url, sent, start + arguments.seconds))
        seconds, used = perf_counter() - start, sum(process.cpu_times()[:2]) - used
    sys.stdout.write(
        f"{n / seconds:,.0f} requests/s of {len(sent[0]):,} bytes on {CONNECTIONS} connections; "
        f"{1e6 * used / n:.0f} us of the server's CPU each\n"
    )


if __name__ == "__main__":
    main()
