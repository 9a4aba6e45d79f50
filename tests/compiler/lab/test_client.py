"""A lab that goes while somebody waits for it, at whatever moment."""

from types import SimpleNamespace

import pytest
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from compiler.lab.client import Lab
from compiler.workshop import Unavailable


@pytest.mark.parametrize(
    "how",
    [
        FutureCancelledError("measure", "lost dependencies"),  # before there is an answer
        CommClosedError("in <TCP>: Connection reset by peer"),  # while it is brought
    ],
)
def test_that_a_lab_has_gone_is_told(how):
    def result(timeout):
        raise how

    future = SimpleNamespace(result=result)
    client = SimpleNamespace(submit=lambda *arguments, **options: future)
    device = SimpleNamespace(name="board")
    owner = SimpleNamespace(target="jetson", device=device, circumstances={})
    with pytest.raises(Unavailable, match="the lab was lost"):
        Lab(client, owner, patience=1.0).on_device("measure", print)
