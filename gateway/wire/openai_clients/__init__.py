"""What OpenAI's clients send and expect, put into Claude Messages and back: pure functions over values and bytes."""
