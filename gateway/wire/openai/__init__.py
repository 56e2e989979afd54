"""OpenAI's Chat Completions as a provider speaks them: a Messages body becomes a request, an answer Anthropic's events.

Pure; `request.py` is the way there, `answer.py` and `stream.py` are the way back, `errors.py` what is said instead.
"""
