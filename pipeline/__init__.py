"""The stages around the GANs: prepare, train, sample, evaluate, report, and run, which chains them."""
