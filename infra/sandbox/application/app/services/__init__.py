"""What the endpoints are made of: accounts, the cache, the queue."""
