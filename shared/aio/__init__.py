"""Small tools for asyncio that know nothing of Moorage."""
