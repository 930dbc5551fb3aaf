"""Repeated probes: when to probe, and what to report; on a thread and on asyncio."""
