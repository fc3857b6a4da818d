"""Outcomes as a table and as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.faults.scenarios import Outcome

_HEADINGS = (
    "server",
    "fault",
    "sent",
    "answered",
    "refused",
    "lost",
    "longest wait",
    "recovered after",
    "clients at fault, and what else was seen",
)


def as_rows(server: str, outcomes: Iterable[Outcome]) -> Iterator[dict[str, Any]]:
    """Yield a row of plain values for each outcome; `sent` is the sum of `answered`, `refused` and `lost`."""
    for outcome in outcomes:
        yield {
            "server": server,
            "fault": outcome.scenario,
            "sent": outcome.tally.sent,
            "answered": outcome.tally.answered,
            "refused": {status: count for status, count in sorted(outcome.tally.status_counts.items()) if status != "200"},
            "lost": outcome.tally.lost,
            "longest_wait_s": round(outcome.tally.longest_s, 2),
            "recovered_after_s": None if outcome.recovery_s is None else round(outcome.recovery_s, 2),
            "clients_at_fault": dict(sorted(outcome.culprits.items())),
            "note": outcome.note,
        }


def as_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of rows that `as_rows` made."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
    for row in rows:
        recovery = "never" if row["recovered_after_s"] is None else f"{row['recovered_after_s']:.2f} s"
        refused = sum(row["refused"].values())
        cells = (
            *(row["server"], row["fault"], row["sent"], row["answered"]),
            f"{refused} ({_format_counts(row['refused'])})" if refused else 0,
            *(row["lost"], f"{row['longest_wait_s']:.2f} s", recovery, _format_counts(row["clients_at_fault"]) or row["note"]),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in counts.items())
