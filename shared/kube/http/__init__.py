"""HTTP/1.1 as API servers speak it, on asyncio and httptools: connections, how they are made, and a pool of them."""
