"""The stages around the GANs: prepare, train, sample, evaluate, report, and run, which chains them."""

__version__ = "0.1.0"  # the only place: the package's metadata follows, and sources run without installation know it
