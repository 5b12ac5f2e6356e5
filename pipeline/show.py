"""The show stage: what a variant is, without training it."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchinfo import ModelStatistics, summary

from gan.config import Config
from gan.losses import LOSSES
from pipeline.config import dump_yaml


@dataclass(frozen=True)
class Layer:
    """One layer as the reports print it. shape: of the output for a batch of one, without the batch."""

    name: str
    shape: tuple[int, ...]
    parameters: int


def networks(config: Config) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Return both networks of a configuration with the shape of one input."""
    return {
        "generator": (config.generator.build(config.latent_size), (config.latent_size,)),
        "discriminator": (config.discriminator.build(LOSSES[config.loss].output()), (3, 64, 64)),
    }


def layers(network: nn.Module, input_shape: tuple[int, ...]) -> list[Layer]:
    """Return the layers of a network in the order of its forward pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchinfo reads storage sizes by a deprecated call
        statistics: ModelStatistics = summary(
            network.eval(), input_data=torch.zeros(1, *input_shape), verbose=0, depth=10
        )
    return [
        Layer(info.class_name, tuple(info.output_size[1:]), info.num_params)
        for info in statistics.summary_list
        if info.is_leaf_layer
    ]


def show(config: Config, num_images: int) -> dict[str, Any]:
    """Return a variant's configuration, layers, parameter counts and step counts on a dataset of `num_images`."""
    described = {name: layers(network, shape) for name, (network, shape) in networks(config).items()}
    return {
        "variant": config.variant,
        "config": config.to_dict(),
        "networks": {
            name: {
                "layers": [{"name": x.name, "shape": list(x.shape), "parameters": x.parameters} for x in rows],
                "parameters": sum(x.parameters for x in rows),
            }
            for name, rows in described.items()
        },
        "num_images": num_images,
        "steps_per_epoch": config.steps_per_epoch(num_images),
        "steps": config.num_steps(num_images),
        "generator_updates": config.num_generator_updates(num_images),
    }


def render(config: Config, num_images: int) -> str:
    """Return what `show` found as text."""
    found = show(config, num_images)
    parts = [f"# {config.title}\n{dump_yaml(config)}"]
    for name, network in found["networks"].items():
        rows = [
            f"  {layer['name']:<20} {[-1, *layer['shape']]!s:<20} {layer['parameters']:>12,}"
            for layer in network["layers"]
        ]
        header = f"{name}\n  {'layer':<20} {'output shape':<20} {'parameters':>12}"
        parts.append("\n".join([header, *rows, f"  {'total':<41} {network['parameters']:>12,}\n"]))
    parts.append(
        f"{num_images:,} images, batch {config.batch_size}: {found['steps_per_epoch']:,} steps an epoch, "
        f"{found['steps']:,} steps (discriminator updates) in all, {found['generator_updates']:,} generator updates"
    )
    return "\n".join(parts)
