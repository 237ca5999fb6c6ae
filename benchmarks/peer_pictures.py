"""Pictures by another program, in the minutes that likewise had, measured by the same report.

diffusers: a UNet2DModel of the widths of `benchmarks unet` (3.8M weights), trained as a DDPM by the recipe of its
examples/unconditional_image_generation (noise predicted, AdamW of betas 0.95 and 0.999, warm-up and a cosine, the
weights averaged), in bfloat16, drawn by DPM-Solver++ in 20 steps, what it predicts kept within the pixels' range. The
cosine goes by the clock, so that it ends with the minutes; warm-up takes 500 steps, but at most a tenth of the minutes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.unet import theirs
from likewise.families.precision import autocast
from likewise.planning.split import records_again
from likewise.runs.run import Run
from likewise.sampling.samples import Samples
from likewise.training import hardware

#: batches of `benchmarks unet` (its example has 16, which learns less in the time), steps of warm-up, steps drawn in
BATCH, WARM, STEPS = 32, 500, 20
#: pictures drawn at once
_TOGETHER = 64


class Peer:
    """A run in all that a report asks of it, but for the samples, which another program draws."""

    def __init__(self, run: Run, path: Path, draw: Callable[[int, int], np.ndarray]) -> None:
        """draw: n and a seed to n pictures, (n, channels, height, width), 0 to 255. path: for the report."""
        self._run, self.path, self._draw = run, path, draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def sample(self, n: int, seed: int = 0, **_: Any) -> Samples:
        modality = self._run.modality
        drawn = self._draw(n, seed).transpose(0, 2, 3, 1)
        values = [Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each) for each in drawn]
        x = self._run.channel(values).encode(np.arange(n), None, trim=True)
        return Samples(values, x, [{}] * n, seed, modality, 0, {})


def diffusers_ddpm(run: Run, minutes: float, rate: float, out: Path) -> tuple[Peer, int]:
    """A DDPM trained for so many minutes on what `run` was trained on, and its steps. rate: of learning, at its top."""
    from diffusers import DDPMScheduler  # pyright: ignore
    from diffusers.training_utils import EMAModel  # pyright: ignore

    hardware.tune()
    torch.manual_seed(0)
    part = records_again(run.experiment, run.modality, run.conditions)[0]
    packed = run.encoding.pack(part.columns[part.target])
    data = torch.from_numpy(packed.take(np.arange(len(packed))))
    net = theirs(data.shape[-1], data.shape[1]).train()
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(net.parameters(), rate, betas=(0.95, 0.999), weight_decay=1e-6)
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    begun, done, warm = time.perf_counter(), 0, 0.0
    while (share := (time.perf_counter() - begun) / (60 * minutes)) < 1:
        if done < WARM and share < 0.1:
            warm = share
            factor = max(done / WARM, share / 0.1)
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        x = data[torch.randint(len(data), (BATCH,))].float() / 127.5 - 1
        noise, t = torch.randn_like(x), torch.randint(1000, (BATCH,))
        with autocast(torch.device("cpu"), "bfloat16"):
            loss = F.mse_loss(net(scheduler.add_noise(x, noise, t), t).sample.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(net.parameters())
        done += 1
        if done % 100 == 0:
            print(f"diffusers: step {done}  error {float(loss.detach()):.4f}  {share:.0%} of the time", flush=True)
    average.copy_to(net.parameters())
    out.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), out / "net.pt")
    return Peer(run, out, lambda n, seed: _drawn(net.eval(), tuple(data.shape[1:]), n, seed)), done


@torch.no_grad()
def _drawn(net: torch.nn.Module, shape: tuple[int, ...], n: int, seed: int) -> np.ndarray:
    from diffusers import DPMSolverMultistepScheduler  # pyright: ignore

    torch.manual_seed(seed)
    drawn = []
    for start in range(0, n, _TOGETHER):
        # without its thresholding, which cuts off what is predicted beyond the pixels, some run away into noise
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=1000, thresholding=True, dynamic_thresholding_ratio=1.0, sample_max_value=1.0
        )
        scheduler.set_timesteps(STEPS)
        x = torch.randn(min(_TOGETHER, n - start), *shape)
        for t in scheduler.timesteps:
            with autocast(torch.device("cpu"), "bfloat16"):
                out = net(x, t).sample
            x = scheduler.step(out.float(), t, x).prev_sample
        drawn.append(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    return torch.cat(drawn).numpy()
