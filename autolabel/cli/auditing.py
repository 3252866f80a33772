"""`autolabel audit`: have people judge a blind sample of labels, and say how often trusted ones fail."""

from pathlib import Path
from typing import Annotated

import typer

from autolabel.cli.options import DEFAULT_DB, Db
from autolabel.cli.reporting import Sae
from autolabel.errors import ConfigError

app = typer.Typer(help="Have people judge a blind sample of labels.", no_args_is_help=True)
AuditId = Annotated[str | None, typer.Option("--audit", help="Start of the id of an audit; the newest when absent.")]


@app.command("draw")
def draw(
    out: Annotated[Path, typer.Option("--out", help="Form to write: FILE.html, or FILE.csv for a spreadsheet.")],
    db: Db = DEFAULT_DB,
    n: Annotated[int, typer.Option("--n", min=2, max=2000, help="Items, checks included.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed over the same labels draws the same items.")] = 0,
    sae: Sae = None,
) -> None:
    """Draw labels, trusted and not, in random order beside test windows; write a form that shows no score."""
    from uuid import uuid4

    from autolabel.hashing import content_id
    from autolabel.pipeline.running import ending_recorded
    from autolabel.report import audit_form
    from autolabel.report.auditing import draw_audit
    from autolabel.report.output import deliver
    from autolabel.store.auditing import keep_audit
    from autolabel.store.connection import Database, require_file
    from autolabel.store.run_store import RunStore

    render = {".html": audit_form.render_html, ".csv": audit_form.render_csv}.get(out.suffix.lower())
    if render is None:
        raise ConfigError(f"--out {out}: a form is written as .html or .csv")
    require_file(db)
    audit, windows = draw_audit(Database(db), n, seed, sae)
    settings = {"n": n, "seed": seed, "evidence_set_id": audit.evidence_set_id}
    with RunStore.open(db, uuid4().hex) as store:
        store.start_run("audit draw", settings, content_id("settings", settings), seed)
        with ending_recorded(store):
            keep_audit(store, audit)
            deliver(render(audit, windows), out)
    if len(audit.items) < n:
        typer.echo(f"autolabel: {len(audit.items)} items in place of {n}: there are no more labels to draw from", err=True)
    typer.echo(f"audit {audit.audit_id[:12]}: {len(audit.items)} items, written to {out}", err=True)


@app.command("take")
def take(
    answers: Annotated[Path, typer.Argument(help="File with a rater's answers, JSON or CSV.")],
    rater: Annotated[str, typer.Option("--rater", help="Who judged.")],
    db: Db = DEFAULT_DB,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let these answers stand in place of the rater's earlier ones.")
    ] = False,
) -> None:
    """Check a rater's answers and store them, all or none."""
    from uuid import uuid4

    from autolabel.errors import DataError
    from autolabel.hashing import content_id
    from autolabel.pipeline.running import ending_recorded
    from autolabel.report.audit_answers import read_answers
    from autolabel.store.auditing import load_audit, require_complete, take_answers
    from autolabel.store.connection import Database, require_file
    from autolabel.store.run_store import RunStore

    name = " ".join(rater.encode("utf-8", "replace").decode().split())
    if not 0 < len(name) <= 100:
        raise ConfigError("--rater is expected to be a name of 1 to 100 characters")
    require_file(db)
    audit_id, given = read_answers(answers)
    audit = load_audit(Database(db), audit_id)
    try:
        require_complete(audit, given)
    except DataError as error:
        raise DataError(f"'{answers}': {error}; nothing was stored") from None
    settings = {"audit_id": audit.audit_id, "rater": name, "replace": replace}
    with RunStore.open(db, uuid4().hex) as store:
        store.start_run("audit take", settings, content_id("settings", settings), 0)
        with ending_recorded(store):
            take_answers(store, audit, name, given, replace=replace)
    typer.echo(f"audit {audit.audit_id[:12]}: {len(given)} verdicts of {name}", err=True)


@app.command("show")
def show(db: Db = DEFAULT_DB, audit: AuditId = None) -> None:
    """Say how often labels fail, trusted ones and others, how far raters agree, and what p_correct was worth."""
    from autolabel.report.audit_results import audit_results, lines
    from autolabel.report.text import visible
    from autolabel.store.auditing import load_answers, load_audit
    from autolabel.store.connection import Database

    database = Database(db)
    with database.read():
        found = load_audit(database, audit)
        verdicts = load_answers(database, found.audit_id)
    for line in lines(audit_results(found, verdicts)):
        typer.echo(visible(line))
