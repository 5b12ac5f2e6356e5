"""Row labels, made from what the runs were trained with and from nothing else."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.reporting.results import Configuration

HASH_DIGITS = 8
Key = tuple[str, str]  # variant, config_hash


@dataclass(frozen=True)
class Labels:
    """A label of its own for every configuration.

    common: the changes that all have, which the labels leave out. hashed: whether some differ by their hash alone.
    """

    by_key: Mapping[Key, str]
    common: Sequence[str]
    hashed: bool

    def of(self, configuration: Configuration) -> str:
        """Return the label of a configuration."""
        return self.by_key[key_of(configuration)]


def key_of(configuration: Configuration) -> Key:
    """Return what a row stands for."""
    return configuration.variant, configuration.config_hash


def label(configurations: Sequence[Configuration]) -> Labels:
    """Name each configuration by its variant and those changes of the variant's file that not all have.

    Where that leaves two alike: by the fields in which those differ; where these are alike too, by the configuration's
    hash.
    """
    changes = {key_of(each): _changes(each) for each in configurations}
    common = [text for text in next(iter(changes.values()), []) if all(text in texts for texts in changes.values())]
    details = {key: [text for text in texts if text not in common] for key, texts in changes.items()}

    for group in _alike(configurations, details):
        differing = _differing_fields(group)
        for each in group:
            fields = each.fields
            texts = [f"{name}={fields[name]}" for name in differing if name in fields]
            details[key_of(each)] += [text for text in texts if text not in details[key_of(each)]]
    alike = _alike(configurations, details)
    for group in alike:
        digits = _distinct_digits([each.config_hash for each in group])
        for each in group:
            details[key_of(each)].append(f"config {each.config_hash[:digits]}")
    return Labels({key: _text(key[0], texts) for key, texts in details.items()}, common, bool(alike))


def _changes(configuration: Configuration) -> list[str]:
    fields = configuration.fields
    return [f"{name}={fields[name]}" for name in sorted(configuration.overridden)]


def _alike(configurations: Sequence[Configuration], details: Mapping[Key, Sequence[str]]) -> list[list[Configuration]]:
    """Return the groups of configurations that have one label."""
    groups: dict[str, list[Configuration]] = {}
    for each in configurations:
        groups.setdefault(_text(each.variant, details[key_of(each)]), []).append(each)
    return [group for group in groups.values() if len(group) > 1]


def _differing_fields(group: Sequence[Configuration]) -> list[str]:
    counts = Counter(item for each in group for item in each.fields.items())
    return sorted({name for (name, _), count in counts.items() if count < len(group)})


def _distinct_digits(hashes: Sequence[str]) -> int:
    """Return how many leading digits tell the hashes apart, at least HASH_DIGITS."""
    longest = max(map(len, hashes))
    lengths = range(HASH_DIGITS, longest)
    return next((digits for digits in lengths if len({text[:digits] for text in hashes}) == len(hashes)), longest)


def _text(variant: str, details: Sequence[str]) -> str:
    return f"{variant} ({', '.join(details)})" if details else variant
