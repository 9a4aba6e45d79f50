"""The lab: a workshop of many machines. Scheduling, retrying and talking are Dask's."""
