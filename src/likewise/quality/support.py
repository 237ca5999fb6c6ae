"""What the data can support: a few rules, each with its source, and the command to try.

A rule says a sentence where it applies and nothing where it does not. Numbers are of the sources; of those that are
ours, docs/guide/look.md says how they were measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from likewise.metrics.intervals import proportion
from likewise.quality.assess import Quality

#: passes over texts: up to which repeating is nearly as good as new data, and from which it is worth nothing
_AS_NEW, _NOTHING_NEW = 4, 40
#: tokens for each parameter where compute is best spent
_PER_PARAMETER = 20
#: items below which a discriminator needs help: "a few thousand"
_FEW_FOR_GAN = 3000
#: passes after which the held-out loss of a flow was seen to turn, on few small pictures and rows
_TURNS_AFTER = 400
#: share of records that repeat another from which on it matters
_REPEATED = 0.01


@dataclass(frozen=True)
class Facts:
    """What the rules go by."""

    path: str
    train: int  #: items to train on
    held_out: int
    tokens: float | None  #: of an item, where the model reads it as many tokens
    family: str
    parameters: int
    batch: int
    steps: int  #: that the plan makes
    quality: Quality | None

    def steps_of(self, passes: float) -> int:
        return max(1, round(passes * self.train / self.batch))

    @property
    def passes(self) -> float:
        return self.steps * self.batch / max(1, self.train)


def _rounded(steps: int) -> int:
    """To two digits: no rule here knows more."""
    return int(float(f"{steps:.1e}"))


@dataclass(frozen=True)
class Said:
    """What a rule says, where it is from, and at most how many steps it would make."""

    sentence: str
    source: str
    most_steps: int | None = None


@dataclass(frozen=True)
class Support:
    """The rules that apply, and the command to try."""

    said: list[Said]
    command: str

    def paragraph(self) -> str:
        return " ".join(each.sentence for each in self.said)


def support(facts: Facts) -> Support:
    """Ask every rule."""
    said = [found for rule in _RULES if (found := rule(facts)) is not None]
    most = min((s.most_steps for s in said if s.most_steps is not None), default=facts.steps)
    steps = f" --steps {most}" if most < facts.steps else ""
    return Support(said, f"likewise train {shlex.quote(facts.path)} --family {facts.family}{steps}")


def _text_passes(f: Facts) -> Said | None:
    if f.tokens is None:
        return None
    some, most = _rounded(f.steps_of(_AS_NEW)), _rounded(f.steps_of(_NOTHING_NEW))
    return Said(
        f"{f.train:,} items of about {f.tokens:,.0f} tokens: reading them again is nearly as good as new ones for "
        f"{_AS_NEW} passes ({some:,} steps), and adds nothing after about {_NOTHING_NEW} ({most:,} steps); "
        f"the plan makes {f.passes:,.1f}.",
        "Muennighoff et al., Scaling Data-Constrained Language Models, 2023 (arXiv:2305.16264)",
        most,
    )


def _text_size(f: Facts) -> Said | None:
    if f.tokens is None:
        return None
    unlike = f.train * f.tokens * _AS_NEW
    if f.parameters * _PER_PARAMETER <= unlike:
        return None
    return Said(
        f"The network is large for them: {f.parameters:,} parameters are best spent on {_PER_PARAMETER} tokens each, "
        f"and {_AS_NEW} passes are {unlike / f.parameters:,.1f} each; expect the held-out loss to turn before the "
        "training loss does (the best checkpoint is kept).",
        "Hoffmann et al., Training Compute-Optimal Large Language Models, 2022 (arXiv:2203.15556)",
    )


def _flow_memorises(f: Facts) -> Said | None:
    if f.family != "flow" or f.tokens is not None:
        return None
    most = _rounded(f.steps_of(_TURNS_AFTER))
    where = "stays below" if f.steps <= most else "goes beyond"
    return Said(
        f"{f.train:,} items: expect memorisation above about {most:,} steps ({_TURNS_AFTER} passes, as measured on "
        f"few of them; the steps grow in proportion to the data); the plan of {f.steps:,} {where} that.",
        "Bonnaire et al., Why Diffusion Models Don't Memorize, 2025 (arXiv:2505.17638); the 400 are ours",
        most,
    )


def _gan_overfits(f: Facts) -> Said | None:
    if f.family != "gan" or f.train >= _FEW_FOR_GAN:
        return None
    return Said(
        f"{f.train:,} items are few for a GAN: below a few thousand its discriminator learns them by heart, unless "
        "they are augmented (shifted, turned, recoloured), which likewise does not do by itself.",
        "Karras et al., Training Generative Adversarial Networks with Limited Data, 2020 (arXiv:2006.06676)",
    )


def _repeated(f: Facts) -> Said | None:
    if f.quality is None:
        return None
    repeated = len(f.quality.of("equal", "near")) / f.quality.searched
    if repeated <= _REPEATED:
        return None
    return Said(
        f"{repeated:.1%} of the records repeat another: what is seen more often is learned by heart first.",
        "Lee et al., Deduplicating Training Data Makes Language Models Better, 2022 (arXiv:2107.06499)",
    )


def _rare_classes(f: Facts) -> Said | None:
    rare = [(each.name, each.balance.rare) for each in (f.quality.labelled if f.quality else ()) if each.balance.rare]
    if not rare:
        return None
    shown = "; ".join(
        f"{name}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for name, names in rare[:3]
    )
    return Said(
        f"Classes of fewer than 10 items are drawn as what those few are, or not at all ({shown}).",
        "ours: a share of fewer than ten items is not known to within 25 points (Wilson, 1927)",
    )


def _measurable(f: Facts) -> Said | None:
    width = proportion(0.5, f.held_out)
    points = 100 * (width.high - width.low) / 2
    if points < 5:
        return None
    return Said(
        f"{f.held_out:,} held-out items tell a share to within {points:.0f} points only: "
        "a report of so few can show large faults and no small ones.",
        "Wilson, Probable Inference, 1927 (95% interval of a share of one half)",
    )


_RULES: tuple[Callable[[Facts], Said | None], ...] = (
    _text_passes, _text_size, _flow_memorises, _gan_overfits, _repeated, _rare_classes, _measurable,
)  # fmt: skip
