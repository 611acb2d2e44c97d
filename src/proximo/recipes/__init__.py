"""Front doors for one subject each: they build an `Experiment` and call `train`."""
