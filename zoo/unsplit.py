"""The network of `zoo.tore` that recycles nothing: what TORE starts from."""

import numpy as np

from zoo import family, tore
from zoo.glimpses import SMALL


class Recipe(tore.Recipe):
    """Learns to see in glimpses, after it has read whole images for `zoo.patchmerger`.

    At first all glimpses are seen: with few of images that it cannot read yet, a network learns
    next to nothing.
    """

    steps = 2500
    learning_rate = 1.5e-3
    whole = 0.12  # of the run, when fewer glimpses begin to be drawn

    def __init__(self, control: str = "") -> None:
        super().__init__(control="control")

    def start(self) -> None:
        weights = family.weights("patchmerger")
        own = self.model.state_dict()
        for name, tensor in weights.items():
            name = name.replace("embed.", "embed.convolutions.")
            if name in own and not name.startswith("head"):
                own[name] = tensor
        self.model.load_state_dict(own)

    def glimpses(self, rng: np.random.Generator, progress: float) -> int:
        seen = super().glimpses(rng, progress)
        return seen if progress > self.whole else len(SMALL.places)
