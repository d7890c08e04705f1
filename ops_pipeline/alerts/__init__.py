"""Telling people who are not looking.

Belongs here: what a message says and how it is sent, and the heartbeat that tells a watchdog of each scheduled run. Does not belong here:
when something is told (`defs.alerts`, `defs.automation`), and finding out what is wrong (`engine.morning`).
"""
