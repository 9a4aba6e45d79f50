"""From a model to a bundle: `pipeline.py` is the whole product in one page."""
