"""`boxes.Container`: the verbs, on containers of the API's own and of the command line's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

import boxes
from boxes.api import client
from tests.support.bundle import Bundle
from tests.support.runtime import Runtime, wait_until


@pytest.fixture(autouse=True)
def zygote() -> Iterator[None]:
    yield
    client.shut_down()


def config(bundle: Bundle, *args: str) -> boxes.Config:
    return boxes.Config(args=args, rootfs=bundle.path / "rootfs")


def test_life_of_a_container(box: Runtime, bundle: Bundle) -> None:
    read, write = os.pipe()
    with boxes.Container("c1", root=box.root) as container:
        container.create(config=config(bundle, "sh", "-c", "echo hello; exit 7"), stdout=write)
        os.close(write)
        assert container.status == "created"
        with pytest.raises(boxes.ExistsError):
            boxes.Container("c1", root=box.root).create(config=config(bundle, "true"))
        container.start()
        ended = container.wait()
        assert (ended["exit_code"], ended["signal"]) == (7, None)
        assert os.read(read, 100) == b"hello\n"
        wait_until(lambda: container.status == "stopped", "its end")
    os.close(read)
    with pytest.raises(boxes.NotFoundError):
        container.state()


def test_command_line_acts_on_ours(box: Runtime, bundle: Bundle) -> None:
    with boxes.Container("c2", root=box.root) as container:
        container.create(config=config(bundle, "sleep", "1000"))
        box("start", "c2").ok()
        assert container.status == "running"
        assert len(container.processes()) == 1
        assert box("exec", "c2", "echo", "hello").ok().out == "hello\n"
        box("kill", "c2", "KILL").ok()
        wait_until(lambda: container.status == "stopped", "its end")
        box("delete", "c2").ok()
        with pytest.raises(boxes.NotFoundError):
            container.state()


def test_we_act_on_the_command_lines(box: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    made = box.create(bundle)
    container = boxes.Container(bundle.id, root=box.root)
    assert container.status == "created"
    assert boxes.containers(box.root) == [bundle.id]
    container.start()
    assert container.exec(["echo", "hello"]).stdout == b"hello\n"
    container.pause()
    assert container.status == "paused"
    container.resume()
    container.kill(9)
    made.wait()
    assert container.wait()["id"] == bundle.id
    container.delete()


def test_bundle_is_read(box: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.save()
    with boxes.Container(bundle.id, root=box.root) as container:
        container.create(bundle=bundle.path)
        container.start()
        assert container.state()["bundle"] == str(bundle.path)


def test_detached_container_outlives_its_maker(box: Runtime, bundle: Bundle) -> None:
    container = boxes.Container("c3", root=box.root)
    container.create(config=config(bundle, "sh", "-c", "sleep 0.5; exit 5"), detach=True)
    container.start()
    client.shut_down()
    assert container.wait()["exit_code"] == 5
    container.delete(force=True)


def test_wait_gives_up_in_time(box: Runtime, bundle: Bundle) -> None:
    with boxes.Container("c4", root=box.root) as container:
        container.create(config=config(bundle, "sleep", "1000"))
        with pytest.raises(boxes.StateError, match="has not ended within"):
            container.wait(0.1)


def test_events_tell_what_it_uses(box: Runtime, bundle: Bundle) -> None:
    with boxes.Container("c7", root=box.root) as container:
        container.create(config=config(bundle, "sleep", "1"))
        container.start()
        with container.events(interval=0.2) as events:
            found = list(events)
        assert {event["type"] for event in found} == {"stats"}
        assert found[0]["data"]["pids"]["current"] == 1


def test_errors_have_their_classes(box: Runtime, bundle: Bundle) -> None:
    with pytest.raises(boxes.UsageError):
        boxes.Container("../up", root=box.root)
    missing = boxes.Container("missing", root=box.root)
    for call in (missing.start, missing.kill, missing.delete, missing.state, missing.wait):
        with pytest.raises(boxes.NotFoundError):
            call()
    with pytest.raises(boxes.ConfigError) as caught:
        boxes.Container("c5", root=box.root).create(config={"ociVersion": "1.0.2", "process": {}})
    assert caught.value.pointer


def test_loop_has_the_same(box: Runtime, bundle: Bundle) -> None:
    async def main() -> None:
        async with boxes.aio.Container("c6", root=box.root) as container:
            await container.create(config=config(bundle, "sleep", "1000"))
            await container.start()
            waits = asyncio.create_task(container.wait())
            assert (await container.exec(["echo", "hello"])).stdout == b"hello\n"
            await container.kill(9)
            assert (await waits)["signal"] == 9

    asyncio.run(main())
