"""Three published claims on the sinks of diffusion models, tested on the numbers of given runs.

The claims are those of *Attention Sinks in Diffusion Language Models* (arXiv 2510.15731) and of Sink-Aware Pruning
(arXiv 2602.17664): sinks vary in position, are transient, and attention changes from global to local over the steps.
The first two compare a diffusion model with an autoregressive one, which is the reference and is not itself evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

from .compare import LETTERS, Comparison
from .intervals import Interval

HOLDS, FAILS, UNDECIDED, NO_REFERENCE = "holds", "doesn't hold", "undecided", "needs an autoregressive run"


@dataclass(frozen=True)
class Claim:
    """A claim and the measure that answers it.

    ``rises``: the claim says that it is greater (than in the reference; or than 0).
    """

    claim: str
    sentence: str
    metric: str
    rises: bool
    between: bool  # of a run and the autoregressive one, or of the change within a run


@dataclass(frozen=True)
class Answer:
    """The answer to one claim for one run.

    ``holds`` if the whole 95 % interval lies on the claimed side of 0, ``doesn't hold`` if it lies on the other side,
    ``undecided`` if it includes 0 or there is none. ``reference`` is the autoregressive run that was compared with;
    ``found`` is None without such a run.
    """

    claim: Claim
    run: int
    reference: int | None
    answer: str
    title: str
    unit: str
    found: Interval | None


CLAIMS: tuple[Claim, ...] = (
    Claim("position variance", "Sinks vary more in position", "temporal_deviation", True, True),
    Claim("transience", "Sinks last a smaller share of the run", "persistence", False, True),
    Claim(
        "global to local", "Attention reaches less far at the end than at the start", "distance_change", False, False
    ),
)


def answer_claims(found: Comparison) -> list[Answer]:
    """Return the answer of every claim for every diffusion run; the first autoregressive run is the reference."""
    rows = found.table.set_index("metric")
    answers = []
    for run in range(len(found.names)):
        if found.autoregressive[run]:
            continue
        for claim in CLAIMS:
            part = (found.from_autoregressive if claim.between else found.means_of)[claim.metric][run]
            reference = found.reference if claim.between else None
            record = rows.loc[claim.metric]
            answers.append(
                Answer(claim, run, reference, _answer(part, claim.rises), record["title"], record["unit"], part)
            )
    return answers


def answers_table(answers: list[Answer]) -> list[dict[str, str]]:
    """Return the answers as rows of text, letters for runs as in the table of the comparison."""
    rows = []
    for item in answers:
        part, run = item.found, LETTERS[item.run].upper()
        interval = "" if part is None or part.low != part.low else f" [{part.low:+.3g}, {part.high:+.3g}]"
        rows.append(
            {
                "run": run if item.reference is None else f"{run} against {LETTERS[item.reference].upper()}",
                "claim": item.claim.sentence,
                "answer": item.answer,
                "by how much": "–" if part is None else f"{part.value:+.3g}{interval}",
                "measured by": item.title,
                "unit": item.unit,
                "interval over": part.over if part is not None and interval else "–",
            }
        )
    return rows


def _answer(found: Interval | None, rises: bool) -> str:
    if found is None:
        return NO_REFERENCE
    if not found.excludes_zero:
        return UNDECIDED
    return HOLDS if (found.value > 0) == rises else FAILS
