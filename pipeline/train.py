"""The train stage: one run of the tracking store per variant and seed."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.devices import device_errors, select_device
from gan.errors import Interrupted, UserError
from gan.health import REMARKS, flags
from gan.training import Evaluation, Outcome
from gan.training import train as train_gan
from pipeline.config import dump_yaml
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.environments import with_environment
from pipeline.host import environment_of
from pipeline.identity import hash_of
from pipeline.observer import TrackingObserver
from pipeline.plan import Plan, own_code_hash, resolved
from pipeline.prepare import prepare
from pipeline.publish import BEST_STEP, Training, costs, publish
from pipeline.reporting.run_page import run_page
from pipeline.resuming import PLACE, find_earlier, place_of, resumable
from pipeline.run_lock import beginning, in_use
from pipeline.selection import Selection, evaluation_of, selection_steps
from pipeline.sharing.checkpoints import SharedCheckpoints, Sharing, fetch
from pipeline.signals import graceful_stop
from pipeline.tracking import ENVIRONMENTS, BackgroundOutbox, Run, RunWriter, Store
from pipeline.tracking.handover import OWNER, Lease, forget_checkpoint, owned
from pipeline.tracking.runs import end_active_run
from pipeline.workspace import Workspace

DEFAULT_DATASET = "avatars"
KEPT = (
    "The last checkpoint is kept: the same command goes on from it once the device is back, or on another one with "
    "--device cpu or cuda:N and --precision {precision}."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A run of the train stage that ended. status: finished or diverged. again: it had been done before."""

    run_id: str
    status: str
    again: bool


def train(
    variant: str,
    *,
    store: Store,
    workspace: Workspace,
    data: str = DEFAULT_DATASET,
    seed: int = 0,
    epochs: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    overrides: Sequence[str] = (),
    selection: Selection | None = None,
    sharing: Sharing | None = None,
    max_seconds: float | None = None,
    show_progress: bool = True,
) -> Trained:
    """Train a variant, go on with its interrupted training, or find that it is done.

    epochs, precision: instead of the variant's own. selection: how to measure during training, to keep the best
    generator too. sharing: keep checkpoints in the tracking store, and go on from one that another machine left there.
    max_seconds: stops then, as Ctrl-C does.

    Raises UserError for what the user can correct, DeviceError where the GPU fails and Interrupted after Ctrl-C or
    SIGTERM.
    """
    began = time.monotonic()
    options = {"epochs": epochs, "precision": precision}
    overrides = [*overrides, *(f"{name}={value}" for name, value in options.items() if value is not None)]
    torch_device = select_device(device)
    base, config = (resolved(variant, each, torch_device) for each in ((), overrides))
    dataset = find_dataset(data, workspace)
    plan = Plan(base, config, dataset, seed, torch_device, overrides, own_code_hash())

    with ExitStack() as held:
        with beginning(workspace.checkpoints, plan.fingerprint):
            earlier = find_earlier(store, plan.fingerprint)
            if (done := _done(earlier, selection)) is not None:
                return done
            resume = resumable(earlier, store, workspace, sharing)
            run, checkpoints = _open(held, plan, store, workspace, earlier if resume else None, sharing)
        asked = held.enter_context(graceful_stop())
        held.enter_context(device_errors(torch_device, KEPT.format(precision=config.precision)))
        _log_inputs(run, store, config, dataset)
        run.describe(run_page(store.get(run.run_id)))
        evaluation = _evaluation(run, selection, config, dataset, torch_device, workspace)
        observer = TrackingObserver(
            BackgroundOutbox(run, checkpoints.directory / "outbox", _leased(held, run, sharing)),
            config,
            dataset,
            taken=store.steps(run.run_id) if resume is not None else {},
            show_progress=show_progress,
        )
        if sharing is not None:
            checkpoints = SharedCheckpoints(
                checkpoints.directory, plan.fingerprint, observer.outbox, sharing.every_seconds
            )
        with observer.bar:
            outcome = train_gan(
                config,
                dataset.images,
                seed=seed,
                device=torch_device,
                checkpoints=checkpoints,
                observer=observer,
                stopping=lambda: asked() or _is_over(began, max_seconds),
                evaluation=evaluation,
            )
        if not outcome.finished and not outcome.diverged:
            if isinstance(checkpoints, SharedCheckpoints):
                checkpoints.share(outcome.state.step)
            raise _stopped(run, config, outcome, observer, max_seconds if not asked() else None)
        observer.drain()
        training = Training(config, seed, len(dataset.images), torch_device, checkpoints)
        status = _conclude(run, training, outcome)
        if sharing is not None:
            forget_checkpoint(run)
    return Trained(run.run_id, status, again=False)


def _done(earlier: Run | None, selection: Selection | None) -> Trained | None:
    """Return a training that ended before, or None where something is left to do."""
    if earlier is None:
        return None
    if earlier.status == "FINISHED":
        if selection is not None and BEST_STEP not in earlier.tags:
            log.warning("run %s was trained with --evaluate-every 0: no curve, no best generator.", earlier.run_id)
        return Trained(earlier.run_id, "finished", again=True)
    return Trained(earlier.run_id, "diverged", again=True) if earlier.tags.get("health") == "diverged" else None


def _open(
    held: ExitStack, plan: Plan, store: Store, workspace: Workspace, earlier: Run | None, sharing: Sharing | None
) -> tuple[RunWriter, Checkpoints]:
    """Open a new run, or the one to go on with, and lock its checkpoints; of the whole until `held` is closed."""
    if earlier is not None:  # before the run is opened: an export may hold it
        held.enter_context(in_use(workspace.checkpoints / earlier.run_id, earlier))
        if sharing is not None:
            fetch(store, earlier, workspace.checkpoints / earlier.run_id)
    owner = {OWNER: owned(sharing.token)} if sharing is not None else {}
    known = earlier.tags.get(ENVIRONMENTS, "") if earlier is not None else ""
    place = {
        PLACE: place_of(workspace.checkpoints),
        ENVIRONMENTS: with_environment(known, environment_of(plan.device, store.code_commit)),
    }
    run = held.enter_context(
        store.open_run(
            name=f"{plan.config.variant}-s{plan.seed}",
            tags=plan.tags | owner | place,
            resume=earlier.run_id if earlier else None,
        )
    )
    checkpoints = Checkpoints(workspace.checkpoints / run.run_id, plan.fingerprint)
    if earlier is None:
        held.enter_context(in_use(checkpoints.directory, None))
    checkpoints.remove_leftovers()
    return run, checkpoints


def _leased(held: ExitStack, run: RunWriter, sharing: Sharing | None) -> Callable[[], None]:
    """Keep a run for this process, if other machines may go on with it; return what raises once they have."""
    if sharing is None:
        return lambda: None
    lease = Lease(run.client, run.run_id, sharing.token)
    held.enter_context(lease.held())
    return lease.require


def _is_over(began: float, max_seconds: float | None) -> bool:
    return max_seconds is not None and time.monotonic() - began >= max_seconds


def _evaluation(
    run: RunWriter,
    selection: Selection | None,
    config: Config,
    dataset: Dataset,
    device: torch.device,
    workspace: Workspace,
) -> Evaluation | None:
    """Return what measures during training, its protocol stored; None where nothing was asked for.

    One measurement, after the last step, would neither be a curve nor leave a choice: the last generator is the best.
    """
    if selection is None:
        return None
    if len(selection_steps(config, len(dataset.images), selection.every)) == 1:
        run.set_tags({BEST_STEP: config.num_steps(len(dataset.images))})
        return None
    evaluation, protocol = evaluation_of(selection, config, dataset, device, workspace)
    run.set_tags({"selection": hash_of(protocol)[:8]})
    run.log_text(json.dumps(protocol, indent=2, sort_keys=True), "evaluation/selection.json")
    return evaluation


def _stopped(
    run: RunWriter, config: Config, outcome: Outcome, observer: TrackingObserver, max_seconds: float | None
) -> Interrupted:
    """Mark a run as killed; return what to say. A store that does not answer is not waited for."""
    waiting = ""
    try:
        observer.drain(patience_seconds=0)
    except UserError as error:
        waiting = f"{error} "
    end_active_run("KILLED")
    reason = "Stopped" if max_seconds is None else f"--max-seconds {max_seconds:g} are over: stopped"
    num_steps = config.num_steps(observer.num_images)
    return Interrupted(
        f"{reason} at step {outcome.state.step:,} of {num_steps:,}, everything stored (run {run.run_id}). "
        f"{waiting}The same command goes on from here."
    )


def _conclude(run: RunWriter, training: Training, outcome: Outcome) -> str:
    """Store how a training ended; return "finished" or "diverged"."""
    if outcome.diverged:
        run.set_tags({"health": "diverged"})
        run.log_values(costs(outcome, training.config))
        end_active_run("FAILED")
        return "diverged"
    if raised := flags(outcome.state.last):
        log.warning("run %s: %s", run.run_id, "; ".join(f"{flag}: {REMARKS[flag]}" for flag in raised))
    run.set_tags({"health": " and ".join(raised)})
    publish(run, training, outcome)
    return "finished"


def find_dataset(name: str, workspace: Workspace) -> Dataset:
    """Return a prepared dataset; the default one is prepared where it is missing."""
    if name == DEFAULT_DATASET and not (workspace.data / name).exists():
        log.info("No dataset '%s' yet: preparing it.", name)
        return prepare(name=name, root=workspace.data)
    return load_dataset(name, workspace.data)


def _log_inputs(run: RunWriter, store: Store, config: Config, dataset: Dataset) -> None:
    run.log_params(  # few: image cards of the UI print every parameter
        {
            "gan.dataset": dataset.name,
            "gan.loss": config.loss,
            "gan.optimizer": config.optimizer.name,
            "gan.lr": config.optimizer.lr,
            "gan.precision": config.precision,
            "gan.batch_size": config.batch_size,
            "gan.epochs": config.epochs,
        }
    )
    run.log_text(dump_yaml(config), "config/resolved.yaml")
    store.log_dataset(dataset.name, dataset.digest, {"manifest": str(dataset.directory / "manifest.json")})
