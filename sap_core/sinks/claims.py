"""The three things said of the sinks of diffusion models, answered for given runs from their own numbers.

The claims are those of *Attention Sinks in Diffusion Language Models* (arXiv 2510.15731) and of Sink-Aware Pruning
(arXiv 2602.17664): sinks vary in position, are transient, and attention goes from global to local over the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from .compare import LETTERS, Comparison
from .intervals import Interval


@dataclass(frozen=True)
class Claim:
    """One measure of one claim. ``rises``: the claim says that it is greater (in B than in A; or than 0)."""

    claim: str
    sentence: str
    metric: str
    rises: bool
    between: bool  # of two runs, or of the change within one


@dataclass(frozen=True)
class Answer:
    """What one measure says: ``holds`` when the 95 % interval lies on the claimed side of 0, ``doesn't hold`` when it
    lies on the other side or the value itself does, ``undecided`` when the value fits but the interval reaches 0."""

    claim: Claim
    run: int
    answer: str
    title: str
    unit: str
    found: Interval


CLAIMS: tuple[Claim, ...] = (
    Claim("position variance", "Sinks vary more in position than in A", "temporal_deviation", True, True),
    Claim("transience", "Sinks last a smaller share of the run than in A", "persistence", False, True),
    Claim(
        "global to local", "Attention reaches less far at the end than at the start", "distance_change", False, False
    ),
    Claim("global to local", "Attention is sharper at the end than at the start", "entropy_change", False, False),
)


def answer_claims(found: Comparison) -> list[Answer]:
    """Return every claim for every run; what is said of two runs is said of each one against the first."""
    rows = found.table.set_index("metric")
    answers = []
    for claim in CLAIMS:
        for run in range(1 if claim.between else 0, len(found.names)):
            part = found.differences_of[claim.metric][run - 1] if claim.between else found.means_of[claim.metric][run]
            row = rows.loc[claim.metric]
            answers.append(Answer(claim, run, _answer(part, claim.rises), row["title"], row["unit"], part))
    return answers


def answers_table(found: Comparison, answers: list[Answer]) -> list[dict[str, str]]:
    """Return the answers as rows of text, letters for runs as in the table of the comparison."""
    rows = []
    for item in answers:
        part, run = item.found, LETTERS[item.run].upper()
        interval = "" if part.low != part.low else f" [{part.low:+.3g}, {part.high:+.3g}]"
        rows.append(
            {
                "run": f"{run} against A" if item.claim.between else run,
                "claim": item.claim.sentence,
                "answer": item.answer,
                "by how much": f"{part.value:+.3g}{interval}",
                "measured by": item.title,
                "unit": item.unit,
                "interval over": part.over if interval else "–",
            }
        )
    return rows


def _answer(found: Interval, rises: bool) -> str:
    fits = found.value > 0 if rises else found.value < 0
    if not fits:
        return "doesn't hold"
    return "holds" if found.excludes_zero else "undecided"
