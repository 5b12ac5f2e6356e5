"""The training loop that a user would write today, in the manner of the field's tutorials, honestly tuned.

ImageFolder, DataLoader with workers that persist (and pinned memory on CUDA), ToTensor, `.item()` in every step. It
trains the same networks with the same hyperparameters as the benchmark.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from gan.config import Config
from gan.initializations import INITIALIZATIONS
from gan.losses import LOSSES

OPTIMIZERS = {
    "adam": lambda p, o: torch.optim.Adam(p, lr=o.lr, betas=o.betas, eps=o.eps),
    "rmsprop": lambda p, o: torch.optim.RMSprop(p, lr=o.lr, alpha=o.alpha, eps=o.eps),
    "sgd": lambda p, o: torch.optim.SGD(p, lr=o.lr, momentum=o.momentum),
}


@dataclass
class PlainLoop:
    """Networks, optimizers and data of one variant."""

    config: Config
    folder: Path
    device: torch.device
    num_workers: int

    def __post_init__(self) -> None:
        config, device = self.config, self.device
        self.generator = config.generator.build(config.latent_size).to(device)
        self.discriminator = config.discriminator.build(LOSSES[config.loss].output()).to(device)
        self.generator.apply(INITIALIZATIONS[config.initialization])
        self.discriminator.apply(INITIALIZATIONS[config.initialization])
        make = OPTIMIZERS[config.optimizer.name]
        self.optimizer_generator = make(self.generator.parameters(), config.optimizer)
        self.optimizer_discriminator = make(self.discriminator.parameters(), config.optimizer)
        self.criterion = nn.BCELoss()
        self.batches = self.load()
        self.step = 0

    def load(self) -> Iterator[Tensor]:
        """Yield batches for ever."""
        to_images = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
        loader = DataLoader(
            ImageFolder(str(self.folder), to_images),
            batch_size=self.config.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.device.type == "cuda",
        )
        while True:
            for images, _ in loader:
                yield images

    def take(self, num_steps: int) -> float:
        """Take steps and return the last loss."""
        loss = 0.0
        for _ in range(num_steps):
            self.step += 1
            real = next(self.batches).to(self.device, non_blocking=True)
            loss = self.binary_step(real) if self.config.loss == "bce" else self.wasserstein_step(real)
        return loss

    def latents(self, num: int) -> Tensor:
        """Return z ~ N(0, 1)."""
        return torch.randn(num, self.config.latent_size, device=self.device)

    def binary_step(self, real: Tensor) -> float:
        """Update both networks of a DCGAN."""
        ones = torch.ones(len(real), 1, device=self.device)
        zeros = torch.zeros(len(real), 1, device=self.device)
        self.optimizer_discriminator.zero_grad()
        loss_real = self.criterion(self.discriminator(real), ones)
        loss_real.backward()
        fake = self.generator(self.latents(len(real)))
        loss_fake = self.criterion(self.discriminator(fake.detach()), zeros)
        loss_fake.backward()
        self.optimizer_discriminator.step()

        self.optimizer_generator.zero_grad()
        loss_generator = self.criterion(self.discriminator(fake), ones)
        loss_generator.backward()
        self.optimizer_generator.step()
        return float((loss_real + loss_fake).item() + loss_generator.item())

    def wasserstein_step(self, real: Tensor) -> float:
        """Update the critic of a WGAN and, every few steps, its generator."""
        self.optimizer_discriminator.zero_grad()
        fake = self.generator(self.latents(len(real))).detach()
        loss = self.discriminator(fake).mean() - self.discriminator(real).mean()
        loss.backward()
        self.optimizer_discriminator.step()
        limit = self.config.weight_clip
        if limit is not None:
            for module in self.discriminator.modules():
                if self.config.clip_normalization or not isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                    for parameter in module.parameters(recurse=False):
                        parameter.data.clamp_(-limit, limit)
        if self.step % self.config.discriminator_steps == 0:
            self.optimizer_generator.zero_grad()
            loss_generator = -self.discriminator(self.generator(self.latents(len(real)))).mean()
            loss_generator.backward()
            self.optimizer_generator.step()
            loss_generator.item()
        return float(loss.item())
