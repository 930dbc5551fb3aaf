"""Running probers: once, several concurrently, repeatedly, and for asyncio."""
