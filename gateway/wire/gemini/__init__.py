"""Google's Gemini API as a provider speaks it: a Messages body becomes a request, an answer Anthropic's events.

Pure; `request.py` is the way there, `answer.py` and `stream.py` are the way back. The Messages body is read, and its
tools and contents are chosen, as for OpenAI (`gateway/wire/openai`).
"""
