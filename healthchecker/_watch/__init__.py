"""Probing again and again: when to probe, what to report, on a thread and on asyncio."""
