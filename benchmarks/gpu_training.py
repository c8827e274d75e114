"""Part `training` of `benchmarks/gpu.py`: a step of training in a plain loop, and in `fine_tune`.

A step goes forward, backward and through AdamW, in bfloat16 where products are made. `tflops` counts 2 operations a
token and parameter forward and 4 backward, and attention's two products; `of_product` is this rate over that of a bare
product of square matrices in bfloat16. All texts have as many tokens, so nothing is padded.
"""

import time
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu_encoder import multiplied, random_encoder_of
from gpu_part import Part, asked, profiled, profiler
from torch.nn.modules.module import register_module_forward_hook

TOKENS, TEMPERATURE, RATE = 64, 0.05, 2e-5
TOKENS_OF_E5 = 128
ITEMS = 300  # in two languages; most of their texts have been tokenised when the warm-up is over
# Steps of `fine_tune`: all, the first ones, which do not count, and the last ones, which are profiled and do not count.
STEPS, WARM_UP, PROFILED = 50, 15, 3


def training(part: Part, pairs: int) -> None:
    """Time a step in a plain loop, with sentence-transformers' loss and with ours, and in `fine_tune`."""
    part.limit *= 1.5  # a training takes a while to start
    rate = part.product("bfloat16")
    plain_loop(part, pairs, rate)
    part.contend("fine_tune, XLM-R base", pairs, partial(steps, part, "XLM-R base", pairs, TOKENS, rate))
    e5 = "multilingual-e5-small"
    part.contend(f"fine_tune, {e5}'s shape", pairs, partial(steps, part, e5, pairs, TOKENS_OF_E5, rate))
    if part.encoder:
        part.contend(f"fine_tune, {e5}", pairs, partial(steps, part, part.encoder, pairs, TOKENS_OF_E5, rate))


def work_of(encoder: Any, texts: int, tokens: int) -> float:
    """Return the floating-point operations of a step of training."""
    config = encoder[0].auto_model.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * tokens
    return 3 * texts * tokens * (2 * multiplied(encoder) + attention)


def plain_loop(part: Part, pairs: int, rate: float) -> None:
    """Time a step with each loss, whose values must agree."""
    from random_encoder import random_texts
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from hybridlib.loss import InfoNCE

    encoder, rng = random_encoder_of(part, "XLM-R base"), np.random.default_rng(0)
    tokens = part.pick(TOKENS, 8)
    stock = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    made = [encoder.preprocess(random_texts([tokens] * pairs, rng)) for _ in range(2)]
    columns = [{name: column[name].to(part.device) for name in ("input_ids", "attention_mask")} for column in made]

    def value(loss: Any) -> torch.Tensor:
        return loss([dict(column) for column in columns], None)  # copies, because the encoder adds to them

    def step(loss: Any, optimizer: torch.optim.Optimizer) -> None:
        with torch.autocast(part.device.type, torch.bfloat16):
            found = value(loss)
        found.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def one(loss: Any) -> dict[str, Any]:
        encoder.eval()  # without dropout
        with torch.no_grad():
            off = abs(float(value(loss) / value(stock)) - 1)
        encoder.train()
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=RATE, fused=not part.small)
        run = partial(step, loss, optimizer)
        figures = part.timed(run)[0] | {"agrees": off < 1e-4, "off": off}
        flops = work_of(encoder, 2 * pairs, tokens) / figures["seconds"]
        figures |= {"tflops": flops / 1e12, "of_product": flops / rate}
        return figures | {"profile": profiled(run, cuda=not part.small)}

    part.contend("plain loop, stock loss", pairs, partial(one, stock))
    part.contend("plain loop, InfoNCE", pairs, partial(one, InfoNCE(encoder, TEMPERATURE)))


class Clock:
    """A hook of all modules that notes when each step of `fine_tune` has its loss, and profiles the last steps.

    It makes nothing wait for the GPU before the last steps, as events of the GPU are its time.
    """

    def __init__(self, steps: int, last: int, *, cuda: bool) -> None:
        self.steps, self.last, self.cuda = steps, last, cuda
        self.marks: list[Any] = []
        self.profile: Any = None

    def __call__(self, module: torch.nn.Module, given: Any, made: Any) -> None:
        from hybridlib.loss import InfoNCE

        if not isinstance(module, InfoNCE):
            return
        self.marks.append(time.perf_counter())
        if self.cuda:
            self.marks[-1] = torch.cuda.Event(enable_timing=True)
            self.marks[-1].record()
            if len(self.marks) == self.steps - self.last:
                self.profile = profiler()
                self.profile.start()
            if len(self.marks) == self.steps:
                torch.cuda.synchronize()
                self.profile.stop()

    def seconds(self, warm_up: int) -> float:
        """Return the mean seconds from one loss to the next, without the first ones and those that are profiled."""
        first, end = self.marks[warm_up], self.marks[self.steps - self.last - 1]
        number = self.steps - self.last - 1 - warm_up
        return (first.elapsed_time(end) / 1000 if self.cuda else end - first) / number


def steps(part: Part, name: str, pairs: int, tokens: int, rate: float) -> dict[str, Any]:
    """Return the seconds of a step of `fine_tune`, of an encoder of a shape or in a folder."""
    from hybridlib.training.fine_tune import fine_tune
    from hybridlib.training.settings import Training

    number, warm_up, last = part.pick((STEPS, WARM_UP, PROFILED), (3, 1, 0))
    tokens, encoder = part.pick(tokens, 8), encoder_named(part, name)
    encoder.max_seq_length = tokens
    corpus = corpus_of_pairs(part.pick(ITEMS, 2 * pairs), tokens)
    settings = Training(
        batch_size=pairs, steps=number, temperature=TEMPERATURE, learning_rate=RATE, precision="bfloat16"
    )
    clock = Clock(number, last, cuda=not part.small)
    hook = register_module_forward_hook(clock)
    try:
        fine_tune(encoder, corpus, settings, progress=False)
    finally:
        hook.remove()
    seconds = clock.seconds(warm_up)
    flops = work_of(encoder, 2 * pairs, tokens) / seconds
    profile = asked(clock.profile) | {"steps": last} if clock.profile else {}
    return {"seconds": seconds, "tflops": flops / 1e12, "of_product": flops / rate, "profile": profile}


def encoder_named(part: Part, name: str) -> Any:
    """Return an encoder of random weights, by the name of its shape, or the one in a folder."""
    from gpu_encoder import SHAPES
    from sentence_transformers import SentenceTransformer

    if name in SHAPES:
        return random_encoder_of(part, name)
    return SentenceTransformer(name, device=str(part.device), local_files_only=True)


def corpus_of_pairs(items: int, tokens: int) -> Any:
    """Return a corpus of random words in two languages."""
    import pandas as pd
    from random_encoder import random_texts

    from hybridlib.data.corpus import ParallelCorpus

    rng, languages = np.random.default_rng(0), ["de", "en"]
    table = pd.DataFrame({"item": np.tile(np.arange(items), 2), "language": np.repeat(languages, items)})
    table = table.assign(domain="none", dataset="random", passage_group=table["item"])
    texts = {name: random_texts([tokens] * len(table), rng) for name in ("query", "passage")}
    return ParallelCorpus.from_frame(table.assign(**texts), languages)
