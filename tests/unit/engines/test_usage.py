"""What a container used, from files as Linux' control groups have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.engines.usage import Usage


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "memory", "cpu"),
    [
        (
            {
                "system.slice/docker-abc.scope/memory.peak": "300\n",
                "system.slice/docker-abc.scope/memory.current": "100\n",
                "system.slice/docker-abc.scope/cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
            },
            300,
            1.5,
        ),
        ({"docker/abc/memory.peak": "7\n", "docker/abc/cpu.stat": "usage_usec 20\n"}, 7, 2e-5),
        ({"docker/abc/memory.current": "9\n"}, 9, None),
        (
            {
                "memory/docker/abc/memory.max_usage_in_bytes": "8\n",
                "cpuacct/docker/abc/cpuacct.usage": "2500000000\n",
            },
            8,
            2.5,
        ),
        # Another container's.
        ({"docker/abd/memory.peak": "7\n", "docker/abd/cpu.stat": "usage_usec 20\n"}, None, None),
        ({}, None, None),
    ],
)
def test_of_each_kind_of_control_group(tmp_path, files, memory, cpu):
    write(tmp_path, files)
    usage = Usage("abc", tmp_path)
    usage.look()
    assert (usage.peak_memory_bytes, usage.cpu_seconds) == (memory, cpu)


def test_the_most_memory_and_the_last_of_the_processors_stay_when_the_group_goes(tmp_path):
    usage = Usage("abc", tmp_path)
    for memory, cpu in ((100, 1), (300, 2), (200, 3)):
        write(
            tmp_path,
            {"docker/abc/memory.current": f"{memory}\n", "docker/abc/cpu.stat": f"usage_usec {cpu * 1_000_000}\n"},
        )
        usage.look()
    for name in ("memory.current", "cpu.stat"):
        (tmp_path / "docker/abc" / name).unlink()
    usage.look()
    assert (usage.peak_memory_bytes, usage.cpu_seconds) == (300, 3.0)
