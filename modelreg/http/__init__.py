"""How the registry is reached: sessions with authentication, retries and one error for every failure."""
