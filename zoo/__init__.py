"""Elastic model families: one file each for model and recipe, with the data and loop they share."""
