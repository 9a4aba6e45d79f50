"""Calibration: the data that shows a quantizer what values flow, and the recipes that use it."""
