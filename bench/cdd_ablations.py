"""The ablations of the compression table, one seed each: what the paper varies, and what it leaves open.

Methods.md 1.4 (K, p, start epoch), 1.2-1.5 and 10.13. Each row changes one thing of an arm of the table, which it
is to be compared with on the same machine: half precision on a GPU is worth more than most of these changes. Trained and
scored by cdd_table.py and cdd_score.py.
"""

from dataclasses import replace

from cdd_arms import ARMS, SAME, Arm, paper, two_sided

from vreid.train.online import OnlineDistillation
from vreid.train.pruning.resetting import ResettingRules


def _rules(**changes: object) -> ResettingRules:
    base = paper().capacity
    assert base is not None and base.rules is not None
    return replace(base.rules, **changes)


def _online(arm: str, online: OnlineDistillation) -> Arm:
    """An arm that learns something else from the teacher."""
    return replace(ARMS[arm], recipe=lambda: replace(ARMS[arm].recipe(), online=online))


_PLAIN = ("uncompressed", "cdd2", "resrep", "random", "distilled-r18")
SIMILARITIES = OnlineDistillation(blocks=0.0, similarity=1.0)

ABLATIONS: dict[str, Arm] = {
    "ablation: cdd+rggr, lambda 0.1": Arm(lambda: paper(strength=0.1)),
    "ablation: cdd+rggr, K 1 (only itself)": Arm(lambda: paper(rules=_rules(k=1))),
    "ablation: cdd+rggr, K 5": Arm(lambda: paper(rules=_rules(k=5))),
    "ablation: cdd+rggr, p 0.5": Arm(lambda: paper(rules=_rules(p=0.5))),
    "ablation: cdd+rggr, p 0.7": Arm(lambda: paper(rules=_rules(p=0.7))),
    "ablation: cdd+rggr, p 0.95": Arm(lambda: paper(rules=_rules(p=0.95))),
    "ablation: cdd+rggr, start 0": Arm(lambda: paper(start=0)),
    "ablation: cdd+rggr, start 20": Arm(lambda: paper(start=20)),
    "ablation: cdd+rggr, consensus 0.9": Arm(lambda: paper(rules=_rules(consensus=0.9))),
    "ablation: cdd+rggr, not sticky": Arm(lambda: paper(rules=_rules(sticky=False))),
    "ablation: cdd+rggr, without itself": Arm(lambda: paper(rules=_rules(itself=False))),
    "ablation: cdd+rggr, teacher in training mode": _online("cdd+rggr", OnlineDistillation(teacher_training=True)),
    "ablation: cdd+rggr, momentum 0.99, no decay": Arm(lambda: paper(momentum=0.99, weight_decay=0.0)),
    "ablation: cdd+rggr, no distillation of blocks": _online("cdd+rggr", OnlineDistillation(blocks=0.0)),
    "ablation: cdd+rggr, logits and similarities": _online("cdd+rggr", SIMILARITIES),
    "ablation: cdd+rggr, no compactor": _online("uncompressed", OnlineDistillation()),
    "ablation: cdd+rggr, from scratch": Arm(paper, None),
    "ablation: cdd2, from scratch": Arm(lambda: two_sided(SAME), None),
    "ablation: cdd2, one side": Arm(lambda: two_sided(0.45, both_sides=False)),
    "ablation: cdd2, pruned at the end": Arm(lambda: two_sided(SAME, shrink=0.0)),
    "ablation: cdd2, the paper's distillation": _online("cdd2", OnlineDistillation()),
    "ablation: cdd2, any widths": Arm(lambda: two_sided(SAME, multiple=1)),
    "ablation: cdd2, momentum 0.99": Arm(lambda: two_sided(SAME, momentum=0.99, strength=0.004)),
    "ablation: cdd2, similarities at 0.2": _online("cdd2", replace(SIMILARITIES, tau=0.2)),
    "ablation: cdd2, no teacher": _online("cdd2", OnlineDistillation(logits=0.0, blocks=0.0)),
    **{f"ablation: {arm}, logits and similarities": _online(arm, SIMILARITIES) for arm in _PLAIN},
    "ablation: cdd2, masks met at 0.15": Arm(lambda: two_sided(SAME, budget={"until": 0.15})),
    "ablation: cdd2, masks met at 0.6": Arm(lambda: two_sided(SAME, budget={"until": 0.6})),
    "ablation: cdd2, whatever the price": Arm(lambda: two_sided(SAME, budget={"cost_power": 0.0})),
    "ablation: cdd2, by the price": Arm(lambda: two_sided(SAME, budget={"cost_power": 1.0})),
    "ablation: cdd2, by the norm": Arm(lambda: two_sided(SAME, budget={"by": "norm", "survivors": 0.025})),
}
