"""`/me/`: what a developer sees of their own keys, spend and budgets, and where they ask for more."""
