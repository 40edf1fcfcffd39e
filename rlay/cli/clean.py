"""``rlay clean``: removes what dead processes left."""

import dataclasses

import click

from rlay.bridge.status import clean_status
from rlay.cli.words import directory_option, json_option, print_json, where
from rlay.transport import inspection


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@directory_option
def clean(dry_run: bool, as_json: bool, directory: str | None) -> None:
    """Remove stale channels: those that no living process holds.

    And what a killed bridge has said of itself. Locks prove that, never the age of a
    file; a channel in use is never touched.
    """
    removals = inspection.clean(directory, dry_run=dry_run)
    removals += clean_status(directory, dry_run=dry_run)
    if as_json:
        print_json([dataclasses.asdict(removal) for removal in removals])
        return
    verb = "would remove" if dry_run else "removed"
    for removal in removals:
        click.echo(
            f"{verb} {removal.path} ({removal.size_bytes:,} bytes): {removal.reason}"
        )
    if not removals:
        click.echo(f"nothing to remove in {where(directory)}")
