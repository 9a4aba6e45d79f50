"""Models that answer several at once, or remember, behind the protocol; and clients that leave."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import aiohttp
import numpy as np
import pytest

from elastiq.errors import ElastiqError
from elastiq.server.models import Models, Wishes
from elastiq.server.running import Listening, serving
from elastiq.server.service import Service
from elastiq.server.tensors import datatype


@pytest.mark.parametrize("name", ["packed", "glimpses", "buckets"])
def test_what_is_described_is_what_is_answered(family_bundle, name):
    models = Models({name: family_bundle(name)})
    try:
        models.load(name)
        served = models.get(name)
        inputs = served.bundle.samples().input(0)
        answer = served.ask(inputs, Wishes()).result(60)
        assert {spec.name: spec.shape for spec in served.outputs} == {
            key: array.shape for key, array in answer.outputs.items()
        }
        assert all(datatype(spec.dtype) for spec in served.outputs)
    finally:
        models.close()


def test_a_session_cannot_ask_for_a_point(family_bundle):
    models = Models({"glimpses": family_bundle("glimpses")})
    try:
        models.load("glimpses")
        served = models.get("glimpses")
        point = served.bundle.manifest.points[0].name
        with pytest.raises(ElastiqError, match="stays at the point where it began"):
            served.ask({}, Wishes(session="a", begins=True, point=point))
    finally:
        models.close()


def test_a_client_that_hangs_up_withdraws_its_request(tiny_bundle, monkeypatch):
    models = Models({"tiny": tiny_bundle})
    asked, never = threading.Event(), Future()
    try:
        models.load("tiny")

        def ask(*given):
            asked.set()
            return models.get("tiny"), never

        monkeypatch.setattr(models, "ask", ask)  # a request that nobody answers
        image = np.zeros((1, 1), np.float32).tolist()
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": image}]}

        async def leave():
            async with serving(Service(models), Listening(port=0, grpc_port=0)) as ports:
                url = f"http://127.0.0.1:{ports.http}/v2/models/tiny/infer"
                async with aiohttp.ClientSession() as client:
                    request = asyncio.create_task(client.post(url, json=body))
                    await asyncio.to_thread(asked.wait, 30)
                    request.cancel()
                for _ in range(300):
                    if never.cancelled():
                        return
                    await asyncio.sleep(0.1)

        asyncio.run(leave())
        assert never.cancelled()
    finally:
        models.close()
