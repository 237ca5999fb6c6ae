"""Membership inference (Shokri et al., 2017): how well an attacker identifies training items.

Two attacks on equally many training items (members) and held-out items: by likelihood, items with a higher model
likelihood are classified as members (Yeom et al., 2018); by distance, items with a closer sample (Chen et al., 2020,
"GAN-Leaks"). The score is the area under the attack's ROC curve: 50% is chance, 100% is certainty. A low score shows
that these two attacks failed, not that every attack would.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.draws import derive_seed
from likewise.metrics.intervals import Estimate, percentiles, resamples
from likewise.metrics.neighbours import nearest
from likewise.metrics.twosample import area_replicates, roc_area

Array = NDArray[np.float64]


def attack_score(members: Array, others: Array, seed: int = 0) -> Estimate:
    """The probability that a member's score exceeds another item's (ties count half), with a bootstrap over items.

    members: the attacker's scores of training items, shape (N,); others: of held-out items, shape (M,); a higher score
    means "member". Raises ValueError if N < 2 or M < 2.
    """
    if min(len(members), len(others)) < 2:
        raise ValueError(f"{len(members)} training and {len(others)} held-out items: an attack needs two of each")
    scores = np.concatenate([members, others])
    truth = np.repeat([1, 0], [len(members), len(others)])
    p, q = resamples(len(others), seed, 500), resamples(len(members), derive_seed(seed, "members"), 500)
    return percentiles(roc_area(scores, truth), area_replicates(others, members, p, q))


def distance_attack(members: Array, others: Array, samples: Array, seed: int = 0) -> Estimate:
    """The attack by distance to the nearest sample; features with shapes (N, D), (M, D) and (S, D)."""
    return attack_score(-nearest(members, samples)[0][:, 0], -nearest(others, samples)[0][:, 0], seed)
