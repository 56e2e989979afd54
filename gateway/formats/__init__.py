"""How each kind of client is answered: Anthropic's answers and errors in the client's own format."""
