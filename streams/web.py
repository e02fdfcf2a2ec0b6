"""What a worker answers over HTTP: accounts, shards, progress, health, metrics."""

from __future__ import annotations

from typing import Any

import faust
from aiokafka import TopicPartition
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.sharding import shard_of
from streams.agents.blocks import Partitions
from streams.agents.margin import Margin
from streams.engine.views import account_view, shard_view
from streams.kafka.owners import owner_of
from streams.settings import Settings


def add_pages(app: faust.App, settings: Settings, partitions: Partitions, group: str) -> None:
    """Serve the pages on the app's web server.

    An account is answered by the worker that holds its shard; any other worker sends there (307).
    """
    journal = settings.topic("journal")

    def held(shard: int) -> Margin | None:
        task = partitions.tasks.get(TopicPartition(journal, shard))
        return task.role if task is not None and task.ready and isinstance(task.role, Margin) else None

    async def elsewhere(web: Any, shard: int, path: str) -> Any:
        url = await owner_of(settings.client(), group, TopicPartition(journal, shard))
        if url is None or url == settings.url():
            return web.json({"error": f"shard {shard} must be held by a worker, no one holds it now"}, status=503)
        return web.text("", status=307, headers={"Location": url + path})

    @app.page("/accounts/{account}")
    async def account(web: Any, request: Any, account: str) -> Any:  # noqa: ARG001
        shard = shard_of(account, settings.partitions)
        margin = held(shard)
        if margin is None:
            return await elsewhere(web, shard, f"/accounts/{account}")
        found = account_view(margin.shard, account)
        if found is None:
            return web.json({"error": f"no account {account!r} on shard {shard}"}, status=404)
        return web.json(found)

    @app.page("/shards/{shard}")
    async def shard(web: Any, request: Any, shard: str) -> Any:  # noqa: ARG001
        if shard not in map(str, range(settings.partitions)):
            reason = f"shard must be a number below {settings.partitions}, found {shard!r}"
            return web.json({"error": reason}, status=404)
        margin = held(int(shard))
        return web.json(shard_view(margin.shard)) if margin else await elsewhere(web, int(shard), f"/shards/{shard}")

    @app.page("/progress")
    async def progress(web: Any, request: Any) -> Any:  # noqa: ARG001
        offsets: dict[str, dict[str, int | None]] = {}
        for tp, task in sorted(partitions.tasks.items()):
            offsets.setdefault(tp.topic, {})[str(tp.partition)] = task.committed
        return web.json(offsets)

    @app.page("/health")
    async def health(web: Any, request: Any) -> Any:  # noqa: ARG001
        ready = app.consumer.settled
        return web.json({"ready": ready, "partitions": len(partitions.tasks)}, status=200 if ready else 503)

    @app.page("/metrics")
    async def metrics(web: Any, request: Any) -> Any:  # noqa: ARG001
        return web.bytes(generate_latest(), content_type=CONTENT_TYPE_LATEST.split(";")[0])
