"""Recorded steps: on CUDA a step is recorded once and replayed.

An eager step of small networks waits for the host, which has some two hundred kernels to launch.
A recording reads and writes fixed places: inputs are copied there, and everything that a step changes stays where it
is. Steps of another batch size, or with a generator update, are recordings of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from gan.feed import Inputs
from gan.state import State

WARM_UP = 3  # runs before a recording: libraries choose their algorithms and take their memory

Work = Callable[[], None]


def record_on_cuda(work: Work) -> Work:
    """Run some work a few times, record it, and return what replays the recording."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the thread of the feed goes on allocating
        work()
    replay: Work = graph.replay
    return replay


@dataclass
class RecordedSteps:
    """Runs steps by replaying recordings, with the same results as `step` itself.

    step: what to record; it reads nothing back from the device. updates_generator: whether a step number does.
    """

    step: Callable[[Inputs], None]
    state: State
    updates_generator: Callable[[int], bool]
    record: Callable[[Work], Work] = record_on_cuda
    recordings: dict[tuple[int, bool], tuple[Inputs, Work]] = field(default_factory=dict)

    def __call__(self, inputs: Inputs) -> None:
        """Run one step."""
        kind = (len(inputs.pixels), self.updates_generator(inputs.step))
        if kind not in self.recordings:
            fixed = Inputs(inputs.step, inputs.noise_seed, *(tensor.clone() for tensor in inputs.tensors))
            with preserved(self.state):
                self.recordings[kind] = fixed, self.record(lambda: self.step(fixed))
        fixed, replay = self.recordings[kind]
        for place, new in zip(fixed.tensors, inputs.tensors, strict=True):
            place.copy_(new, non_blocking=True)
        torch.manual_seed(inputs.noise_seed)  # a replay draws from the seed that is set now
        replay()


@contextmanager
def preserved(state: State) -> Iterator[None]:
    """Put all tensors of a state back in place at the end; those that were made meanwhile become zero.

    Zero is what every optimizer's state begins with.
    """
    saved = {id(tensor): tensor.detach().clone() for tensor in state.tensors()}
    yield
    with torch.no_grad():
        for tensor in state.tensors():
            if (before := saved.get(id(tensor))) is not None:
                tensor.copy_(before)
            else:
                tensor.zero_()
