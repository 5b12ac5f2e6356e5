"""The evaluate stage: from trained generators, or from real images, to numbers with their protocol and uncertainty.

No files lie between the generator and the features. The reference is one half of the training images, the same for
all; the other half is what real images are measured with (the floor), and what best checkpoints were chosen by.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from gan.devices import on_device
from gan.errors import UserError, one_line
from gan.sampling import TrainedGenerator
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.data.halves import split
from pipeline.identity import hash_of
from pipeline.images import grid
from pipeline.kept import Kept, Measured
from pipeline.measuring import BEST, LAST, REAL, Measuring, Options, Result, summarise
from pipeline.metrics.corruptions import CORRUPTIONS
from pipeline.metrics.measures import FLAGS, Sets, flags, measure
from pipeline.metrics.memorisation import closest_pairs
from pipeline.metrics.reference import image_batches
from pipeline.publish import BEST_GENERATOR, BEST_STEP
from pipeline.reporting.run_page import run_page
from pipeline.sample import load_trained, require_trained
from pipeline.tracking import EVALUATION, Run, Stage, Store
from pipeline.workspace import Workspace

NUM_PAIRS = 16
KEPT = "What was measured before is kept: the same command does the rest, on another --device too."

_RESULT = TypeAdapter(Result)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a run. again: it had been measured before."""

    run_id: str
    name: str
    protocol_hash: str
    result: Result
    again: bool

    @property
    def text(self) -> str:
        """Every number with the spread over sampling seeds and the estimator's error, where there are any."""
        result = self.result
        checkpoint = f" {result.checkpoint} (step {result.step:,})" if result.step is not None else ""
        again = " (measured before)" if self.again else ""
        lines = [f"{self.name}{checkpoint}  {result.num_measured:,} images, protocol {self.protocol_hash}{again}"]
        for name, value in result.metrics.items():
            spreads = {"sampling": result.sampling_spread.get(name), "estimator": result.estimator_error.get(name)}
            more = "".join(f"  {kind} ± {each:.2g}" for kind, each in spreads.items() if each is not None)
            lines.append(f"  {name:32} {value:10.5g}{more}")
        if result.flags:
            lines.append(f"  flags: {', '.join(result.flags)}")
        return "\n".join(map(one_line, lines))  # what was measured before comes from the store


def evaluate(run_id: str, options: Options, *, store: Store, workspace: Workspace) -> tuple[Evaluation, ...]:
    """Measure a training run's last and best generator against its dataset's reference half, into that run.

    A run that was not measured during its training has no best generator. Raises UserError for a run without
    generator, a dataset that is missing or another one, a generator that is damaged or gives no finite images, and
    missing weights.
    """
    with on_device(options.device, KEPT) as device:
        run = store.get(run_id)
        require_trained(run)
        measuring = Measuring(_dataset_of(run, workspace), options, workspace.cache, device)
        last, best = (_earlier(run, measuring, checkpoint) for checkpoint in (LAST, BEST))
        for checkpoint in [each.result.checkpoint for each in (last, best) if each is not None]:
            _kept(run, measuring, checkpoint).forget()  # what a kill between storing and forgetting left
        if last is not None and best is not None:  # nothing is to be measured: no generator is fetched
            return last, best
        trained = load_trained(run, store, device)
        if last is None:
            last = _evaluate_generator(run, trained, LAST, measuring, store)
        if BEST_STEP not in run.tags:
            log.warning("run %s (%s) has no best generator: it was trained with --evaluate-every 0.", run_id, run.name)
            return (last,)
        if best is not None:
            return last, best
        if run.tags[BEST_STEP] == str(trained.step):
            return last, _store(store, run, measuring, replace(last.result, checkpoint=BEST))
        chosen = load_trained(run, store, device, artifact=BEST_GENERATOR)
        return last, _evaluate_generator(run, chosen, BEST, measuring, store)


def evaluate_real(
    data: str, options: Options, *, store: Store, workspace: Workspace, corruption: str | None = None
) -> Evaluation:
    """Measure real images of the other half against the reference half: the floor of the table, in a run of its own.

    corruption: a key of CORRUPTIONS: the same images made worse, another row.
    """
    dataset = load_dataset(data, workspace.data)
    with on_device(options.device, KEPT) as device:
        measuring = Measuring(dataset, options, workspace.cache, device)
        other = split(len(dataset.images)).other[: options.num_samples]
        if len(other) < options.num_samples and corruption is None:
            log.warning(
                "Half of dataset '%s' has %d images: the floor is measured with so many instead of %d.",
                data, len(other), options.num_samples,
            )  # fmt: skip

        shown = corruption or REAL
        name = f"real-{dataset.name}" + (f"-{corruption}" if corruption else "")
        tags = {
            "stage": Stage.REAL, "variant": "real", "images": shown, "dataset": dataset.name,
            "dataset_digest": dataset.digest,
            "images_title": CORRUPTIONS[corruption].title if corruption else "",
        }  # fmt: skip
        earlier = store.find({"stage": Stage.REAL, "dataset_digest": dataset.digest, "images": shown})
        for run in earlier:
            if done := _earlier(run, measuring, REAL):
                return done
        result = _measure_real(dataset, np.sort(other), measuring, corruption, name)
        resume = earlier[0].run_id if earlier and store.project_run is None else None
        what = f"Real images {CORRUPTIONS[corruption].title}." if corruption else "Other real images: the floor."
        with store.open_run(name=name, tags=tags, resume=resume, description=what) as writer:
            return _store(store, store.get(writer.run_id), measuring, result)


def finished_runs(variant: str, store: Store) -> list[str]:
    """Return the ids of the finished trainings of a variant, one for each fingerprint.

    Raises UserError where there is none.
    """
    runs = store.find({"stage": Stage.TRAIN, "variant": variant})
    done = [run for run in reversed(runs) if run.status == "FINISHED"]
    finished = {run.tags.get("fingerprint", run.run_id): run.run_id for run in done}
    if not finished:
        raise UserError(f"--variant: '{variant}' has no finished run. Train it: pipeline train --variant {variant}")
    return list(reversed(finished.values()))


def _evaluate_generator(
    run: Run, trained: TrainedGenerator, checkpoint: str, measuring: Measuring, store: Store
) -> Evaluation:
    """Measure a generator and store the numbers; each set of samples is kept until then."""
    kept = _kept(run, measuring, checkpoint)
    evaluation = _store(store, run, measuring, _measure_generator(run, trained, checkpoint, measuring, store, kept))
    kept.forget()
    return evaluation


def _measure_generator(
    run: Run, trained: TrainedGenerator, checkpoint: str, measuring: Measuring, store: Store, kept: Kept
) -> Result:
    """Measure samples of every seed that are not kept.

    With the last generator's first samples goes a picture of those that are nearest to training images.
    """
    options, device = measuring.options, measuring.network.device
    found: list[Measured] = []
    for seed in options.seeds:
        if (measured := kept.read(seed)) is None:
            sets = measuring.sets(
                lambda start, stop, seed=seed: trained.sample(seed=seed, num=stop - start, device=device, start=start),  # type: ignore[misc]
                options.num_samples,
                {"run": run.run_id, "step": trained.step, "seed": seed},
                f"{run.name} {checkpoint}, seed {seed}",
            )
            if checkpoint == LAST and seed == options.seed:
                picture = f"evaluation/closest-pairs-{measuring.network.name}-{measuring.protocol_hash}.png"
                store.writer(run.run_id).log_image(_closest_pairs(trained, sets, measuring), picture)
            measured = Measured(measure(sets), flags(sets))
            kept.write(seed, measured)
        found.append(measured)
    raised = {flag for each in found for flag in each.flags}
    result = summarise([each.estimates for each in found], measuring.network.name, options.num_samples, sorted(raised))
    return replace(result, checkpoint=checkpoint, step=trained.step)


def _kept(run: Run, measuring: Measuring, checkpoint: str) -> Kept:
    """Return where the sets of a checkpoint are kept until all are measured."""
    key = [measuring.protocol, measuring.network.device.type, run.run_id, checkpoint]
    return Kept(measuring.cache / f"measured-{hash_of(key)}")


def _measure_real(
    dataset: Dataset, indices: NDArray[np.integer[Any]], measuring: Measuring, corruption: str | None, name: str
) -> Result:
    def images(start: int, stop: int) -> Iterator[Tensor]:
        done = start
        for batch in image_batches(dataset.images, indices[start:stop]):
            yield batch if corruption is None else CORRUPTIONS[corruption].apply(batch, done)
            done += len(batch)

    identity = {"dataset": dataset.digest, "images": corruption or REAL}
    sets = measuring.sets(images, len(indices), identity, name)
    return summarise([measure(sets)], measuring.network.name, len(indices), flags(sets))


def _closest_pairs(trained: TrainedGenerator, sets: Sets, measuring: Measuring) -> np.ndarray:
    """Return a picture: pairs of a generated image and the training image nearest to it, nearest pairs first."""
    pairs = closest_pairs(sets.fake, sets.real, num=NUM_PAIRS, device=sets.device)
    fake = trained.sample_indices(
        [int(index) for index in pairs.fake_indices], seed=measuring.options.seed, device=sets.device
    )
    training = measuring.dataset.images[measuring.indices[pairs.training_indices]]
    real = torch.from_numpy(training).permute(0, 3, 1, 2)
    return grid(torch.stack([fake, real], dim=1).flatten(0, 1))


def _dataset_of(run: Run, workspace: Workspace) -> Dataset:
    """Return the dataset that a run was trained on; another one of the same name is refused."""
    name, digest = run.tags.get("dataset", ""), run.tags.get("dataset_digest", "")
    dataset = load_dataset(name, workspace.data)
    if dataset.digest != digest:
        raise UserError(
            f"Dataset '{name}' has digest {dataset.digest[:12]}, run {run.run_id} was trained on {digest[:12]}. "
            "Prepare the images that it was trained on."
        )
    return dataset


def _tag(measuring: Measuring, checkpoint: str) -> str:
    return f"{EVALUATION}{measuring.network.name}.{measuring.protocol_hash}.{checkpoint}"


def _earlier(run: Run, measuring: Measuring, checkpoint: str) -> Evaluation | None:
    """Return what was measured before under this protocol; a tag that cannot be read is as if it were not there."""
    tag = _tag(measuring, checkpoint)
    if tag not in run.tags:
        return None
    try:
        result = _RESULT.validate_python(json.loads(run.tags[tag])["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        log.warning("run %s (%s): its tag %s is damaged: measuring again.", run.run_id, run.name, tag)
        return None
    return Evaluation(run.run_id, run.name, measuring.protocol_hash, result, again=True)


def _store(store: Store, run: Run, measuring: Measuring, result: Result) -> Evaluation:
    """Log the numbers, rounded for the UI, and all of it with the protocol as an artifact and a tag."""
    section = "final" if result.checkpoint in (LAST, REAL) else result.checkpoint
    content = {
        "protocol_hash": measuring.protocol_hash,
        "protocol": measuring.protocol,
        "result": asdict(result),
    }
    writer = store.writer(run.run_id)
    writer.log_values({f"{section}/{name}": value for name, value in result.metrics.items()})
    file = f"evaluation/{measuring.network.name}-{measuring.protocol_hash}-{result.checkpoint}.json"
    writer.log_text(json.dumps(content | {"flags": {name: FLAGS[name][1] for name in result.flags}}, indent=2), file)
    tag = {_tag(measuring, result.checkpoint): json.dumps(content, sort_keys=True)}
    writer.set_tags(tag)  # last: it says that all is there
    if result.checkpoint != REAL:
        writer.describe(run_page(store.get(run.run_id)))
    return Evaluation(run.run_id, run.name, measuring.protocol_hash, result, again=False)
