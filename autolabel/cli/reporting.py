"""`autolabel status`, `show` and `report`: where the work stands, one feature, and everything for reading or for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from autolabel.cli.options import DEFAULT_DB, Db
from autolabel.errors import ConfigError

Sae = Annotated[str | None, typer.Option("--sae", help="Name, id or start of an id; needed when the database holds several SAEs.")]


class ReportFormat(StrEnum):
    """What a report is written as."""

    html = "html"
    md = "md"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def status(db: Db = DEFAULT_DB) -> None:
    """Count features, labels, scores, failures, LLM calls and their cost; list the newest runs."""
    from autolabel.report.status import print_status, waiting_rows
    from autolabel.report.terminal import console
    from autolabel.store.connection import Database

    print_status(console(), Database(db))
    if waiting_rows(db):
        typer.echo(
            f"autolabel: rows wait in {db}.journal and are not counted yet; a run at work, or the next one, moves them in", err=True
        )


def show(
    feature: Annotated[int, typer.Argument(help="Index of the feature, 0 first.")],
    db: Db = DEFAULT_DB,
    sae: Sae = None,
) -> None:
    """Show one feature: its label, scores with intervals and nulls, where they came from, and marked examples."""
    from autolabel.report import reading
    from autolabel.report.cards import load_cards
    from autolabel.report.feature import print_card
    from autolabel.report.terminal import console
    from autolabel.store.connection import Database

    database = Database(db)
    with database.read():
        evidence = reading.chosen_set(database, sae)
        d_sae = evidence["d_sae"]
        if not 0 <= feature < d_sae:
            raise ConfigError(
                f"there is no feature {feature}; SAE {evidence['sae_name']} has d_sae = {d_sae} features, 0 to {d_sae - 1}"
            )
        labels = reading.feature_labels(database, evidence["evidence_set_id"])
        (card,) = load_cards(database, evidence["evidence_set_id"], [row for row in labels if row["feature_index"] == feature])
    print_card(console(), card)


def report(
    db: Db = DEFAULT_DB,
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="html and md are for reading; the others hold every row of feature_labels.")
    ] = ReportFormat.html,
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")] = None,
    max_features: Annotated[int, typer.Option("--max-features", min=0, help="Labels shown at most, in html and md.")] = 200,
    sae: Sae = None,
) -> None:
    """Write all labels with their scores as one self-contained web page, as Markdown, or as rows for other programs."""
    from autolabel.report.output import require_destination

    if report_format in (ReportFormat.html, ReportFormat.parquet):
        require_destination(out, f"a report as {report_format.value}", f"report.{report_format.value}")
    write_report(db, report_format, out, max_features=max_features, sae=sae)
    if out is not None:
        typer.echo(f"wrote {out}", err=True)


def write_report(
    db: Path, report_format: ReportFormat | str, out: Path | None, *, max_features: int = 200, sae: str | None = None
) -> None:
    """Write a report to the file `out`, or to stdout when there is none."""
    from autolabel.report import output, reading, tables
    from autolabel.store.connection import Database

    database = Database(db)
    match ReportFormat(report_format):
        case ReportFormat.html:
            from autolabel.report.page import render_html

            content = render_html(database, sae=sae, max_features=max_features)
        case ReportFormat.md:
            from autolabel.report.markdown import render_markdown

            content = render_markdown(database, sae=sae, max_features=max_features)
        case rows:
            write = {ReportFormat.csv: tables.to_csv, ReportFormat.jsonl: tables.to_jsonl, ReportFormat.parquet: tables.to_parquet}[
                rows
            ]
            evidence_set_id = reading.chosen_set(database, sae)["evidence_set_id"] if sae is not None else None
            content = write(reading.feature_labels_table(database, evidence_set_id))
    output.deliver(content, out)


def print_labels(db: Path) -> None:
    """Print the labels of the only SAE of a database with their scores, surely good ones first."""
    from autolabel.report import listing
    from autolabel.report.terminal import console
    from autolabel.store.connection import Database

    listing.print_labels(console(), Database(db))
