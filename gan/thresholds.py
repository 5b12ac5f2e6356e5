"""From where on a training is called unhealthy. Numbers alone, without torch, so that reports can read them too."""

LOW_DIVERSITY = 0.1
"""Samples that differ less than this, in units of real images' difference, all look alike (gan.health.diversity)."""
