"""What holds unless something else is asked for."""

DEFAULT_EXTRACTOR = "efficientnet_lite0"  # needs no download
CURVE_EPOCHS = 5  # from one measurement during training to the next
CURVE_SAMPLES = 2048
EXTRACTOR_PRECISION = "fp32"
