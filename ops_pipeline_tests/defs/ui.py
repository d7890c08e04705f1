"""Hands on the Dagster UI, in a real browser.

Belongs here: what a user clicks. Does not belong here: expectations.
"""

from __future__ import annotations

from playwright.sync_api import Page


def materialize(page: Page, base: str, **dimensions: str) -> None:
    """Materializes one partition of all three assets from the lineage's button; comes back when the UI has launched it.

    Args:
        page: a tab.
        base: the UI's address.
        dimensions: dimension -> partition, in the dialog's order.
    """
    page.goto(f"{base}/asset-groups")
    page.get_by_role("button", name="Materialize all").first.click()
    dialog = page.get_by_role("dialog").filter(has_text="Partition selection")
    for partition in dimensions.values():
        # The first dimension without a choice; what is chosen stands there in the place of this text.
        dialog.get_by_text("Select a partition or create one").first.click()
        page.get_by_placeholder("Filter partitions").fill(partition)
        # Names are there twice: the UI measures an invisible copy.
        page.get_by_text(partition, exact=True).filter(visible=True).last.click()
        page.keyboard.press("Escape")
        page.get_by_placeholder("Filter partitions").wait_for(state="detached")
    dialog.get_by_text("1 partition", exact=True).wait_for()
    dialog.get_by_role("button", name="Launch").click()
    dialog.wait_for(state="detached")
