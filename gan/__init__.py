"""What a GAN is: networks, losses, optimizers, the training loop, checkpoints and sampling.

Pure torch: nothing in here knows of tracking, of the command line or of the pipeline around it.
"""
