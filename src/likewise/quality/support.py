"""What the data can support: a few rules with their sources, and a command to try.

A rule returns advice if it applies and None otherwise. Constants are from the sources; docs/guide/look.md describes how
our own were measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from likewise.errors import Command
from likewise.metrics.intervals import proportion
from likewise.quality.assess import Quality

#: epochs over texts up to which repeating is nearly as good as new data, and after which it adds nothing
_AS_NEW, _NOTHING_NEW = 4, 40
#: tokens per parameter for compute-optimal training
_PER_PARAMETER = 20
#: the number of items ("a few thousand") below which a discriminator overfits
_FEW_FOR_GAN = 3000
#: epochs after which the validation loss of a flow was observed to rise, on small sets of pictures and rows
_TURNS_AFTER = 400
#: the share of duplicate records above which a rule applies
_REPEATED = 0.01


@dataclass(frozen=True)
class Facts:
    """The inputs of the rules."""

    path: str
    train: int  #: number of training items
    held_out: int
    tokens: float | None  #: tokens per item, if the model reads items as several tokens
    family: str
    parameters: int
    batch: int
    steps: int  #: training steps of the plan
    quality: Quality | None
    augment: str = "none"  #: how the plan's family augments items

    def steps_of(self, passes: float) -> int:
        return max(1, round(passes * self.train / self.batch))

    @property
    def passes(self) -> float:
        return self.steps * self.batch / max(1, self.train)


def _rounded(steps: int) -> int:
    """To two significant digits, the precision of the rules."""
    return int(float(f"{steps:.1e}"))


@dataclass(frozen=True)
class Advice:
    """Advice of a rule, its source, and the maximum number of steps that it recommends."""

    sentence: str
    source: str
    most_steps: int | None = None


@dataclass(frozen=True)
class Support:
    """The advice of the rules that apply, and the command to try."""

    advice: list[Advice]
    command: Command

    def paragraph(self) -> str:
        return " ".join(each.sentence for each in self.advice)


def support(facts: Facts) -> Support:
    """Apply every rule."""
    advice = [found for rule in _RULES if (found := rule(facts)) is not None]
    most = min((a.most_steps for a in advice if a.most_steps is not None), default=facts.steps)
    steps = {"steps": most} if most < facts.steps else {}
    return Support(advice, Command("train", facts.path, family=facts.family, **steps))


def _text_passes(f: Facts) -> Advice | None:
    if f.tokens is None:
        return None
    some, most = _rounded(f.steps_of(_AS_NEW)), _rounded(f.steps_of(_NOTHING_NEW))
    return Advice(
        f"{f.train:,} items of about {f.tokens:,.0f} tokens: repeating them is nearly as good as new data for "
        f"{_AS_NEW} epochs ({some:,} steps), and adds nothing after about {_NOTHING_NEW} epochs ({most:,} steps); "
        f"the plan trains for {f.passes:,.1f} epochs.",
        "Muennighoff et al., Scaling Data-Constrained Language Models, 2023 (arXiv:2305.16264)",
        most,
    )


def _text_size(f: Facts) -> Advice | None:
    if f.tokens is None:
        return None
    unlike = f.train * f.tokens * _AS_NEW
    if f.parameters * _PER_PARAMETER <= unlike:
        return None
    return Advice(
        f"The network is large for these data: compute-optimal training uses {_PER_PARAMETER} tokens for each of the "
        f"{f.parameters:,} parameters, and {_AS_NEW} epochs give {unlike / f.parameters:,.1f}; expect the validation "
        "loss to rise while the training loss still falls (the best checkpoint is kept).",
        "Hoffmann et al., Training Compute-Optimal Large Language Models, 2022 (arXiv:2203.15556)",
    )


def _flow_memorises(f: Facts) -> Advice | None:
    if f.family != "flow" or f.tokens is not None:
        return None
    most = _rounded(f.steps_of(_TURNS_AFTER))
    where = "stays below" if f.steps <= most else "goes beyond"
    return Advice(
        f"{f.train:,} items: expect memorisation above about {most:,} steps ({_TURNS_AFTER} epochs, as measured on "
        f"small data sets; this number of steps grows in proportion to the data); the plan of {f.steps:,} {where} it.",
        "Bonnaire et al., Why Diffusion Models Don't Memorize, 2025 (arXiv:2505.17638); 400 epochs: our measurement",
        most,
    )


def _gan_overfits(f: Facts) -> Advice | None:
    if f.family != "gan" or f.train >= _FEW_FOR_GAN:
        return None
    does = "here they are not" if f.augment == "none" else f"here they are, by family.augment={f.augment}"
    return Advice(
        f"{f.train:,} items are few for a GAN: below a few thousand its discriminator memorises them, unless they are "
        f"augmented (shifted, rotated, recoloured): {does}.",
        "Karras et al., Training Generative Adversarial Networks with Limited Data, 2020 (arXiv:2006.06676)",
    )


def _repeated(f: Facts) -> Advice | None:
    if f.quality is None:
        return None
    repeated = len(f.quality.of("equal", "near")) / f.quality.searched
    if repeated <= _REPEATED:
        return None
    return Advice(
        f"{repeated:.1%} of the records repeat another: repeated items are memorised first.",
        "Lee et al., Deduplicating Training Data Makes Language Models Better, 2022 (arXiv:2107.06499)",
    )


def _rare_classes(f: Facts) -> Advice | None:
    rare = [(each.name, each.balance.rare) for each in (f.quality.labelled if f.quality else ()) if each.balance.rare]
    if not rare:
        return None
    shown = "; ".join(
        f"{name}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for name, names in rare[:3]
    )
    return Advice(
        f"Classes of fewer than 10 items are reproduced from those few or never generated ({shown}).",
        "own rule: the share of fewer than ten items has an uncertainty of 25 points (Wilson, 1927)",
    )


def _measurable(f: Facts) -> Advice | None:
    width = proportion(0.5, f.held_out)
    points = 100 * (width.high - width.low) / 2
    if points < 5:
        return None
    return Advice(
        f"{f.held_out:,} held-out items determine a share only to within {points:.0f} points: "
        "the report can show large faults but not small ones.",
        "Wilson, Probable Inference, 1927 (95% interval of a share of one half)",
    )


_RULES: tuple[Callable[[Facts], Advice | None], ...] = (
    _text_passes, _text_size, _flow_memorises, _gan_overfits, _repeated, _rare_classes, _measurable,
)  # fmt: skip
